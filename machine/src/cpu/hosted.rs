//! Starting threads as CPUs, waiting, and waking each other.

use crate::addr::CpuId;
use crate::context::DomainDefences;
use crate::per_cpu::{self, Pending};
use crate::{defences, microcode_update, time, tlb};

/// The number of CPUs: as many as threads have run at a time.
pub fn expected() -> usize {
    per_cpu::online()
}

/// The ACPI processor UID of a CPU.
pub const fn acpi_id(cpu: CpuId) -> Option<u32> {
    Some(cpu.number())
}

/// Starts one thread as a second CPU, which runs `main`.
pub fn start_others(main: fn() -> !) {
    let (online, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        per_cpu::current();
        microcode_update::load_at_start();
        defences::start_cpu();
        let _ = online.send(());
        main()
    });
    let _ = wait.recv();
    microcode_update::report();
}

/// Waits until something is pending.
pub fn idle() {
    per_cpu::wait(time::is_due, tlb::serve_request);
}

/// Serves flush requests, the only interrupts of the simulation.
pub fn interrupt_window() {
    tlb::serve_request();
}

/// Makes `Pending::KICK` pending on a CPU.
pub fn kick(cpu: CpuId) {
    per_cpu::record(cpu, Pending::KICK);
}

/// Returns and clears the pending set of this CPU.
pub fn take_pending() -> Pending {
    let mut pending = per_cpu::take();
    if time::is_due() {
        time::forget_deadline();
        pending |= Pending::TIMER;
    }
    pending
}

/// All domains run with restricted roots, which the simulated processor checks. All but the initial
/// one are kept from L1TF, as by default.
pub const fn domain_defences(initial_domain: bool) -> DomainDefences {
    DomainDefences {
        split_roots: true,
        barrier_at_entry: false,
        clear_history: false,
        refuses_absent_entries: !initial_domain,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::vec::Vec;

    use super::*;
    use crate::defences::bits::{leaf_e8_ebx, leaf_e21_eax};
    use crate::defences::{Facts, Vendor};
    use crate::per_cpu::current;

    #[test]
    fn each_cpu_that_starts_sets_its_msrs() {
        // Zen 4 with the first controls.
        let facts = Facts {
            vendor: Vendor::Amd,
            family: 0x19,
            model: 0x11,
            leaf_e8_ebx: leaf_e8_ebx::IBPB | leaf_e8_ebx::IBRS | leaf_e8_ebx::STIBP,
            leaf_e21_eax: leaf_e21_eax::AUTOMATIC_IBRS,
            de_cfg: Some(0),
            ..Facts::NOTHING
        };
        let changes: Vec<defences::Write> = defences::decide_for(facts).collect();
        assert_eq!(changes.len(), 4, "LFENCE, erratum 1485, automatic IBRS, STIBP");
        let here = current();
        assert!(!changes.iter().any(|change| defences::is_made(change, here)));
        defences::start_cpu();
        assert!(changes.iter().all(|change| defences::is_made(change, here)));
        static STARTED: Mutex<Option<CpuId>> = Mutex::new(None);
        start_others(|| {
            *STARTED.lock().unwrap() = Some(current());
            loop {
                std::thread::park();
            }
        });
        let other = loop {
            if let Some(cpu) = *STARTED.lock().unwrap() {
                break cpu;
            }
            std::thread::yield_now();
        };
        assert_ne!(other, here);
        assert!(changes.iter().all(|change| defences::is_made(change, other)));
    }

    #[test]
    fn threads_have_numbers_of_their_own_and_wake_each_other() {
        let here = current();
        let (tell, told) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            let _ = tell.send(current());
            idle();
            take_pending()
        });
        let there = told.recv().unwrap();
        assert_ne!(here, there);
        kick(there);
        assert!(other.join().unwrap().contains(Pending::KICK));
    }

    #[test]
    fn a_deadline_becomes_pending_once() {
        time::set_deadline(time::now() + 1_000_000);
        idle();
        assert!(take_pending().contains(Pending::TIMER));
        assert!(!take_pending().contains(Pending::TIMER));
    }
}
