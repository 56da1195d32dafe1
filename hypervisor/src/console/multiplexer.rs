//! The serial line as all guests share it: whose line stands open on it, and what else waits for its end.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use machine::sync::{Level, SpinLock};

use super::line::Line;

/// How long a line without end may be held back, in nanoseconds, when another console writes.
const MAX_WAIT: u64 = 100_000_000;

static WIRE: SpinLock<Wire> = SpinLock::new(
    Level::SerialLine,
    Wire { lines: BTreeMap::new(), output: Output { open: None, cuts: 0, batch: Vec::new() } },
);

/// The lines that guests are at, and the serial line.
struct Wire {
    lines: BTreeMap<Source, Line>,
    output: Output,
}

struct Output {
    /// The guest whose line has no end on the wire yet.
    open: Option<Source>,
    /// How often Paravane's log had cut off an open line when this was last asked.
    cuts: u32,
    /// What goes out next, in one piece.
    batch: Vec<u8>,
}

/// One console among those that write to the line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Source(u32);

impl Source {
    /// A console that did not exist before.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// How a guest's bytes appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Whole lines behind the guest's name.
    Lines,
    /// The same, but what has no end yet is shown too: somebody types.
    Interactive,
    /// The bytes as they are.
    Raw,
}

/// Writes bytes of a guest; returns how many went out on the serial line.
pub(super) fn write(guest: Source, prefix: &[u8], mode: Mode, bytes: &[u8], now: u64) -> usize {
    let mut wire = WIRE.lock();
    let (lines, output) = wire.parts();
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

/// Shows what a guest has written of a line that has no end yet.
pub(super) fn show_open_line(guest: Source) {
    let mut wire = WIRE.lock();
    let (lines, output) = wire.parts();
    if let Some(line) = lines.get_mut(&guest) {
        output.show(guest, line);
    }
    output.send();
}

/// Ends a guest's line and forgets the guest.
pub(super) fn close(guest: Source) {
    let mut wire = WIRE.lock();
    let (lines, output) = wire.parts();
    if let Some(mut line) = lines.remove(&guest) {
        output.show(guest, &mut line);
    }
    if output.open == Some(guest) {
        output.fresh_line();
    }
    output.send();
}

/// Writes a line of Paravane's own, for somebody who asked for it.
pub(super) fn say(text: fmt::Arguments<'_>) {
    let text = alloc::format!("(pv) {text}\n");
    let mut wire = WIRE.lock();
    let (_, output) = wire.parts();
    output.fresh_line();
    output.batch.extend_from_slice(text.as_bytes());
    output.send();
}

impl Wire {
    /// The parts, once it is known whether the line still stands as it was left.
    fn parts(&mut self) -> (&mut BTreeMap<Source, Line>, &mut Output) {
        let cuts = machine::console::lines_cut();
        if core::mem::replace(&mut self.output.cuts, cuts) != cuts {
            self.output.open = None;
        }
        (&mut self.lines, &mut self.output)
    }
}

impl Output {
    /// Ends whatever line stands open.
    fn fresh_line(&mut self) {
        if self.open.take().is_some() {
            self.batch.push(b'\n');
        }
    }

    /// Ends whatever line stands open, unless it is that guest's. `true` if it is.
    fn give_way_to(&mut self, guest: Source) -> bool {
        let own = self.open == Some(guest);
        if !own {
            self.fresh_line();
        }
        own
    }

    /// Puts out what is not on the wire yet, behind the prefix if another line was there meanwhile.
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

    /// Puts out the rest of a line and its end. A line that others cut off when all of it had been shown has got its end.
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

    /// As `send`, but `xl dmesg` does not show it.
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

    /// What stands on the wire after these pieces.
    fn wire(pieces: &[(Source, &str, bool)]) -> String {
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
        assert_eq!(wire(&pieces), "[2] two\n[1] one three\n[1] \n");
    }

    #[test]
    fn a_line_that_is_cut_off_goes_on_behind_its_prefix() {
        let pieces = [(A, "$ ", true), (A, "ls", true), (B, "x\n", false), (A, " -l\n", true)];
        assert_eq!(wire(&pieces), "[1] $ ls\n[2] x\n[1]  -l\n");
    }

    #[test]
    fn a_line_that_was_cut_off_complete_is_not_repeated() {
        assert_eq!(wire(&[(A, "$ ", true), (B, "x\n", false), (A, "\ny\n", true)]), "[1] $ \n[2] x\n[1] y\n");
    }
}
