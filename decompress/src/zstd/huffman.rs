//! The Huffman codes of literals.

use super::bits::Backward;
use super::fse::{Decoder, Table};
use super::take;
use crate::error::Damaged;

const MAX_BITS: u32 = 11;
/// Highest accuracy of the table of compressed weights.
const WEIGHT_ACCURACY: u32 = 6;

/// A decoding table: its index is the next bits of the stream, as many as the longest code has; its
/// entries are a symbol and the length of its code.
pub(super) struct Code {
    bits: u32,
    symbols: [(u8, u8); 1 << MAX_BITS],
}

impl Code {
    pub(super) const fn new() -> Self {
        Self { bits: 0, symbols: [(0, 0); 1 << MAX_BITS] }
    }

    /// Whether there is a code.
    pub(super) const fn is_set(&self) -> bool {
        self.bits != 0
    }

    /// Reads the description of a code from the front of `data`.
    pub(super) fn read(&mut self, data: &mut &[u8]) -> Result<(), Damaged> {
        // The weight of the last symbol is not stored.
        let mut weights = [0u8; 256];
        let header = usize::from(take(data, 1)?[0]);
        let count = match header.checked_sub(127) {
            None => compressed_weights(take(data, header)?, &mut weights)?,
            Some(count) => {
                let bytes = take(data, count.div_ceil(2))?;
                for (pair, byte) in weights.chunks_mut(2).zip(bytes) {
                    pair.copy_from_slice(&[byte >> 4, byte & 15]);
                }
                // The second half of the last byte may be unused.
                weights[count] = 0;
                count
            }
        };
        self.set(&mut weights, count)
    }

    fn set(&mut self, weights: &mut [u8; 256], count: usize) -> Result<(), Damaged> {
        let mut sum = 0u32;
        for &weight in &weights[..count] {
            if u32::from(weight) > MAX_BITS {
                return Err(Damaged);
            }
            sum += 1 << weight >> 1;
        }
        let bits = sum.checked_ilog2().ok_or(Damaged)? + 1;
        let left = (1u32 << bits) - sum;
        if bits > MAX_BITS || !left.is_power_of_two() {
            return Err(Damaged);
        }
        *weights.get_mut(count).ok_or(Damaged)? = left.ilog2() as u8 + 1;
        let mut symbols = self.symbols.iter_mut();
        for wanted in 1..=bits as u8 {
            for (symbol, _) in weights.iter().enumerate().filter(|&(_, &weight)| weight == wanted) {
                for place in symbols.by_ref().take(1 << (wanted - 1)) {
                    *place = (symbol as u8, bits as u8 + 1 - wanted);
                }
            }
        }
        self.bits = bits;
        Ok(())
    }

    /// Decodes one stream, which fills `output`.
    pub(super) fn decode(&self, data: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
        let mut bits = Backward::new(data)?;
        for place in output {
            let (symbol, length) = self.symbols[bits.peek(self.bits) as usize];
            bits.skip(u32::from(length));
            *place = symbol;
        }
        bits.is_at_end().then_some(()).ok_or(Damaged)
    }
}

/// Reads weights from two interleaved streams of one table; returns their number.
fn compressed_weights(data: &[u8], weights: &mut [u8; 256]) -> Result<usize, Damaged> {
    let mut table = Table::new();
    let stream = table.read(data, WEIGHT_ACCURACY, u8::MAX)?;
    let mut bits = Backward::new(stream)?;
    let mut decoders = [Decoder::new(&table, &mut bits), Decoder::new(&table, &mut bits)];
    // The last place is for the weight that is not stored.
    for (index, weight) in weights[..255].iter_mut().enumerate() {
        if bits.is_overrun() {
            // One symbol is left in the other decoder.
            *weight = decoders[index % 2].symbol();
            return Ok(index + 1);
        }
        let decoder = &mut decoders[index % 2];
        *weight = decoder.symbol();
        decoder.advance(&mut bits);
    }
    Err(Damaged)
}
