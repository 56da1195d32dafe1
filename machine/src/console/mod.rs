//! The consoles (serial ports, the screen), Paravane's own log on them, and what is kept of it.

#[cfg_attr(target_os = "none", path = "bare/mod.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
pub(crate) mod backend;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only a machine has a screen"))]
pub(crate) mod glyphs;
pub mod history;
pub mod news;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only a machine has a screen"))]
pub(crate) mod terminal;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The prefix of every line of Paravane's own.
const PREFIX: &str = "(pv) ";
const LINE: usize = 512;

/// The last output has left its line without an end.
static OPEN: AtomicBool = AtomicBool::new(false);
/// How often a line without end was ended for a line of Paravane's own.
static LINES_CUT: AtomicU32 = AtomicU32::new(0);

/// Writes to the console as it is, and keeps it for the [`history`] too. A line without end is
/// continued by the next call, unless a line of Paravane's own comes first.
pub fn write(bytes: &[u8]) {
    history::keep(bytes);
    write_unkept(bytes);
}

/// Writes to the console and nowhere else: what the control domain prints, which has a log of its
/// own.
pub fn write_unkept(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        backend::write(bytes);
        OPEN.store(*last != b'\n', Ordering::SeqCst);
    }
}

/// Bytes that fit the buffer while there is room.
pub const ROOM: usize = 8 * 1024;

/// Whether [`ROOM`] bytes can be written at once. If not, `Pending::SERIAL` tells when there is
/// room again. A writer that can wait for it does: without room a write takes until the serial port
/// has sent enough.
pub fn has_room() -> bool {
    backend::has_room()
}

/// Serves the consoles that have no interrupt. Returns in how many nanoseconds to do so again, if
/// there are any.
pub fn poll() -> Option<u64> {
    backend::poll()
}

/// The next byte that has come in.
pub fn read_byte() -> Option<u8> {
    backend::read_byte()
}

/// Column and row at which the text on the screen continues.
pub fn screen_cursor() -> (u16, u16) {
    backend::screen_cursor()
}

/// Shows what has been written, and leaves the screen to the initial domain.
pub fn release_screen() {
    backend::release_screen();
}

/// Takes the screen back: the initial domain has ended in a way that somebody should read of.
pub fn take_screen_back() {
    backend::take_screen_back();
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

/// Writes a line that is always shown, whatever the log level: the events of guests, for example.
pub fn announce(message: fmt::Arguments<'_>) {
    let mut line = Line::start();
    // a line that is too long is cut
    let _ = write!(line, "{PREFIX}{message}");
    line.finish();
}

/// One line, so that it reaches the console whole.
struct Line {
    bytes: [u8; LINE],
    /// Where it begins: after the end of the open line.
    start: usize,
    length: usize,
}

impl Line {
    /// An empty line, after the end of one that is open.
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
