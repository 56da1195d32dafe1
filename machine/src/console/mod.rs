//! The consoles (serial ports, the screen), Paravane's own log on them, and the stored history.

#[cfg_attr(target_os = "none", path = "bare/mod.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
pub(crate) mod backend;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only the bare machine has a screen"))]
pub(crate) mod glyphs;
pub mod history;
pub mod news;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only the bare machine has a screen"))]
pub(crate) mod terminal;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The prefix of Paravane's own lines.
const PREFIX: &str = "(pv) ";
const LINE: usize = 512;

/// The last output did not end its line.
static OPEN: AtomicBool = AtomicBool::new(false);
/// Number of unfinished lines that were ended for a line of Paravane's own.
static LINES_CUT: AtomicU32 = AtomicU32::new(0);

/// Writes to the console unchanged, and to the [`history`]. The next call continues an unfinished
/// line, unless a line of Paravane's own comes first.
pub fn write(bytes: &[u8]) {
    history::keep(bytes);
    write_unkept(bytes);
}

/// Writes to the console only: the output of the control domain, which has a log of its own.
pub fn write_unkept(bytes: &[u8]) {
    if let Some(last) = bytes.last() {
        backend::write(bytes);
        OPEN.store(*last != b'\n', Ordering::SeqCst);
    }
}

/// Number of bytes that fit the buffer while there is room.
pub const ROOM: usize = 8 * 1024;

/// Whether [`ROOM`] bytes can be written without waiting. If not, `Pending::SERIAL` reports when
/// there is room again. A writer that can wait should do so: without room a write waits until the
/// serial port has sent enough.
pub fn has_room() -> bool {
    backend::has_room()
}

/// Serves the consoles that have no interrupt. Returns the nanoseconds until the next call, if
/// there is such a console.
pub fn poll() -> Option<u64> {
    backend::poll()
}

/// The next received byte.
pub fn read_byte() -> Option<u8> {
    backend::read_byte()
}

/// Column and row of the cursor on the screen.
pub fn screen_cursor() -> (u16, u16) {
    backend::screen_cursor()
}

/// Draws pending output, and leaves the screen to the initial domain.
pub fn release_screen() {
    backend::release_screen();
}

/// Takes the screen back after the initial domain has ended abnormally, to show the reason.
pub fn take_screen_back() {
    backend::take_screen_back();
}

/// Number of unfinished lines that were ended for a line of Paravane's own.
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
        // A line that is too long is truncated.
        let _ = write!(line, "{PREFIX}{level}{}", record.args());
        line.finish();
    }

    fn flush(&self) {}
}

/// Writes a line that is shown at any log level, for example about events of guests.
pub fn print_line(message: fmt::Arguments<'_>) {
    let mut line = Line::start();
    // A line that is too long is truncated.
    let _ = write!(line, "{PREFIX}{message}");
    line.finish();
}

/// One line, written to the console as a whole.
struct Line {
    bytes: [u8; LINE],
    /// Start of the line, after the end of an unfinished one.
    start: usize,
    length: usize,
}

impl Line {
    /// An empty line, after the end of an unfinished one.
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
    // An earlier logger (a test's) is kept.
    let _ = log::set_logger(&Log);
    log::set_max_level(level);
}
