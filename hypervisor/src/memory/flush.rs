//! TLB flushes that guests ask for. A vCPU that is not running has nothing cached: it loads its root table when it runs again.

use abi::errno::Errno;
use machine::addr::{CpuSet, GuestVirt};
use machine::tlb;

use crate::domain::MAX_VCPUS;
use crate::hypercall::Caller;
use crate::scheduler;

/// What it costs, in units of the budget, to forget all here, and to interrupt another pCPU and wait for it.
const COST_HERE: u32 = 16;
const COST_ELSEWHERE: u32 = 128;

/// Whose translations are to be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The caller's.
    Local,
    /// Those of the vCPUs in a bitmap in guest memory.
    Mask(GuestVirt),
    /// All of the domain's.
    All,
}

/// Which translations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// All.
    Everything,
    /// Those of one page.
    Page(GuestVirt),
}

/// The pCPUs that run vCPUs of the caller's domain, those in the bitmap or all.
fn cpus(caller: &Caller<'_>, mask: u64) -> CpuSet {
    let mut set = CpuSet::EMPTY;
    for vcpu in caller.domain.vcpus() {
        if mask & 1 << vcpu.id().get() != 0
            && let Some(cpu) = scheduler::running_on(vcpu)
        {
            set.insert(cpu);
        }
    }
    set
}

/// Forgets translations.
///
/// # Errors
/// `EFAULT` if the bitmap cannot be read.
pub fn flush(caller: &mut Caller<'_>, whose: Whose, what: What) -> Result<(), Errno> {
    caller.budget.spend(COST_HERE);
    let mask = match whose {
        Whose::Local => {
            match what {
                What::Everything => caller.cpu.flush(),
                What::Page(address) => caller.cpu.flush_page(address),
            }
            return Ok(());
        }
        Whose::All => u64::MAX,
        Whose::Mask(address) => read_mask(caller, address)?,
    };
    let mut set = cpus(caller, mask);
    let here = machine::cpu::current();
    if set.contains(here) {
        set.remove(here);
        match what {
            What::Everything => caller.cpu.flush(),
            What::Page(address) => caller.cpu.flush_page(address),
        }
    }
    if !set.is_empty() {
        caller.budget.spend(COST_ELSEWHERE);
        tlb::flush_cpus(set);
    }
    Ok(())
}

/// Reads as much of a vCPU bitmap as the domain has vCPUs.
fn read_mask(caller: &Caller<'_>, address: GuestVirt) -> Result<u64, Errno> {
    const { assert!(MAX_VCPUS <= 64) };
    let mut bytes = [0; 8];
    let needed = caller.domain.vcpus().len().div_ceil(8);
    caller.cpu.read_bytes(address, &mut bytes[..needed])?;
    Ok(u64::from_le_bytes(bytes))
}
