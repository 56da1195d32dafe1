//! Simulated device memory: words that keep the last value written.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::addr::Mfn;

static WORDS: Mutex<BTreeMap<u64, u32>> = Mutex::new(BTreeMap::new());

/// The address of a page; the simulation maps pages one to one.
pub(crate) fn map(frame: Mfn) -> Option<u64> {
    Some(frame.address().get())
}

/// Reads a word.
pub fn read(address: u64) -> u32 {
    WORDS.lock().unwrap_or_else(PoisonError::into_inner).get(&address).copied().unwrap_or(0)
}

/// Writes a word.
pub fn write(address: u64, value: u32) {
    WORDS.lock().unwrap_or_else(PoisonError::into_inner).insert(address, value);
}
