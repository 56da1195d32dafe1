//! Microcode containers: finds the newest update for a processor in a file of updates, and that
//! file in an early cpio archive.
//!
//! [`early_cpio::find`] searches the archives in front of a ramdisk, [`newest`] a file for one of
//! the two makers of processors. Both only read slices and return slices of them; loading an update
//! is the task of `machine`.
//!
//! The input is untrusted: nothing panics, and the time is linear in the length of the input. A
//! file with any damage is refused as a whole, even if an update before the damage is sound: a
//! damaged file is not the one that its maker has published.
#![no_std]
#![cfg_attr(
    not(any(test, feature = "testing")),
    deny(
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]

#[cfg(any(test, feature = "testing"))]
extern crate std;

mod amd;
mod bytes;
mod choice;
pub mod early_cpio;
mod error;
mod intel;
mod processor;
#[cfg(any(test, feature = "testing"))]
pub mod samples;
#[cfg(test)]
mod tests;
mod update;

pub use choice::{Rule, newest};
pub use error::Error;
pub use processor::{Maker, Processor};
pub use update::{Date, Update};
