//! A guest's current line. It is collected until its end, and filtered so that the guest cannot
//! write outside its line.
//!
//! Printable bytes, bytes above ASCII, tab, colours and "erase to the end of the line" are kept.
//! Backspace is kept up to the start of the guest's text. A carriage return within a line is
//! followed by the guest's prefix.

use alloc::vec::Vec;
use machine::speculation::MaskedIndex;

/// Length in bytes at which a line is broken.
pub(super) const MAX_LINE: usize = 1024;

/// Maximum number of parameter bytes kept from an escape sequence.
const MAX_SEQUENCE: usize = 16;

/// Position within a terminal's escape sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sequence {
    Outside,
    /// After ESC.
    Escape,
    /// After ESC `[`.
    Control,
    /// After ESC `]`, in a string that ends with BEL or ESC `\`.
    Text,
}

/// The current line of a guest.
#[derive(Debug)]
pub(super) struct Line {
    prefix: Vec<u8>,
    bytes: Vec<u8>,
    /// How many of `bytes` have been output.
    shown: usize,
    /// Lower bound on the number of plain characters before the cursor.
    columns: usize,
    carriage_return: bool,
    sequence: Sequence,
    parameters: Vec<u8>,
    /// Arrival time of the first byte that has not been output.
    since: u64,
}

impl Line {
    /// An empty line of the guest whose lines begin with `prefix`.
    pub(super) const fn new(prefix: Vec<u8>) -> Self {
        Self {
            prefix,
            bytes: Vec::new(),
            shown: 0,
            columns: 0,
            carriage_return: false,
            sequence: Sequence::Outside,
            parameters: Vec::new(),
            since: 0,
        }
    }

    /// Appends the guest's next byte. Returns `true` if the line is complete.
    #[must_use]
    pub(super) fn push(&mut self, byte: u8, now: u64) -> bool {
        if self.is_shown() {
            self.since = now;
        }
        match self.sequence {
            Sequence::Outside => {}
            Sequence::Escape => {
                self.sequence = match byte {
                    b'[' => Sequence::Control,
                    b']' | b'P' | b'X' | b'^' | b'_' => Sequence::Text,
                    // intermediate bytes; the final one follows
                    b' '..=b'/' => Sequence::Escape,
                    _ => Sequence::Outside,
                };
                return byte == b'\n' && self.end_of_line();
            }
            Sequence::Control => return self.push_control(byte),
            Sequence::Text => {
                match byte {
                    7 => self.sequence = Sequence::Outside,
                    0x1b => self.sequence = Sequence::Escape,
                    b'\n' => return self.end_of_line(),
                    _ => {}
                }
                return false;
            }
        }
        if byte == b'\n' {
            return self.end_of_line();
        }
        if self.carriage_return && byte != b'\r' {
            self.restart();
        }
        match byte {
            b'\r' => self.carriage_return = true,
            0x1b => self.sequence = Sequence::Escape,
            8 if self.columns > 0 => {
                self.columns -= 1;
                self.bytes.push(byte);
            }
            b' '..=b'~' => {
                self.columns += 1;
                self.bytes.push(byte);
            }
            b'\t' | 0x80.. => self.bytes.push(byte),
            _ => {}
        }
        self.bytes.len() >= MAX_LINE
    }

    /// Handles a byte of a control sequence. Only colours and erasing to the right are kept.
    fn push_control(&mut self, byte: u8) -> bool {
        match byte {
            b'\n' => return self.end_of_line(),
            b' '..=b'?' if self.parameters.len() < MAX_SEQUENCE => self.parameters.push(byte),
            b' '..=b'?' => {}
            _ => {
                let plain = self.parameters.iter().all(|byte| byte.is_ascii_digit() || *byte == b';');
                let erase_right = byte == b'K' && matches!(self.parameters.as_slice(), b"" | b"0");
                if plain && (byte == b'm' || erase_right) {
                    if self.carriage_return {
                        self.restart();
                    }
                    self.bytes.extend_from_slice(b"\x1b[");
                    self.bytes.extend_from_slice(&self.parameters);
                    self.bytes.push(byte);
                }
                self.parameters.clear();
                self.sequence = Sequence::Outside;
            }
        }
        self.bytes.len() >= MAX_LINE
    }

    fn end_of_line(&mut self) -> bool {
        self.sequence = Sequence::Outside;
        self.parameters.clear();
        self.carriage_return = false;
        true
    }

    /// Returns the cursor to the start of the line and repeats the prefix there.
    fn restart(&mut self) {
        self.carriage_return = false;
        self.columns = 0;
        self.bytes.push(b'\r');
        self.bytes.extend_from_slice(&self.prefix);
    }

    /// The prefix of the line.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The bytes that have not been output.
    pub(super) fn unshown(&self) -> &[u8] {
        self.bytes.part(self.shown..).unwrap_or_default()
    }

    /// Whether all bytes have been output.
    pub(super) fn is_shown(&self) -> bool {
        self.shown == self.bytes.len()
    }

    /// Whether part of the line has been output.
    pub(super) const fn has_begun(&self) -> bool {
        self.shown != 0
    }

    /// Arrival time of the oldest byte that has not been output.
    pub(super) const fn since(&self) -> u64 {
        self.since
    }

    /// Records that all bytes have been output.
    pub(super) const fn mark_shown(&mut self) {
        self.shown = self.bytes.len();
    }

    /// Starts the next line.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.shown = 0;
        self.columns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn lines(input: &[u8]) -> Vec<String> {
        let mut line = Line::new(b"[a] ".to_vec());
        let mut found = Vec::new();
        for &byte in input {
            if line.push(byte, 0) {
                found.push(String::from_utf8_lossy(line.unshown()).into_owned());
                line.clear();
            }
        }
        found
    }

    #[test]
    fn lines_end_with_a_newline_with_or_without_a_carriage_return() {
        assert_eq!(lines(b"one\r\ntwo\n\n\r\r\nrest"), ["one", "two", "", ""]);
    }

    #[test]
    fn a_bare_carriage_return_cannot_leave_the_prefix() {
        assert_eq!(lines(b"10%\r20%\r\n"), ["10%\r[a] 20%"]);
        assert_eq!(lines(b"\r[b] forged\n"), ["\r[a] [b] forged"]);
    }

    #[test]
    fn sequences_that_move_the_cursor_are_dropped() {
        assert_eq!(lines(b"\x1b[31mred\x1b[0m\x1b[K\n"), ["\x1b[31mred\x1b[0m\x1b[K"]);
        assert_eq!(lines(b"a\x1b[2Ab\x1b[1;1Hc\x1b[2Jd\x1b[1Ke\x1bcf\x1b(Bg\n"), ["abcdefg"]);
        assert_eq!(lines(b"\x1b]0;title\x07x\x1b]0;t\x1b\\y\n"), ["xy"]);
        assert_eq!(lines(b"a\x0b\x0c\x00\x7fb\n"), ["ab"]);
        assert_eq!(lines(b"\x1b[31\nnext\n"), ["", "next"]);
        assert_eq!(lines(b"\x1b[?31m\x1b[3 m.\n"), ["."]);
    }

    #[test]
    fn backspaces_stop_at_the_start_of_the_guests_text() {
        assert_eq!(lines(b"ab\x08\x08\x08\x08\n"), ["ab\x08\x08"]);
        assert_eq!(lines(b"\xc3\xa9\x08\n"), ["\u{e9}"]);
        assert_eq!(lines(b"abc\r\x08\n"), ["abc\r[a] "]);
    }

    #[test]
    fn a_line_without_a_newline_is_broken() {
        let found = lines(&[b'x'; 3 * MAX_LINE]);
        assert_eq!(found.len(), 3);
        assert!(lines(&b"\r\x08\x1b[1m".repeat(1000)).iter().all(|line| line.len() < MAX_LINE + 64));
    }

    #[test]
    fn the_parameters_of_a_sequence_are_bounded() {
        let mut line = Line::new(Vec::new());
        for byte in b"\x1b[".iter().chain(&[b'1'; 100_000]) {
            assert!(!line.push(*byte, 0));
        }
        assert!(line.parameters.len() <= MAX_SEQUENCE);
    }
}
