//! A segment register whose descriptor was removed before the vCPU returns to a CPU.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::call::number;
use kernel::memory::{machine_of, mfn_of, page, poke, vcpu_info};
use kernel::trap::{FAILSAFE, FAILSAFE_SEGMENTS};
use kernel::{attempt, call, check, check_eq, say, tables, time};

use crate::{VCPUS, join, run_on};

static STOP: AtomicU64 = AtomicU64::new(0);

pub(crate) fn all() {
    let (gdt, list) = (page(), page());
    tables::protect(gdt);
    poke(list, mfn_of(gdt));
    check_eq!(call!(number::SET_GDT, list, 512u32), 0, "set_gdt");
    let descriptor = machine_of(gdt) + 8 * 8;
    check_eq!(call!(number::UPDATE_DESCRIPTOR, descriptor, 0x00cf_f200_0000_ffffu64), 0, "a data segment");
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0x43).is_none(), "it can be loaded");
    // The others keep all CPUs busy, so that this vCPU must leave its own.
    for vcpu in 1..VCPUS {
        run_on(vcpu, || while STOP.load(SeqCst) == 0 {});
    }
    check_eq!(call!(number::UPDATE_DESCRIPTOR, descriptor, 0u64), 0, "the segment is removed");
    let end = time::now() + 2_000_000_000;
    let mut failsafe = None;
    while failsafe.is_none() && time::now() < end {
        // Waits for a switch: yields, then a spin of a few milliseconds.
        failsafe = attempt!(
            "mov ecx, 1000000",
            "2: pause",
            "dec ecx",
            "jnz 2b";
            out("ecx") _
        );
        if failsafe.is_none() {
            kernel::call::yield_now();
        }
    }
    STOP.store(1, SeqCst);
    for vcpu in 1..VCPUS {
        join(vcpu);
    }
    match failsafe {
        None => say!("the vCPU never left its CPU: no failsafe callback to check"),
        Some(seen) => {
            check_eq!(seen.frame.vector, FAILSAFE, "the failsafe callback");
            check_eq!(seen.mask, 1, "mask in the handler");
            check_eq!(seen.frame.cs & 0xffff_ffff, 0xe030, "CS of the frame");
            let segments: [u64; 4] = core::array::from_fn(|at| FAILSAFE_SEGMENTS[at].load(SeqCst));
            check_eq!(segments[1], 0x43, "the frame contains the ES that could not be loaded: {segments:x?}");
        }
    }
    vcpu_info(0).set_mask(1);
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0).is_none(), "a null selector");
    check_eq!(call!(number::SET_GDT, list, 0u32), 0, "no GDT");
}
