//! The number of an event channel port. The ports themselves are in `event_channel`.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An event channel port's number in its domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(transparent)]
pub struct Port(u32);

impl Port {
    /// Port zero, which is never allocated, so it stands for no port.
    pub const NONE: Self = Self(0);

    /// The port with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The port as a number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// This port, or `None` if it is [`Port::NONE`].
    pub fn non_zero(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }

    /// The port after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The ports from this one up to `end`, exclusive.
    pub fn until(self, end: Self) -> impl Iterator<Item = Self> {
        (self.0..end.0).map(Self)
    }

    /// The index of the word with this port's bit, in an array with a bit for each port.
    pub const fn word(self) -> u32 {
        self.0 / u64::BITS
    }

    /// The number of this port's bit in that word.
    pub const fn bit(self) -> u32 {
        self.0 % u64::BITS
    }
}
