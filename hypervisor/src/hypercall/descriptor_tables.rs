//! `set_gdt` and `update_descriptor`: segment descriptors. A guest may choose them as long as they
//! give access to ring 3 only.

use abi::arch_x86_64::{FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE};
use abi::errno::Errno;
use machine::addr::{GuestVirt, MachineAddr, Mfn};
use machine::frames::{Descriptor, TypedRef, Writable};
use machine::paging::{NoEntries, check_descriptor};

use crate::call::{CallResult, Caller};
use crate::vcpu_context::{DESCRIPTORS_PER_PAGE, descriptor_pages};

const DESCRIPTOR_SIZE: u64 = 8;
/// Cost of a page of a GDT, in units of the budget, charged whether or not its descriptors have
/// been checked before.
const COST_OF_PAGE: u32 = 16;

/// Sets the GDT to `entries` descriptors in the frames listed in `list`.
pub(crate) fn set_gdt(caller: &mut Caller<'_>, list: GuestVirt, entries: u32) -> CallResult {
    let entries = u16::try_from(entries)
        .ok()
        .filter(|&entries| usize::from(entries) <= FIRST_RESERVED_GDT_ENTRY)
        .ok_or(Errno::EINVAL)?;
    let mut frames = [0u64; FIRST_RESERVED_GDT_PAGE];
    let pages = entries.div_ceil(DESCRIPTORS_PER_PAGE);
    for (index, frame) in (0..u64::from(pages)).zip(&mut frames) {
        *frame = caller.cpu.read_element(list, index)?;
    }
    caller.budget.spend(u32::from(pages) * COST_OF_PAGE);
    let pages = descriptor_pages(caller.domain, frames.into_iter().take(pages.into()), &mut caller.budget)?;
    caller.cpu.set_gdt(pages, entries);
    Ok(0)
}

/// Changes the descriptor at a machine address, whether or not its page is in use as a descriptor
/// page.
pub(crate) fn update_descriptor(caller: &mut Caller<'_>, address: u64, descriptor: u64) -> CallResult {
    if !address.is_multiple_of(DESCRIPTOR_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let checked = check_descriptor(descriptor).ok_or(Errno::EINVAL)?;
    let index = (address >> 3 & 511) as u16;
    let frame = caller.domain.frame(Mfn::containing(MachineAddr::new(address))).ok_or(Errno::EINVAL)?;
    match TypedRef::<Descriptor>::existing(frame) {
        Ok(page) => page.replace_descriptor(index, checked).ok_or(Errno::EINVAL)?,
        Err(frame) => {
            let page = TypedRef::<Writable>::acquire(frame, &mut NoEntries, &mut caller.budget)?;
            page.write_u64(index, checked);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallError;
    use crate::testing::Guest;

    const CODE: u64 = 0x00af_9b00_0000_ffff;
    const CODE_RING3: u64 = 0x00af_fb00_0000_ffff;
    const TASK: u64 = 0x0000_8900_0000_0067;

    fn is(result: &CallResult, errno: Errno) -> bool {
        matches!(result, Err(CallError::Errno(found)) if *found == errno)
    }

    #[test]
    fn descriptors_are_checked_in_tables_and_in_memory() {
        let mut guest = Guest::new(1, 3);
        let address = guest.mfn(2).address().get() + 24;
        assert!(matches!(update_descriptor(&mut guest.caller(), address, CODE), Ok(0)));
        assert_eq!(guest.read::<u64>(guest.address(2).offset(24)), CODE_RING3);
        assert!(is(&update_descriptor(&mut guest.caller(), address, TASK), Errno::EINVAL));
        assert!(is(&update_descriptor(&mut guest.caller(), address + 1, CODE), Errno::EINVAL));
        assert!(is(&update_descriptor(&mut guest.caller(), u64::MAX - 7, CODE), Errno::EINVAL));
        // A page table is neither a descriptor page nor writable.
        let entry = guest.entry_address(0);
        assert!(is(&update_descriptor(&mut guest.caller(), entry, CODE), Errno::EINVAL));
    }

    #[test]
    fn a_gdt_needs_frames_that_are_not_writable() {
        let mut guest = Guest::new(1, 3);
        let list = guest.put(&[guest.mfn(2).get(), u64::MAX]);
        // Page 2 is mapped writable.
        assert!(is(&set_gdt(&mut guest.caller(), list, 512), Errno::EINVAL));
        assert!(is(&set_gdt(&mut guest.caller(), list, FIRST_RESERVED_GDT_ENTRY as u32 + 1), Errno::EINVAL));
        assert!(is(&set_gdt(&mut guest.caller(), GuestVirt::new(0), 1), Errno::EFAULT));
        assert!(matches!(set_gdt(&mut guest.caller(), GuestVirt::new(0), 0), Ok(0)));

        let mfn = machine::frames::allocate(guest.domain.id()).map(|frame| {
            let mfn = frame.mfn();
            guest.domain.frames.push(frame);
            mfn
        });
        let mfn = mfn.expect("a free frame");
        let list = guest.put(&[mfn.get(), u64::MAX]);
        assert!(is(&set_gdt(&mut guest.caller(), list, 513), Errno::EINVAL));
        assert!(matches!(set_gdt(&mut guest.caller(), list, 512), Ok(0)));
        assert!(matches!(update_descriptor(&mut guest.caller(), mfn.address().get(), CODE), Ok(0)));
        assert_eq!(guest.domain.frame(mfn).map(|frame| frame.read_u64(0)), Some(CODE_RING3));
        assert_eq!(guest.caller().cpu.context().gdt().1, 512);
    }
}
