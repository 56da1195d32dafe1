//! Finite state entropy: tables that give the symbol of a state and, with some bits of the stream,
//! the next state.

use super::bits::{Backward, Forward};
use crate::error::Damaged;

/// No table has more than 2 to this power states.
pub(super) const MAX_ACCURACY: u32 = 9;
const MAX_SYMBOLS: usize = 256;
/// The probability "less than one": the symbol has one state and needs all bits for the next.
const RARE: i16 = -1;

#[derive(Clone, Copy, Default)]
struct State {
    symbol: u8,
    /// The number of bits to read for the next state, and the number to which they are added.
    bits: u8,
    base: u16,
}

/// A decoding table.
pub(super) struct Table {
    accuracy: u32,
    states: [State; 1 << MAX_ACCURACY],
}

impl Table {
    /// A table that decodes symbol zero only.
    pub(super) const fn new() -> Self {
        Self { accuracy: 0, states: [State { symbol: 0, bits: 0, base: 0 }; 1 << MAX_ACCURACY] }
    }

    /// Makes this a table with one symbol, which takes no bits.
    pub(super) const fn set_single(&mut self, symbol: u8) {
        self.accuracy = 0;
        self.states[0] = State { symbol, bits: 0, base: 0 };
    }

    /// Reads a table's description; returns what follows it.
    pub(super) fn read<'a>(&mut self, data: &'a [u8], max_accuracy: u32, max_symbol: u8) -> Result<&'a [u8], Damaged> {
        let mut bits = Forward::new(data);
        let accuracy = bits.take(4) as u32 + 5;
        if accuracy > max_accuracy {
            return Err(Damaged);
        }
        let mut probabilities = [0i16; MAX_SYMBOLS];
        let mut count = 0;
        let mut left = 1u32 << accuracy;
        while left > 0 {
            let probability = read_probability(&mut bits, left);
            *probabilities.get_mut(count).ok_or(Damaged)? = probability;
            count += 1;
            left = left.checked_sub(u32::from(probability.unsigned_abs())).ok_or(Damaged)?;
            // After a zero: the number of further zeros, at most three at a time.
            let mut more = probability == 0;
            while more {
                let zeros = bits.take(2) as usize;
                count += zeros;
                more = zeros == 3;
                if count > MAX_SYMBOLS {
                    return Err(Damaged);
                }
            }
        }
        let rest = bits.rest()?;
        let probabilities = probabilities.get(..count).ok_or(Damaged)?;
        if count > usize::from(max_symbol) + 1 {
            return Err(Damaged);
        }
        self.set(accuracy, probabilities)?;
        Ok(rest)
    }

    /// Builds the table for symbols with these probabilities, whose sum is 2 to the power of
    /// `accuracy`.
    pub(super) fn set(&mut self, accuracy: u32, probabilities: &[i16]) -> Result<(), Damaged> {
        let size = 1usize << accuracy;
        let states = self.states.get_mut(..size).ok_or(Damaged)?;
        let mut next = [0u16; MAX_SYMBOLS];
        // Rare symbols are at the end.
        let mut end = size;
        for (symbol, &probability) in probabilities.iter().enumerate() {
            next[symbol] = probability.unsigned_abs();
            if probability == RARE {
                end = end.checked_sub(1).ok_or(Damaged)?;
                states[end].symbol = symbol as u8;
            }
        }
        let step = (size >> 1) + (size >> 3) + 3;
        let mut position = 0;
        for (symbol, &probability) in probabilities.iter().enumerate() {
            for _ in 0..probability.max(0) {
                states[position].symbol = symbol as u8;
                loop {
                    position = (position + step) & (size - 1);
                    if position < end {
                        break;
                    }
                    if end == 0 {
                        return Err(Damaged);
                    }
                }
            }
        }
        if position != 0 {
            return Err(Damaged);
        }
        for state in states {
            let number = &mut next[usize::from(state.symbol)];
            let bits = accuracy.checked_sub(number.checked_ilog2().ok_or(Damaged)?).ok_or(Damaged)?;
            state.bits = bits as u8;
            state.base = (usize::from(*number) << bits).checked_sub(size).ok_or(Damaged)? as u16;
            *number += 1;
        }
        self.accuracy = accuracy;
        Ok(())
    }
}

/// Reads one probability. `left` is the sum of those not yet read; the length of the code depends
/// on it.
fn read_probability(bits: &mut Forward<'_>, left: u32) -> i16 {
    let length = (left + 1).ilog2() + 1;
    let short = (1u64 << (length - 1)) - 1;
    // This many values need one bit less.
    let shorter = (1u64 << length) - 2 - u64::from(left);
    let mut value = bits.peek(length);
    if value & short < shorter {
        bits.skip(length - 1);
        value &= short;
    } else {
        bits.skip(length);
        if value > short {
            value -= shorter;
        }
    }
    value as i16 - 1
}

/// A position in a table while a stream is decoded.
pub(super) struct Decoder<'t> {
    table: &'t Table,
    state: usize,
}

impl<'t> Decoder<'t> {
    /// Reads the initial state from the stream.
    pub(super) fn new(table: &'t Table, bits: &mut Backward<'_>) -> Self {
        let state = bits.take(table.accuracy) as usize;
        Self { table, state }
    }

    pub(super) fn symbol(&self) -> u8 {
        self.table.states[self.state].symbol
    }

    /// Moves to the next state.
    pub(super) fn advance(&mut self, bits: &mut Backward<'_>) {
        let state = self.table.states[self.state];
        // The base plus the bits is below the table's size.
        self.state = usize::from(state.base) + bits.take(u32::from(state.bits)) as usize;
    }
}
