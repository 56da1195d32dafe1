//! Pseudo-random numbers from a seed, with a preference for edge cases.

/// A generator of 64-bit numbers.
pub(crate) struct Random(u64);

const NASTY: [u64; 24] = [
    0,
    1,
    2,
    3,
    7,
    8,
    63,
    64,
    255,
    256,
    511,
    512,
    4095,
    4096,
    0x7ff0,
    0x7ff1,
    0x7ff2,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x0000_8000_0000_0000,
    0xffff_8000_0000_0000,
    u64::MAX,
];

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    /// A number that careless code does not expect.
    pub(crate) fn nasty(&mut self) -> u64 {
        match self.below(4) {
            0 => self.next(),
            1 => self.below(16),
            _ => NASTY[self.below(NASTY.len() as u64) as usize],
        }
    }
}
