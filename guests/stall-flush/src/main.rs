//! Tries to make two pCPUs wait for each other; see README.md.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use kernel::abi::vcpu::op;
use kernel::call::number;
use kernel::forest::Forest;
use kernel::memory::{initial_domain, mfn_of, pages};
use kernel::tables::{self, mmuext};
use kernel::{call, check, check_eq, harness, say, smp, time};

kernel::guest!(main);

/// Duration of the attack.
const TIME: u64 = 4_000_000_000;
/// Maximum number of times that the vCPU is taken down.
const MAX_TIMES_DOWN: u64 = 200;

static ROOT: AtomicU64 = AtomicU64::new(0);
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicBool = AtomicBool::new(false);

/// Code of vCPU 1: pins and unpins.
fn churn() {
    let forest = Forest { root: ROOT.load(SeqCst), l1_count: 0 };
    loop {
        if forest.pin() != 0 || forest.unpin() != 0 {
            FAILED.store(true, SeqCst);
        }
        ROUNDS.fetch_add(1, SeqCst);
    }
}

fn main() {
    if initial_domain() {
        harness::skip("it needs a neighbour");
    }
    ROOT.store(Forest::grow(16).root, SeqCst);
    check_eq!(smp::start(1, churn), 0, "start vCPU 1");
    let page = pages(1);
    let end = time::now() + TIME;
    let (mut changes, mut down) = (0u64, 0u64);
    while time::now() < end {
        // A writable page becomes a table: the pCPU of the other vCPU must flush.
        tables::protect(page);
        check_eq!(tables::extended(mmuext::PIN_L1_TABLE, mfn_of(page), 0), 0, "pin a table");
        check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn_of(page), 0), 0, "unpin a table");
        tables::unprotect(page);
        check_eq!(tables::extended(mmuext::TLB_FLUSH_ALL, 0, 0), 0, "flush");
        changes += 1;
        if changes.is_multiple_of(16) && down < MAX_TIMES_DOWN {
            check_eq!(call!(number::VCPU_OP, op::DOWN, 1u32, 0u32), 0, "take vCPU 1 down");
            check_eq!(call!(number::VCPU_OP, op::UP, 1u32, 0u32), 0, "bring vCPU 1 up");
            down += 1;
        }
    }
    say!("{changes} changes of kind, {down} times down, {} trees torn down", ROUNDS.load(SeqCst));
    check!(!FAILED.load(SeqCst), "a tree could not be pinned or unpinned");
    check!(ROUNDS.load(SeqCst) > 0, "vCPU 1 has torn down no tree");
}
