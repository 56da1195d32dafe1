//! `set_gdt` and `update_descriptor`: segment descriptors, which are the guest's to choose as long as they lead nowhere but to ring 3.

use abi::arch_x86_64::{FIRST_RESERVED_GDT_ENTRY, FIRST_RESERVED_GDT_PAGE};
use abi::errno::Errno;
use machine::addr::{GuestVirt, MachineAddr, Mfn, PAGE_SIZE};
use machine::frames::{Descriptor, TypedRef, Writable};
use machine::paging::{NoEntries, check_descriptor};

use super::{CallResult, Caller};
use crate::domain::state::descriptor_pages;

const DESCRIPTOR_SIZE: u64 = 8;
const DESCRIPTORS_PER_PAGE: usize = PAGE_SIZE / DESCRIPTOR_SIZE as usize;

/// Sets the GDT: `entries` descriptors in the frames that `list` names.
pub fn set_gdt(caller: &mut Caller<'_>, list: GuestVirt, entries: u32) -> CallResult {
    let entries = u16::try_from(entries)
        .ok()
        .filter(|&entries| usize::from(entries) <= FIRST_RESERVED_GDT_ENTRY)
        .ok_or(Errno::EINVAL)?;
    let mut frames = [0u64; FIRST_RESERVED_GDT_PAGE];
    let frames = &mut frames[..usize::from(entries).div_ceil(DESCRIPTORS_PER_PAGE)];
    for (index, frame) in (0..).zip(frames.iter_mut()) {
        *frame = caller.cpu.read_element(list, index)?;
    }
    let pages = descriptor_pages(caller.domain, frames.iter().copied(), &mut caller.budget)?;
    caller.cpu.set_gdt(pages, entries);
    Ok(0)
}

/// Changes the descriptor at a machine address, whether its page is in use as a descriptor table or not.
pub fn update_descriptor(caller: &mut Caller<'_>, address: u64, descriptor: u64) -> CallResult {
    if !address.is_multiple_of(DESCRIPTOR_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let checked = check_descriptor(descriptor).ok_or(Errno::EINVAL)?;
    let index = (address % PAGE_SIZE as u64 / DESCRIPTOR_SIZE) as u16;
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
