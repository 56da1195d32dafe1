//! Ends of the machine.

pub use crate::backend::power::{halt, off, reboot};
