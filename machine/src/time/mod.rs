//! Time: nanoseconds since boot from the time-stamp counter, the deadline of this CPU, and the wall
//! clock.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

#[cfg(not(target_os = "none"))]
pub use backend::{advance, stop};
#[cfg(target_os = "none")]
pub(crate) use backend::{delay, init, init_timer};
#[cfg(not(target_os = "none"))]
pub(crate) use backend::{forget_deadline, is_due};
pub use backend::{now, scale, set_deadline, ticks, tsc, wall_clock_at_boot};

use crate::integers::{low_u32, low_u64};

/// Conversion of counter ticks to nanoseconds, in the form that the interface passes to guests:
/// shift the ticks left by `shift` (right if it is negative), multiply by `mul`, drop 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// 32-bit binary fraction.
    pub mul: u32,
    /// Applied before the multiplication.
    pub shift: i8,
}

impl Scale {
    /// The scale of a counter with `hertz` ticks per second, which must not be zero.
    pub const fn of_frequency(hertz: u64) -> Self {
        // mul = 10^9 * 2^32 / (hertz * 2^shift), in [2^31, 2^32).
        let mut shift = 0i8;
        let mut numerator = 1_000_000_000u128 << 32;
        let mut denominator = hertz as u128;
        while numerator / denominator >= 1 << 32 {
            denominator <<= 1;
            shift += 1;
        }
        while numerator / denominator < 1 << 31 {
            numerator <<= 1;
            shift -= 1;
        }
        Self { mul: low_u32(low_u64(numerator / denominator)), shift }
    }

    /// Converts ticks to nanoseconds.
    pub const fn nanoseconds(self, ticks: u64) -> u64 {
        let ticks = if self.shift < 0 { ticks as u128 >> -self.shift } else { (ticks as u128) << self.shift };
        low_u64((ticks * self.mul as u128) >> 32)
    }

    /// Ticks per second.
    pub const fn frequency(self) -> u64 {
        let scaled = (1_000_000_000u128 << 32).div_ceil(self.mul as u128);
        low_u64(if self.shift < 0 { scaled << -self.shift } else { scaled >> self.shift })
    }
}

/// The rate of a timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Ticks per nanosecond, with a 32-bit binary fraction.
    per_nanosecond: u64,
}

impl Rate {
    /// The rate of a timer with `hertz` ticks per second, at most 2^60.
    pub const fn of_frequency(hertz: u64) -> Self {
        Self { per_nanosecond: low_u64(((hertz as u128) << 32).div_ceil(1_000_000_000)) }
    }

    /// The number of ticks, at least one, that take this many nanoseconds or slightly more; at most
    /// `u64::MAX`.
    pub const fn ticks(self, nanoseconds: u64) -> u64 {
        let ticks = ((nanoseconds as u128 * self.per_nanosecond as u128) >> 32) + 1;
        if ticks > u64::MAX as u128 { u64::MAX } else { low_u64(ticks) }
    }
}

#[cfg(test)]
mod tests;
