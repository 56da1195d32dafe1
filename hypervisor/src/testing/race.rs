//! Plays three vCPUs concurrently, each on a thread: two of one guest, which share page tables, and
//! one of another guest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use machine::frames::Budget;

use super::migration::Migration;
use super::pair::{Pair, all_is_back, destroy, free_frames, recount};
use super::player::{Player, Script};
use crate::domain::VcpuId;

/// Plays the scripts, one per vCPU, while the first guest is migrated or not. Then checks the frame
/// table, and that all frames are free.
///
/// # Panics
/// If a count is wrong or a frame has leaked.
pub fn race(scripts: [&[u8]; 3]) {
    let free = free_frames();
    let split_roots = scripts[0].first().is_none_or(|byte| byte.is_multiple_of(2));
    let mut pair = Pair::new().with_split_roots(split_roots);
    let root = pair.player(0, 0);
    if let Some(context) = root.domain.vcpu(VcpuId::new(1)).expect("two vCPUs").parked().as_mut() {
        drop(context.set_roots(root.root(), None));
    }
    let mut players = std::vec![root, pair.player_of(0, VcpuId::new(1), None, 2), pair.player(1, 0)];
    players.iter_mut().for_each(Player::park);
    let is_migrated = scripts[0].get(1).is_some_and(|byte| byte.is_multiple_of(2));
    let mut migration = is_migrated.then(|| Migration::begin(&pair.domains()[0]));
    let playing = AtomicUsize::new(players.len());
    thread::scope(|scope| {
        for (player, script) in players.iter_mut().zip(scripts) {
            let playing = &playing;
            scope.spawn(move || {
                player.activate();
                player.play(&mut Script(script));
                player.park();
                player.domain.teardown.advance(&mut Budget::new(10_000));
                playing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while let Some(migration) = &mut migration
            && playing.load(Ordering::SeqCst) != 0
        {
            migration.round(false);
            thread::yield_now();
        }
    });
    if let Some(migration) = migration {
        migration.finish();
    }
    recount(&pair.domains(), &players);
    destroy(pair, players);
    all_is_back(free);
}
