//! Sequences: each copies a number of literals, then repeats a number of bytes at an offset before
//! the end of the output.

use alloc::boxed::Box;

use super::bits::Backward;
use super::fse::{Decoder, Table};
use super::take;
use crate::bytes::little_endian;
use crate::copy::{append, repeat};
use crate::error::Damaged;

/// Base and extra bits of the codes of literal lengths, from code 16; smaller codes are the length.
#[rustfmt::skip]
const LITERAL_CODES: [(u32, u8); 20] = [
    (16, 1), (18, 1), (20, 1), (22, 1), (24, 2), (28, 2), (32, 3), (40, 3), (48, 4), (64, 6), (128, 7), (256, 8),
    (512, 9), (1024, 10), (2048, 11), (4096, 12), (8192, 13), (16384, 14), (32768, 15), (65536, 16),
];
/// The same for match lengths, from code 32; smaller codes are the length minus three.
#[rustfmt::skip]
const MATCH_CODES: [(u32, u8); 21] = [
    (35, 1), (37, 1), (39, 1), (41, 1), (43, 2), (47, 2), (51, 3), (59, 3), (67, 4), (83, 4), (99, 5), (131, 7),
    (259, 8), (515, 9), (1027, 10), (2051, 11), (4099, 12), (8195, 13), (16387, 14), (32771, 15), (65539, 16),
];
const MAX_OFFSET_CODE: u8 = 31;

#[rustfmt::skip]
const LITERAL_DEFAULT: [i16; 36] = [
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
];
#[rustfmt::skip]
const MATCH_DEFAULT: [i16; 53] = [
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
];
const OFFSET_DEFAULT: [i16; 29] =
    [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1];

/// A table that a block may take over from the previous one.
struct KeptTable {
    table: Table,
    is_set: bool,
    max_accuracy: u32,
    max_symbol: u8,
    default: (u32, &'static [i16]),
}

impl KeptTable {
    const fn new(max_accuracy: u32, max_symbol: u8, default: (u32, &'static [i16])) -> Self {
        Self { table: Table::new(), is_set: false, max_accuracy, max_symbol, default }
    }

    /// Applies the mode in a block's header: the default table, a single symbol, a table described
    /// in the block, or the previous table.
    fn update(&mut self, mode: u8, data: &mut &[u8]) -> Result<(), Damaged> {
        match mode & 3 {
            0 => self.table.set(self.default.0, self.default.1)?,
            1 => {
                let symbol = take(data, 1)?[0];
                if symbol > self.max_symbol {
                    return Err(Damaged);
                }
                self.table.set_single(symbol);
            }
            2 => *data = self.table.read(data, self.max_accuracy, self.max_symbol)?,
            _ if self.is_set => {}
            _ => return Err(Damaged),
        }
        self.is_set = true;
        Ok(())
    }
}

/// The tables and offsets that are kept from block to block.
pub(super) struct Sequences {
    literals: Box<KeptTable>,
    offsets: Box<KeptTable>,
    matches: Box<KeptTable>,
    /// The last offsets.
    recent: [usize; 3],
}

impl Sequences {
    pub(super) fn new() -> Self {
        Self {
            literals: Box::new(KeptTable::new(9, 35, (6, &LITERAL_DEFAULT))),
            offsets: Box::new(KeptTable::new(8, MAX_OFFSET_CODE, (5, &OFFSET_DEFAULT))),
            matches: Box::new(KeptTable::new(9, 52, (6, &MATCH_DEFAULT))),
            recent: [1, 4, 8],
        }
    }

    /// Executes the sequences of a block, beginning at `done` in `output`; returns the new end.
    pub(super) fn execute(
        &mut self,
        mut data: &[u8],
        literals: &[u8],
        output: &mut [u8],
        done: usize,
    ) -> Result<usize, Damaged> {
        let count = count(&mut data)?;
        let mut sink = Sink { output, done, literals };
        if count == 0 {
            sink.literals(literals.len())?;
            return data.is_empty().then_some(sink.done).ok_or(Damaged);
        }
        let modes = take(&mut data, 1)?[0];
        if modes & 3 != 0 {
            return Err(Damaged);
        }
        self.literals.update(modes >> 6, &mut data)?;
        self.offsets.update(modes >> 4, &mut data)?;
        self.matches.update(modes >> 2, &mut data)?;

        let mut bits = Backward::new(data)?;
        let mut literal_codes = Decoder::new(&self.literals.table, &mut bits);
        let mut offset_codes = Decoder::new(&self.offsets.table, &mut bits);
        let mut match_codes = Decoder::new(&self.matches.table, &mut bits);
        for index in 0..count {
            let code = u32::from(offset_codes.symbol());
            let offset = (1 << code) + bits.take(code) as usize;
            let length = value(match_codes.symbol(), 32, 3, &MATCH_CODES, &mut bits)?;
            let literals = value(literal_codes.symbol(), 16, 0, &LITERAL_CODES, &mut bits)?;
            let offset = recall(&mut self.recent, offset, literals == 0)?;
            sink.literals(literals)?;
            sink.repeat(offset, length)?;
            if index + 1 < count {
                literal_codes.advance(&mut bits);
                match_codes.advance(&mut bits);
                offset_codes.advance(&mut bits);
            }
            if bits.is_overrun() {
                return Err(Damaged);
            }
        }
        if !bits.is_at_end() {
            return Err(Damaged);
        }
        sink.literals(sink.literals.len())?;
        Ok(sink.done)
    }
}

/// Reads the number of sequences.
fn count(data: &mut &[u8]) -> Result<usize, Damaged> {
    Ok(match take(data, 1)?[0] {
        first @ 0..128 => usize::from(first),
        255 => little_endian(take(data, 2)?) as usize + 0x7f00,
        first => (usize::from(first) - 128) << 8 | usize::from(take(data, 1)?[0]),
    })
}

/// The number that a code encodes: below `first` the code plus `small`, otherwise by the table.
fn value(code: u8, first: u8, small: usize, codes: &[(u32, u8)], bits: &mut Backward<'_>) -> Result<usize, Damaged> {
    let Some(index) = code.checked_sub(first) else { return Ok(usize::from(code) + small) };
    let &(base, extra) = codes.get(usize::from(index)).ok_or(Damaged)?;
    Ok(base as usize + bits.take(u32::from(extra)) as usize)
}

/// The offset that a value encodes: from 4 the value minus three, below that one of the last
/// offsets.
fn recall(recent: &mut [usize; 3], value: usize, no_literals: bool) -> Result<usize, Damaged> {
    let (offset, place) = match (value, no_literals) {
        (4.., _) => (value - 3, 2),
        (1, false) => (recent[0], 0),
        (2, false) | (1, true) => (recent[1], 1),
        (3, false) | (2, true) => (recent[2], 2),
        _ => (recent[0].checked_sub(1).filter(|&offset| offset != 0).ok_or(Damaged)?, 2),
    };
    // It moves to the front, and those before its place move back.
    recent.copy_within(..place, 1);
    recent[0] = offset;
    Ok(offset)
}

/// The output, its end, and the remaining literals.
struct Sink<'a> {
    output: &'a mut [u8],
    done: usize,
    literals: &'a [u8],
}

impl Sink<'_> {
    fn literals(&mut self, count: usize) -> Result<(), Damaged> {
        append(self.output, self.done, self.literals, 0, count)?;
        take(&mut self.literals, count)?;
        self.done += count;
        Ok(())
    }

    fn repeat(&mut self, offset: usize, length: usize) -> Result<(), Damaged> {
        repeat(self.output, self.done, offset, length)?;
        self.done += length;
        Ok(())
    }
}
