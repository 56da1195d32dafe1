//! The latest console output, for the control domain's `xl dmesg`: a ring of bytes. Indices are not
//! reduced to the size of the ring, so that a reader can continue where it stopped.

use super::news::{self, News};
use crate::integers::low_u32;
use crate::sync::{Level, SpinLock};

/// Size of the ring in bytes; a power of two, so that positions stay consecutive when an index
/// wraps.
pub const HISTORY_SIZE: usize = 128 * 1024;

static HISTORY: SpinLock<History> = SpinLock::new(Level::History, History::new());

struct History {
    bytes: [u8; HISTORY_SIZE],
    /// Index of the first byte that is stored and not cleared; at most [`HISTORY_SIZE`] before
    /// `end`.
    start: u32,
    /// Index of the next byte.
    end: u32,
    /// The last byte does not end a line.
    in_line: bool,
}

impl History {
    const fn new() -> Self {
        Self { bytes: [0; HISTORY_SIZE], start: 0, end: 0, in_line: false }
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.end as usize % HISTORY_SIZE) {
            *place = byte;
        }
        self.end = self.end.wrapping_add(1);
        if self.end.wrapping_sub(self.start) as usize > HISTORY_SIZE {
            self.start = self.start.wrapping_add(1);
        }
        self.in_line = byte != b'\n';
    }

    /// The first byte to read for a reader at `index`: that byte, or the oldest one if that byte is
    /// lost.
    fn first(&self, index: u32) -> u32 {
        if self.end.wrapping_sub(index) <= self.end.wrapping_sub(self.start) { index } else { self.start }
    }

    fn read(&self, index: u32, to: &mut [u8]) -> (u32, usize) {
        let first = self.first(index);
        let length = to.len().min(self.end.wrapping_sub(first) as usize);
        let bytes = self.bytes.iter().cycle().skip(first as usize % HISTORY_SIZE);
        to.iter_mut().take(length).zip(bytes).for_each(|(place, byte)| *place = *byte);
        (first.wrapping_add(low_u32(length as u64)), length)
    }
}

/// Appends output.
pub(super) fn keep(text: &[u8]) {
    let mut history = HISTORY.lock();
    // The end of a line that was not stored is dropped.
    let text = if history.in_line { text } else { text.strip_prefix(b"\n").unwrap_or(text) };
    text.iter().for_each(|byte| history.push(*byte));
    drop(history);
    news::note(News::HISTORY);
}

/// Appends a line of its own.
pub(super) fn keep_line(text: &[u8]) {
    let mut history = HISTORY.lock();
    if history.in_line {
        history.push(b'\n');
    }
    text.iter().for_each(|byte| history.push(*byte));
    drop(history);
    news::note(News::HISTORY);
}

/// The index of the oldest byte that can be read.
pub fn start() -> u32 {
    HISTORY.lock().start
}

/// Reads from `index` on, or from the oldest byte if that byte is lost. Returns the index after the
/// bytes read, and their number.
pub fn read(index: u32, to: &mut [u8]) -> (u32, usize) {
    HISTORY.lock().read(index, to)
}

/// Clears the bytes before `index`.
pub fn clear(index: u32) {
    let mut history = HISTORY.lock();
    history.start = history.first(index);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec;

    fn text(index: u32) -> String {
        let mut bytes = vec![0; HISTORY_SIZE + 1];
        let (_, length) = read(index, &mut bytes);
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_reader_continues_where_it_stopped_and_lines_stay_lines() {
        keep(b"\n");
        keep(b"[a] open");
        keep_line(b"(pv) said\n");
        assert_eq!(text(start()), "[a] open\n(pv) said\n");
        let mut piece = [0; 4];
        let (next, length) = read(start(), &mut piece);
        assert_eq!((next, length, &piece), (4, 4, b"[a] "));
        assert_eq!(text(next), "open\n(pv) said\n");
        assert!(news::take().contains(News::HISTORY) && !news::any());
        clear(next);
        assert_eq!(text(0), "open\n(pv) said\n", "cleared bytes are gone for every reader");
        assert_eq!(read(u32::MAX - 7, &mut piece).1, 4, "an invalid index reads from the start");
    }

    #[test]
    fn the_oldest_bytes_are_dropped_first_also_when_indices_wrap() {
        let mut history = History::new();
        (history.start, history.end) = (u32::MAX - 9, u32::MAX - 9);
        for byte in (0..HISTORY_SIZE + 100).map(|number| number as u8) {
            history.push(byte);
        }
        assert_eq!(history.start, (u32::MAX - 9).wrapping_add(100));
        let mut bytes = [0; 2];
        let (next, length) = history.read(u32::MAX - 9, &mut bytes);
        assert_eq!((next, length, bytes), (history.start + 2, 2, [100, 101]));
        assert_eq!(history.read(history.end, &mut bytes).1, 0);
    }
}
