//! Hypercalls with random arguments: whatever guests do, the frame table's counts stay those of what exists, and what a
//! domain had comes back when it is gone.

use std::thread;
use std::vec::Vec;

use machine::frames::Budget;
use proptest::prelude::*;

use super::pair::{Pair, all_is_back, destroy, free_frames, recount};
use super::play::{Player, Script, play};

const CASES: u32 = if cfg!(miri) { 1 } else { 32 };
const ROUNDS: u64 = if cfg!(miri) { 1 } else { 40 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_right_after_every_hypercall_and_every_frame_comes_back(
        bytes in prop::collection::vec(any::<u8>(), 0..1200),
    ) {
        play(&bytes);
    }
}

/// A long string of bytes that look random, from a seed.
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
fn vcpus_race_on_the_same_tables_and_nothing_is_lost() {
    let free = free_frames();
    for round in 0..ROUNDS {
        race(round);
        all_is_back(free);
    }
}

fn race(round: u64) {
    let mut pair = Pair::new();
    let root = pair.player(0, 0);
    let second = pair.domains()[0].vcpu(1).map(std::sync::Arc::clone);
    let second = second.expect("two vCPUs");
    if let Some(context) = second.parked().as_mut() {
        drop(context.set_roots(root.root(), None));
    }
    let mut players = std::vec![root, pair.player_of(0, 1, None, 2), pair.player(1, 0)];
    players.iter_mut().for_each(Player::park);
    thread::scope(|scope| {
        for (number, player) in players.iter_mut().enumerate() {
            scope.spawn(move || {
                player.activate();
                player.play(&mut Script(&noise(round * 3 + number as u64 + 1, 6000)));
                player.park();
                player.domain.teardown.advance(&mut Budget::new(10_000));
            });
        }
    });
    recount(&pair.domains(), &players);
    destroy(pair, players);
}
