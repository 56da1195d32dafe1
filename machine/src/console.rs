//! The serial line, and Paravane's own log on it.

use core::fmt::{self, Write};

pub use crate::backend::console::{read_byte, write};

/// Behind what every line of Paravane's own begins.
const PREFIX: &str = "(pv) ";
const LINE: usize = 512;

struct Log;

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut line = Line::new();
        let level = match record.level() {
            log::Level::Error => "error: ",
            log::Level::Warn => "warning: ",
            _ => "",
        };
        // a line that is too long is cut
        let _ = write!(line, "{PREFIX}{level}{}", record.args());
        line.end();
        write(line.bytes());
    }

    fn flush(&self) {}
}

/// Writes a line that is always shown, whatever the log level: what happens to guests, and the like.
pub fn announce(message: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // a line that is too long is cut
    let _ = write!(line, "{PREFIX}{message}");
    line.end();
    write(line.bytes());
}

/// One line, so that it reaches the console whole.
struct Line {
    bytes: [u8; LINE],
    length: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; LINE], length: 0 }
    }

    fn end(&mut self) {
        self.length = self.length.min(LINE - 1);
        self.bytes[self.length] = b'\n';
        self.length += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
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
