//! Compressed kernels, decompressed from one slice into another.
//!
//! Linux's build appends the decompressed size to the compressed data (gzip has it there already).
//! [`Compressed::parse`] reads the format and that size without decompressing anything; the caller
//! provides that many bytes of output, and [`Compressed::decompress_into`] fills them. A stream of
//! any other length is refused.
//!
//! The output is the only dictionary or window, and all of the input is available, so no decoder
//! has a state machine for partial input. The input is untrusted: nothing panics, and nothing is
//! written outside of the output. What was written before an error is not specified.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bytes;
#[cfg_attr(not(test), expect(clippy::indexing_slicing, reason = "lengths are checked before the loops"))]
mod copy;
mod error;
mod gzip;
mod lz4;
mod payload;
#[cfg_attr(
    not(test),
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::indexing_slicing,
        reason = "numbers and indices are within bounds that the format gives"
    )
)]
mod xz;
#[cfg_attr(
    not(test),
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::indexing_slicing,
        reason = "numbers and indices are within bounds that the format gives"
    )
)]
mod zstd;

pub use error::Error;
pub use payload::{Compressed, MAX_SIZE};
