//! Hypercalls with random arguments: the counts of the frame table must stay exact, and all frames
//! of a domain must be free once it is gone.

use std::vec::Vec;

use proptest::prelude::*;

use super::play::{Recount, play};
use super::race::race;

const CASES: u32 = if cfg!(miri) { 1 } else { 32 };
const ROUNDS: u64 = if cfg!(miri) { 1 } else { 40 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_hypercalls_keep_counts_exact_and_leak_no_frames(
        bytes in prop::collection::vec(any::<u8>(), 0..1200),
    ) {
        play(&bytes, Recount::EachStep);
    }
}

/// A long pseudo-random string of bytes, from a seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

#[test]
fn empty_scripts_leak_no_frames() {
    race([&[]; 3]);
}

#[test]
fn vcpus_that_race_on_the_same_tables_leak_no_frames() {
    for round in 0..ROUNDS {
        let scripts = [1, 2, 3].map(|number| noise(round * 3 + number, 6000));
        race(scripts.each_ref().map(Vec::as_slice));
    }
}
