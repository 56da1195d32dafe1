//! The serial line, Paravane's own log on it, and what is kept of both.

pub mod history;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::backend::console as backend;
pub use crate::backend::console::read_byte;

/// Behind what every line of Paravane's own begins.
const PREFIX: &str = "(pv) ";
const LINE: usize = 512;

/// What was written last has left its line without an end.
static OPEN: AtomicBool = AtomicBool::new(false);
/// How often a line without end was ended for a line of Paravane's own.
static LINES_CUT: AtomicU32 = AtomicU32::new(0);

/// Writes to the console as it is, and keeps it for the [`history`] too. A line without end stands open for the next call, unless a line of
/// Paravane's own comes first.
pub fn write(bytes: &[u8]) {
    history::keep(bytes);
    write_unkept(bytes);
}

/// Writes to the console and nowhere else: what the control domain prints, which has a log of its own.
pub fn write_unkept(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        backend::write(bytes);
        OPEN.store(*last != b'\n', Ordering::SeqCst);
    }
}

/// Bytes that fit the buffer while there is room.
pub const ROOM: usize = 8 * 1024;

/// Whether [`ROOM`] bytes can be written at once. If not, `Pending::SERIAL` tells when there is room again: who can wait does, since a writer for whom
/// there is no room holds its CPU up until the line has carried enough away.
pub fn has_room() -> bool {
    backend::has_room()
}

/// How often an open line was ended to make room for a line of Paravane's own.
pub fn lines_cut() -> u32 {
    LINES_CUT.load(Ordering::SeqCst)
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut line = Line::start();
        let level = match record.level() {
            log::Level::Error => "error: ",
            log::Level::Warn => "warning: ",
            _ => "",
        };
        // a line that is too long is cut
        let _ = write!(line, "{PREFIX}{level}{}", record.args());
        line.finish();
    }

    fn flush(&self) {}
}

/// Writes a line that is always shown, whatever the log level: what happens to guests, and the like.
pub fn announce(message: fmt::Arguments<'_>) {
    let mut line = Line::start();
    // a line that is too long is cut
    let _ = write!(line, "{PREFIX}{message}");
    line.finish();
}

/// One line, so that it reaches the console whole.
struct Line {
    bytes: [u8; LINE],
    /// Where it begins, behind the end of the open line.
    start: usize,
    length: usize,
}

impl Line {
    /// An empty line, behind the end of one that stands open.
    fn start() -> Self {
        let mut line = Self { bytes: [0; LINE], start: 0, length: 0 };
        if OPEN.swap(false, Ordering::SeqCst) {
            LINES_CUT.fetch_add(1, Ordering::SeqCst);
            line.bytes[0] = b'\n';
            (line.start, line.length) = (1, 1);
        }
        line
    }

    /// Ends the line and writes it.
    fn finish(mut self) {
        self.length = self.length.min(LINE - 1);
        self.bytes[self.length] = b'\n';
        history::keep_line(&self.bytes[self.start..=self.length]);
        backend::write(&self.bytes[..=self.length]);
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            *self.bytes.get_mut(self.length).ok_or(fmt::Error)? = if byte == b'\n' { b' ' } else { byte };
            self.length += 1;
        }
        Ok(())
    }
}

/// Makes the console the target of the `log` macros, for messages up to `level`.
pub(crate) fn init_log(level: log::LevelFilter) {
    // an earlier logger (a test's) stays
    let _ = log::set_logger(&Log);
    log::set_max_level(level);
}
