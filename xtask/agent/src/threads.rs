//! Threads in a guest. They share counters under a lock, pass messages, wait for each other and
//! allocate memory; the sums are checked. The kernel tests run this inside the ramdisk.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

const THREADS: u64 = 8;
const ROUNDS: u64 = 500;

pub(crate) fn run() -> ExitCode {
    if counters() && messages() && memory() && short_lived() {
        println!("threads: ok");
        ExitCode::SUCCESS
    } else {
        println!("threads: a sum is wrong");
        ExitCode::FAILURE
    }
}

/// A counter under a lock and an atomic counter agree; all threads start each stretch together.
fn counters() -> bool {
    let locked = Arc::new(Mutex::new(0));
    let atomic = Arc::new(AtomicU64::new(0));
    let barrier = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (locked, atomic, barrier) = (Arc::clone(&locked), Arc::clone(&atomic), Arc::clone(&barrier));
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    if round % 50 == 0 {
                        barrier.wait();
                    }
                    if let Ok(mut count) = locked.lock() {
                        *count += 1;
                        if round % 10 == 0 {
                            thread::yield_now();
                        }
                    }
                    atomic.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let joined = threads.into_iter().all(|thread| thread.join().is_ok());
    let count = locked.lock().map_or(0, |count| *count);
    joined && count == THREADS * ROUNDS && atomic.load(Ordering::Relaxed) == count
}

/// Two threads exchange messages.
fn messages() -> bool {
    let (ping, pinged) = mpsc::channel::<u64>();
    let (pong, ponged) = mpsc::channel::<u64>();
    let player = thread::spawn(move || pinged.iter().all(|ball| pong.send(ball + 1).is_ok()));
    let right = (0..ROUNDS).all(|ball| ping.send(ball).is_ok() && ponged.recv() == Ok(ball + 1));
    drop(ping);
    player.join().is_ok_and(|sent| sent) && right
}

/// Each thread maps, fills and unmaps memory concurrently with the others.
fn memory() -> bool {
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            thread::spawn(move || {
                (0..10).all(|round| {
                    let block = vec![(number * 16 + round) as u8; 512 * 1024];
                    thread::yield_now();
                    block.iter().step_by(1000).all(|&byte| byte == (number * 16 + round) as u8)
                })
            })
        })
        .collect();
    threads.into_iter().all(|thread| thread.join().is_ok_and(|right| right))
}

/// Threads that exit at once.
fn short_lived() -> bool {
    (0..100).all(|number| thread::spawn(move || number * 2).join().is_ok_and(|double| double == number * 2))
}
