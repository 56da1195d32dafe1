//! TLB flushes that guests request. A vCPU that is not running needs none: it loads its root table
//! when it runs again.

use abi::errno::Errno;
use machine::addr::{CpuSet, GuestVirt};
use machine::speculation::MaskedIndex;
use machine::tlb;

use crate::call::Caller;
use crate::domain::MAX_VCPUS;
use crate::scheduler;

/// Cost of flushing this pCPU, and of interrupting other pCPUs and waiting for them, in units of
/// the budget.
const COST_HERE: u32 = 16;
const COST_ELSEWHERE: u32 = 128;

/// A bit per vCPU, in the format of guest memory.
type Mask = [u8; MAX_VCPUS.div_ceil(8) as usize];
const ALL: Mask = [u8::MAX; size_of::<Mask>()];

/// The vCPUs whose TLBs are flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// The calling vCPU.
    Local,
    /// The vCPUs in a bitmap in guest memory.
    Mask(GuestVirt),
    /// All vCPUs of the domain.
    All,
}

/// The translations that are flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Translations {
    /// All translations.
    Everything,
    /// The translations of one page.
    Page(GuestVirt),
}

impl Translations {
    /// The translations of the page at an address.
    pub(super) const fn page(address: u64) -> Self {
        Self::Page(GuestVirt::new(address))
    }
}

/// The pCPUs that run those vCPUs of the caller's domain that are in `mask`.
fn cpus(caller: &Caller<'_>, mask: &Mask) -> CpuSet {
    let mut set = CpuSet::EMPTY;
    for (number, vcpu) in caller.domain.vcpus().iter().enumerate() {
        if mask.masked(number / 8).is_some_and(|byte| byte & 1 << (number % 8) != 0)
            && let Some(cpu) = scheduler::running_on(vcpu)
        {
            set.insert(cpu);
        }
    }
    set
}

/// Flushes translations.
///
/// # Errors
/// `EFAULT` if the bitmap cannot be read.
pub(crate) fn flush(caller: &mut Caller<'_>, target: Target, translations: Translations) -> Result<(), Errno> {
    caller.budget.spend(COST_HERE);
    let mask = match target {
        Target::Local => {
            match translations {
                Translations::Everything => caller.cpu.flush(),
                Translations::Page(address) => caller.cpu.flush_page(address),
            }
            return Ok(());
        }
        Target::All => ALL,
        Target::Mask(address) => read_mask(caller, address)?,
    };
    let mut set = cpus(caller, &mask);
    let here = machine::cpu::current();
    if set.contains(here) {
        set.remove(here);
        match translations {
            Translations::Everything => caller.cpu.flush(),
            Translations::Page(address) => caller.cpu.flush_page(address),
        }
    }
    if !set.is_empty() {
        caller.budget.spend(COST_ELSEWHERE);
        tlb::flush_cpus(set);
    }
    Ok(())
}

/// Reads the bits of the domain's vCPUs from a bitmap in guest memory.
fn read_mask(caller: &Caller<'_>, address: GuestVirt) -> Result<Mask, Errno> {
    let mut mask = [0; size_of::<Mask>()];
    let needed = caller.domain.vcpus().len().div_ceil(8);
    caller.cpu.read_bytes(address, mask.part_mut(..needed).ok_or(Errno::EINVAL)?)?;
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::update_va_mapping::update_va_mapping;
    use crate::testing::Guest;

    #[test]
    fn a_requested_flush_discards_the_translation() {
        let mut guest = Guest::new(1, 4);
        let address = guest.address(2);
        let entry = guest.entry(2);
        let can_read = |guest: &mut Guest| guest.caller().cpu.read::<u64>(address).is_ok();
        for target in [|| Target::Local, || Target::All] {
            for translations in [|_| Translations::Everything, Translations::Page] {
                update_va_mapping(&mut guest.caller(), address, entry, 0).expect("a table for the address");
                assert!(can_read(&mut guest));
                update_va_mapping(&mut guest.caller(), address, 0, 0).expect("a table for the address");
                assert!(can_read(&mut guest), "it is cached");
                flush(&mut guest.caller(), target(), translations(address)).expect("there is no bitmap to read");
                assert!(!can_read(&mut guest));
            }
        }
    }

    #[test]
    fn a_vcpu_bitmap_is_read_up_to_the_number_of_vcpus() {
        for (vcpus, bytes) in [(1, 1), (8, 1), (9, 2), (64, 8), (65, 9), (MAX_VCPUS, 16)] {
            let mut guest = Guest::with_vcpus(vcpus as u16, 2, vcpus);
            let end = guest.address(2);
            let mut flush_by = |length: u64| {
                let mask = GuestVirt::new(end.get() - length);
                flush(&mut guest.caller(), Target::Mask(mask), Translations::Everything)
            };
            assert_eq!(flush_by(bytes), Ok(()), "{vcpus}");
            assert_eq!(flush_by(bytes - 1), Err(Errno::EFAULT), "{vcpus}");
        }
    }
}
