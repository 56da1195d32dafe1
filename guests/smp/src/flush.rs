//! Changed mappings are visible to the vCPUs named in a flush.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::memory::{page, peek, poke};
use kernel::tables::{self, READABLE, mmuext};
use kernel::{check, check_eq};

use crate::{VCPUS, join, run_on, wait_for};

static WINDOW: AtomicU64 = AtomicU64::new(0);
static SEEN: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static READS: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static STOP: AtomicU64 = AtomicU64::new(0);

/// Reads the window continuously, so that its translation stays in the TLB.
fn watch() {
    let me = kernel::start::vcpu();
    while STOP.load(SeqCst) == 0 {
        SEEN[me].store(peek(WINDOW.load(SeqCst)), SeqCst);
        READS[me].fetch_add(1, SeqCst);
    }
}

pub(crate) fn all() {
    let (window, one, two, mask) = (page(), page(), page(), page());
    poke(one, 1u64);
    poke(two, 2u64);
    poke(mask, 0xfu64);
    let map = |page: u64, flags: u64| {
        check_eq!(tables::update_va(window, tables::entry_for(page, READABLE), flags), 0, "map, flags {flags:#x}");
    };
    map(one, 6);
    WINDOW.store(window, SeqCst);
    for vcpu in 1..VCPUS {
        run_on(vcpu, watch);
    }
    let mut value = 1u64;
    for round in 0..60u64 {
        value = 3 - value;
        let page = if value == 1 { one } else { two };
        match round % 6 {
            0 => map(page, 6),
            1 => map(page, 5),
            2 => map(page, mask | 2),
            3 => map(page, mask | 1),
            4 => {
                map(page, 0);
                check_eq!(tables::extended(mmuext::INVLPG_ALL, window, 0), 0, "invlpg all");
            }
            _ => {
                map(page, 0);
                check_eq!(tables::extended(mmuext::TLB_FLUSH_MULTI, 0, mask), 0, "flush by mask");
            }
        }
        // The new page must be visible after two reads: the first may have started before the
        // flush.
        for vcpu in 1..VCPUS {
            wait_for(&READS[vcpu], READS[vcpu].load(SeqCst) + 2, "reads");
            check_eq!(SEEN[vcpu].load(SeqCst), value, "round {round}: what vCPU {vcpu} sees");
        }
    }
    STOP.store(1, SeqCst);
    for vcpu in 1..VCPUS {
        join(vcpu);
    }
    check!(READS[1].load(SeqCst) > 100, "reads");
}
