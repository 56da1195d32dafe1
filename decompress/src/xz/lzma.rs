//! LZMA: literals, and matches with earlier output, in adaptive binary range coding. All of a chunk
//! is available and the output is the dictionary, so there is no state machine: one loop decodes a
//! chunk.

use alloc::boxed::Box;
use alloc::vec;

use crate::copy::repeat;
use crate::error::Damaged;

/// Probabilities have eleven bits and start in the middle.
const PROBABILITY_BITS: u32 = 11;
const MIDDLE: u16 = 1 << (PROBABILITY_BITS - 1);
/// The shift by which they adapt.
const ADAPTION: u32 = 5;
/// The range is kept above this.
const TOP: u32 = 1 << 24;

const STATES: usize = 12;
const POSITIONS: usize = 16;
/// States below this follow a literal.
const AFTER_LITERAL: usize = 7;

/// The place in the array of all probabilities where those of each kind begin.
mod place {
    use super::{POSITIONS, STATES};

    pub(super) const IS_MATCH: usize = 0;
    pub(super) const IS_REPEAT: usize = IS_MATCH + STATES * POSITIONS;
    pub(super) const IS_OTHER_THAN_0: usize = IS_REPEAT + STATES;
    pub(super) const IS_OTHER_THAN_1: usize = IS_OTHER_THAN_0 + STATES;
    pub(super) const IS_OTHER_THAN_2: usize = IS_OTHER_THAN_1 + STATES;
    pub(super) const IS_LONG_REPEAT: usize = IS_OTHER_THAN_2 + STATES;
    pub(super) const DISTANCE_SLOT: usize = IS_LONG_REPEAT + STATES * POSITIONS;
    pub(super) const DISTANCE: usize = DISTANCE_SLOT + 4 * 64;
    pub(super) const ALIGNMENT: usize = DISTANCE + 115;
    pub(super) const MATCH_LENGTH: usize = ALIGNMENT + 16;
    pub(super) const REPEAT_LENGTH: usize = MATCH_LENGTH + LENGTHS;
    pub(super) const LITERAL: usize = REPEAT_LENGTH + LENGTHS;
    pub(super) const END: usize = LITERAL + (0x300 << 4);

    /// In the code of a length: two choices, short lengths, middle ones, long ones.
    pub(super) const CHOICE: usize = 0;
    pub(super) const SECOND_CHOICE: usize = 1;
    pub(super) const SHORT: usize = 2;
    pub(super) const MIDDLE: usize = SHORT + POSITIONS * 8;
    pub(super) const LONG: usize = MIDDLE + POSITIONS * 8;
    const LENGTHS: usize = LONG + 256;
}

/// A power of two, so that a masked index needs no check.
const PROBABILITIES: usize = 1 << 14;
const _: () = assert!(place::END <= PROBABILITIES);

type Probabilities = [u16; PROBABILITIES];

/// The decoder's state from chunk to chunk.
pub(super) struct Lzma {
    probabilities: Box<Probabilities>,
    state: usize,
    /// The last distances, minus one.
    recent: [u32; 4],
    /// Bits of the previous byte that select a literal's probabilities, and masks of the position
    /// for literals and for everything else.
    context_bits: u32,
    literal_mask: usize,
    position_mask: usize,
    /// Where in the output the dictionary begins.
    start: usize,
}

/// The range decoder on one chunk.
struct Range<'a> {
    range: u32,
    code: u32,
    input: core::slice::Iter<'a, u8>,
    overrun: bool,
}

impl<'a> Range<'a> {
    fn new(chunk: &'a [u8]) -> Result<Self, Damaged> {
        let (first, rest) = chunk.split_first_chunk::<5>().ok_or(Damaged)?;
        let [0, a, b, c, d] = *first else { return Err(Damaged) };
        Ok(Self { range: u32::MAX, code: u32::from_be_bytes([a, b, c, d]), input: rest.iter(), overrun: false })
    }

    #[inline(always)]
    fn normalise(&mut self) {
        if self.range < TOP {
            self.range <<= 8;
            let next = match self.input.next() {
                Some(&byte) => byte,
                None => {
                    self.overrun = true;
                    0
                }
            };
            self.code = self.code << 8 | u32::from(next);
        }
    }

    /// Decodes one bit with the probability at `index`.
    #[inline(always)]
    fn bit(&mut self, probabilities: &mut Probabilities, index: usize) -> bool {
        self.normalise();
        let place = &mut probabilities[index % PROBABILITIES];
        let probability = u32::from(*place);
        let bound = (self.range >> PROBABILITY_BITS) * probability;
        if self.code < bound {
            self.range = bound;
            *place = (probability + (((1 << PROBABILITY_BITS) - probability) >> ADAPTION)) as u16;
            false
        } else {
            self.range -= bound;
            self.code -= bound;
            *place = (probability - (probability >> ADAPTION)) as u16;
            true
        }
    }

    /// Decodes a number of `bits` bits, the highest first. The result has one more bit above them,
    /// which is set.
    #[inline(always)]
    fn tree(&mut self, probabilities: &mut Probabilities, base: usize, bits: u32) -> usize {
        let mut symbol = 1;
        for _ in 0..bits {
            symbol = symbol << 1 | usize::from(self.bit(probabilities, base + symbol));
        }
        symbol
    }

    /// Decodes a number of `bits` bits, the lowest first.
    #[inline(always)]
    fn reverse_tree(&mut self, probabilities: &mut Probabilities, base: usize, bits: u32) -> u32 {
        let mut symbol = 1;
        let mut number = 0;
        for place in 0..bits {
            let bit = self.bit(probabilities, base + symbol);
            symbol = symbol << 1 | usize::from(bit);
            number |= u32::from(bit) << place;
        }
        number
    }

    /// Appends `bits` bits of even probability to `number`.
    #[inline(always)]
    fn direct(&mut self, mut number: u32, bits: u32) -> u32 {
        for _ in 0..bits {
            self.normalise();
            self.range >>= 1;
            let set = self.code >= self.range;
            if set {
                self.code -= self.range;
            }
            number = number << 1 | u32::from(set);
        }
        number
    }

    /// Decodes a length with the probabilities that begin at `base`.
    fn length(&mut self, probabilities: &mut Probabilities, base: usize, position: usize) -> usize {
        if !self.bit(probabilities, base + place::CHOICE) {
            return self.tree(probabilities, base + place::SHORT + position * 8, 3) - 8 + 2;
        }
        if !self.bit(probabilities, base + place::SECOND_CHOICE) {
            return self.tree(probabilities, base + place::MIDDLE + position * 8, 3) - 8 + 10;
        }
        self.tree(probabilities, base + place::LONG, 8) - 256 + 18
    }

    /// Decodes the distance, minus one, of a match of `length`.
    fn distance(&mut self, probabilities: &mut Probabilities, length: usize) -> u32 {
        let class = (length - 2).min(3);
        let slot = (self.tree(probabilities, place::DISTANCE_SLOT + class * 64, 6) - 64) as u32;
        if slot < 4 {
            return slot;
        }
        let bits = (slot >> 1) - 1;
        let top = 2 | slot & 1;
        if slot < 14 {
            let base = top << bits;
            // Trees of several slots share the array; each begins where its numbers do.
            let tree = place::DISTANCE + (base - slot) as usize;
            return base + self.reverse_tree(probabilities, tree, bits);
        }
        let upper = self.direct(top, bits - 4) << 4;
        upper.wrapping_add(self.reverse_tree(probabilities, place::ALIGNMENT, 4))
    }

    /// Whether the chunk was read to its end and the coder ended there too.
    fn is_finished(&self) -> bool {
        self.code == 0 && !self.overrun && self.input.as_slice().is_empty()
    }
}

impl Lzma {
    pub(super) fn new() -> Self {
        let probabilities = vec![MIDDLE; PROBABILITIES].into_boxed_slice();
        Self {
            probabilities: probabilities.try_into().expect("made with this length"),
            state: 0,
            recent: [0; 4],
            context_bits: 0,
            literal_mask: 0,
            position_mask: 0,
            start: 0,
        }
    }

    /// Begins the dictionary at `start`: nothing before it may be repeated.
    pub(super) const fn reset_dictionary(&mut self, start: usize) {
        self.start = start;
    }

    /// Sets how literals and positions select probabilities, from the byte that encodes it.
    pub(super) fn set_properties(&mut self, properties: u8) -> Result<(), Damaged> {
        let (context, rest) = (properties % 9, properties / 9);
        let (literal, position) = (rest % 5, rest / 5);
        if position > 4 || context + literal > 4 {
            return Err(Damaged);
        }
        self.context_bits = u32::from(context);
        self.literal_mask = (1 << literal) - 1;
        self.position_mask = (1 << position) - 1;
        Ok(())
    }

    /// Resets the probabilities, the state and the last distances.
    pub(super) fn reset_state(&mut self) {
        self.probabilities.fill(MIDDLE);
        self.state = 0;
        self.recent = [0; 4];
    }

    /// Decompresses one chunk to `length` bytes of `output`, beginning at `done`.
    pub(super) fn decompress(
        &mut self,
        chunk: &[u8],
        output: &mut [u8],
        done: usize,
        length: usize,
    ) -> Result<(), Damaged> {
        let mut range = Range::new(chunk)?;
        let probabilities = &mut *self.probabilities;
        let end = done.checked_add(length).filter(|&end| end <= output.len()).ok_or(Damaged)?;
        let (start, mut recent, mut state) = (self.start, self.recent, self.state);
        let mut at = done;
        while at < end {
            let position = (at - start) & self.position_mask;
            if !range.bit(probabilities, place::IS_MATCH + state * POSITIONS + position) {
                let before = if at > start { output[at - 1] } else { 0 };
                let low = usize::from(before) >> (8 - self.context_bits);
                let high = ((at - start) & self.literal_mask) << self.context_bits;
                let base = place::LITERAL + (low + high) * 0x300;
                let byte = if state < AFTER_LITERAL {
                    range.tree(probabilities, base, 8)
                } else {
                    let place = at.checked_sub(recent[0] as usize + 1).filter(|&place| place >= start);
                    matched_literal(&mut range, probabilities, base, output[place.ok_or(Damaged)?])
                };
                output[at] = byte as u8;
                at += 1;
                state = [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5][state];
                continue;
            }
            let after_literal = state < AFTER_LITERAL;
            let repeat_state = if after_literal { 8 } else { 11 };
            let length = if !range.bit(probabilities, place::IS_REPEAT + state) {
                state = if after_literal { 7 } else { 10 };
                let length = range.length(probabilities, place::MATCH_LENGTH, position);
                recent.rotate_right(1);
                recent[0] = range.distance(probabilities, length);
                length
            } else if range.bit(probabilities, place::IS_OTHER_THAN_0 + state) {
                let other = if !range.bit(probabilities, place::IS_OTHER_THAN_1 + state) {
                    1
                } else {
                    2 + usize::from(range.bit(probabilities, place::IS_OTHER_THAN_2 + state))
                };
                recent[..=other].rotate_right(1);
                state = repeat_state;
                range.length(probabilities, place::REPEAT_LENGTH, position)
            } else if range.bit(probabilities, place::IS_LONG_REPEAT + state * POSITIONS + position) {
                state = repeat_state;
                range.length(probabilities, place::REPEAT_LENGTH, position)
            } else {
                state = if after_literal { 9 } else { 11 };
                1
            };
            let distance = recent[0] as usize + 1;
            if length > end - at || distance > at - start {
                return Err(Damaged);
            }
            repeat(output, at, distance, length)?;
            at += length;
        }
        self.recent = recent;
        self.state = state;
        range.normalise();
        range.is_finished().then_some(()).ok_or(Damaged)
    }
}

/// Decodes a literal after a match; its code depends on the byte with which the match would
/// continue.
#[inline(always)]
fn matched_literal(range: &mut Range<'_>, probabilities: &mut Probabilities, base: usize, expected: u8) -> usize {
    let mut expected = usize::from(expected) << 1;
    // 0x100 as long as the literal agrees with the expected byte, then zero.
    let mut agrees = 0x100;
    let mut symbol = 1;
    while symbol < 0x100 {
        let wanted = expected & agrees;
        expected <<= 1;
        let bit = range.bit(probabilities, base + agrees + wanted + symbol);
        symbol = symbol << 1 | usize::from(bit);
        agrees &= if bit { wanted } else { !wanted };
    }
    symbol
}
