//! The serial multiplexer, which merges the output of all guests onto one serial line in whole
//! lines.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use machine::sync::{Level, SpinLock};

use super::line::Line;

/// How long an incomplete line is held back when another console writes, in nanoseconds.
const MAX_WAIT: u64 = 100_000_000;

static MULTIPLEXER: SpinLock<Multiplexer> = SpinLock::new(
    Level::SerialLine,
    Multiplexer { lines: BTreeMap::new(), output: Output { open: None, cuts: 0, batch: Vec::new() } },
);

/// The current lines of all guests, and the serial line.
struct Multiplexer {
    lines: BTreeMap<Source, Line>,
    output: Output,
}

struct Output {
    /// The guest whose incomplete line is on the serial line.
    open: Option<Source>,
    /// The value of `lines_cut` at the last check: how many times Paravane's log has interrupted a
    /// line.
    cuts: u32,
    /// Output that is collected to be sent in one piece.
    batch: Vec<u8>,
}

/// A console that writes to the serial line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Source(u32);

impl Source {
    /// A unique source.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The form in which a guest's output appears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Whole lines, prefixed with the guest's name.
    Lines,
    /// As `Lines`, but incomplete lines are shown as well, since a person is typing.
    Interactive,
    /// The bytes unchanged.
    Raw,
}

/// Writes output of a guest. Returns the number of bytes sent on the serial line.
pub(super) fn write(guest: Source, prefix: &[u8], mode: Mode, bytes: &[u8], now: u64) -> usize {
    let mut multiplexer = MULTIPLEXER.lock();
    let (lines, output) = multiplexer.parts();
    for (&other, line) in lines.iter_mut().filter(|(other, _)| **other != guest) {
        if !line.is_shown() && now.saturating_sub(line.since()) > MAX_WAIT {
            output.show(other, line);
        }
    }
    if mode == Mode::Raw {
        output.give_way_to(guest);
        output.batch.extend_from_slice(bytes);
        output.open = (bytes.last() != Some(&b'\n')).then_some(guest);
        return output.send_unkept();
    }
    let line = lines.entry(guest).or_insert_with(|| Line::new(prefix.to_vec()));
    for &byte in bytes {
        if line.push(byte, now) {
            output.end(guest, line);
        }
    }
    if mode == Mode::Interactive {
        output.show(guest, line);
    }
    output.send()
}

/// Shows a guest's incomplete line.
pub(super) fn show_open_line(guest: Source) {
    let mut multiplexer = MULTIPLEXER.lock();
    let (lines, output) = multiplexer.parts();
    if let Some(line) = lines.get_mut(&guest) {
        output.show(guest, line);
    }
    output.send();
}

/// Ends a guest's line and removes its state.
pub(super) fn close(guest: Source) {
    let mut multiplexer = MULTIPLEXER.lock();
    let (lines, output) = multiplexer.parts();
    if let Some(mut line) = lines.remove(&guest) {
        output.show(guest, &mut line);
    }
    if output.open == Some(guest) {
        output.fresh_line();
    }
    output.send();
}

/// Writes a line of the hypervisor in response to a user's request.
pub(super) fn print(text: fmt::Arguments<'_>) {
    let text = alloc::format!("(pv) {text}\n");
    let mut multiplexer = MULTIPLEXER.lock();
    let (_, output) = multiplexer.parts();
    output.fresh_line();
    output.batch.extend_from_slice(text.as_bytes());
    output.send();
}

impl Multiplexer {
    /// The parts. Forgets the open line if Paravane's log has interrupted it.
    fn parts(&mut self) -> (&mut BTreeMap<Source, Line>, &mut Output) {
        let cuts = machine::console::lines_cut();
        if core::mem::replace(&mut self.output.cuts, cuts) != cuts {
            self.output.open = None;
        }
        (&mut self.lines, &mut self.output)
    }
}

impl Output {
    /// Ends the open line, if any.
    fn fresh_line(&mut self) {
        if self.open.take().is_some() {
            self.batch.push(b'\n');
        }
    }

    /// Ends the open line unless it is that guest's. Returns `true` if it is.
    fn give_way_to(&mut self, guest: Source) -> bool {
        let own = self.open == Some(guest);
        if !own {
            self.fresh_line();
        }
        own
    }

    /// Sends the part of a line that has not been shown, with the prefix if another line has been
    /// output since.
    fn show(&mut self, guest: Source, line: &mut Line) {
        if line.is_shown() {
            return;
        }
        if !self.give_way_to(guest) {
            self.batch.extend_from_slice(line.prefix());
        }
        self.batch.extend_from_slice(line.unshown());
        line.mark_shown();
        self.open = Some(guest);
    }

    /// Sends the rest of a line and ends it. A line that was interrupted after all of it had been
    /// shown is already ended.
    fn end(&mut self, guest: Source, line: &mut Line) {
        if line.is_shown() && !line.has_begun() {
            self.give_way_to(guest);
            self.batch.extend_from_slice(line.prefix());
            self.open = Some(guest);
        }
        self.show(guest, line);
        if self.open == Some(guest) {
            self.fresh_line();
        }
        line.clear();
    }

    fn send(&mut self) -> usize {
        self.send_by(machine::console::write)
    }

    /// As `send`, but the output is not kept for `xl dmesg`.
    fn send_unkept(&mut self) -> usize {
        self.send_by(machine::console::write_unkept)
    }

    fn send_by(&mut self, write: fn(&[u8])) -> usize {
        let length = self.batch.len();
        if length != 0 {
            write(&self.batch);
            self.batch.clear();
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    const A: Source = Source(1);
    const B: Source = Source(2);

    /// The serial output after these pieces.
    fn serial_output(pieces: &[(Source, &str, bool)]) -> String {
        let mut output = Output { open: None, cuts: 0, batch: Vec::new() };
        let mut lines = BTreeMap::new();
        for &(guest, text, show) in pieces {
            let prefix = alloc::format!("[{}] ", guest.0).into_bytes();
            let line = lines.entry(guest).or_insert_with(|| Line::new(prefix));
            for byte in text.bytes() {
                if line.push(byte, 0) {
                    output.end(guest, line);
                }
            }
            if show {
                output.show(guest, line);
            }
        }
        String::from_utf8(output.batch).expect("plain text")
    }

    #[test]
    fn lines_of_two_guests_do_not_mix() {
        let pieces = [(A, "one ", false), (B, "two\n", false), (A, "three\n\n", false)];
        assert_eq!(serial_output(&pieces), "[2] two\n[1] one three\n[1] \n");
    }

    #[test]
    fn an_interrupted_line_continues_after_its_prefix() {
        let pieces = [(A, "$ ", true), (A, "ls", true), (B, "x\n", false), (A, " -l\n", true)];
        assert_eq!(serial_output(&pieces), "[1] $ ls\n[2] x\n[1]  -l\n");
    }

    #[test]
    fn a_line_that_was_interrupted_when_complete_is_not_repeated() {
        assert_eq!(serial_output(&[(A, "$ ", true), (B, "x\n", false), (A, "\ny\n", true)]), "[1] $ \n[2] x\n[1] y\n");
    }
}
