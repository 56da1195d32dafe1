//! Threads as CPUs that meet.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::vec::Vec;

use super::*;
use crate::addr::CpuId;

/// Runs `act` while this many other CPUs look for a rendezvous.
fn with_others<R>(count: usize, act: impl FnOnce() -> R) -> R {
    per_cpu::current();
    let over = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..count {
            let tell = tell.clone();
            let over = &over;
            scope.spawn(move || {
                tell.send(per_cpu::current()).expect("the test waits");
                while !over.load(Ordering::SeqCst) {
                    join();
                    std::thread::yield_now();
                }
            });
        }
        told.iter().take(count).for_each(|_| ());
        let result = act();
        over.store(true, Ordering::SeqCst);
        result
    })
}

#[test]
fn each_cpu_acts_once_in_turn() {
    let order: Mutex<Vec<CpuId>> = Mutex::new(Vec::new());
    let note = || order.lock().expect("no panic").push(per_cpu::current());
    with_others(4, || {
        for _ in 0..if cfg!(miri) { 3 } else { 100 } {
            let first = || {
                note();
                true
            };
            assert_eq!(in_turn(first, &note), Ok(()));
            let acted = std::mem::take(&mut *order.lock().expect("no panic"));
            assert_eq!(acted, per_cpu::all_online().collect::<Vec<_>>());
        }
    });
}

#[test]
fn the_others_do_not_act_after_the_first_has_failed() {
    let others = AtomicU32::new(0);
    let count = || {
        others.fetch_add(1, Ordering::SeqCst);
    };
    with_others(2, || {
        assert_eq!(in_turn(|| false, &count), Ok(()));
        assert_eq!(others.load(Ordering::SeqCst), 0);
        assert_eq!(in_turn(|| true, &count), Ok(()));
        assert_eq!(others.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn nothing_happens_if_a_cpu_is_absent() {
    per_cpu::current();
    let (tell, told) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let absent = std::thread::spawn(move || {
        tell.send(per_cpu::current()).expect("the test waits");
        ended.recv()
    });
    told.recv().expect("the thread has started");
    with_others(1, || {
        assert_eq!(in_turn(|| panic!("not all are present"), &|| panic!("not all are present")), Err(Missed::Absent));
        assert_eq!(STATE.load(Ordering::SeqCst), NONE, "those present have left");
    });
    drop(end);
    let _ = absent.join();
}

#[test]
fn a_second_rendezvous_waits_for_the_end_of_the_first() {
    per_cpu::current();
    let first = || {
        assert_eq!(in_turn(|| true, &|| ()), Err(Missed::Busy));
        true
    };
    assert_eq!(in_turn(first, &|| ()), Ok(()));
    assert_eq!(in_turn(|| true, &|| ()), Ok(()));
}
