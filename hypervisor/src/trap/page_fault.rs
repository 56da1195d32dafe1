//! Page faults: in a page of the LDT that is not mapped yet, writes to page tables, and all others,
//! which are bounced.

use alloc::sync::Arc;
use machine::addr::GuestVirt;
use machine::context::Active;
use machine::frames::{Descriptor, TypedRef};
use machine::paging::NoEntries;
use machine::vectors::{
    self,
    page_fault::{PRESENT, RESERVED, USER, WRITE},
};

use super::emulate::{self, Emulation};
use super::{finish, inject, instruction_budget};
use crate::domain::{Domain, KillReason, Vcpu};
use crate::memory::walk;

/// Bit of a selector: the descriptor is in the LDT.
const SELECTOR_LDT: u16 = 4;

/// Whether the fault is a write in kernel mode to a present page.
pub(super) fn is_kernel_write(cpu: &Active, error_code: u32) -> bool {
    cpu.context().is_in_kernel() && error_code & (PRESENT | WRITE | RESERVED) == PRESENT | WRITE
}

/// Handles a page fault.
///
/// # Errors
/// The reason for killing the domain.
pub(super) fn page_fault(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    error_code: u32,
    address: GuestVirt,
) -> Result<(), KillReason> {
    // The processor reads descriptors with supervisor accesses. If user code accesses the address
    // itself, it gets the fault.
    if error_code & (PRESENT | USER) == 0
        && let Some(index) = cpu.ldt_page_of_fault(address)
    {
        if show_ldt_page(cpu, domain, index).is_some() {
            return Ok(());
        }
        // The guest sees a fault in its own LDT.
        let address = GuestVirt::new(cpu.context().ldt().base).offset(index as u64 * 4096);
        return bounce_fault(cpu, domain, error_code & !PRESENT, address);
    }
    let Some(error_code) = cpu.resolve_fault(address, error_code) else { return Ok(()) };
    if is_kernel_write(cpu, error_code) {
        let emulation = emulate::page_table_write(cpu, domain, vcpu, address, &mut instruction_budget());
        return match emulation {
            Emulation::Refused => bounce_fault(cpu, domain, error_code, address),
            other => finish(cpu, domain, other, vectors::PAGE_FAULT, Some(error_code)),
        };
    }
    bounce_fault(cpu, domain, error_code, address)
}

fn bounce_fault(cpu: &mut Active, domain: &Domain, error_code: u32, address: GuestVirt) -> Result<(), KillReason> {
    emulate::set_fault_address(cpu, address.get());
    // Kernel and user mode both run in ring 3. The error code must contain the guest's mode.
    let user = if cpu.context().is_in_kernel() { 0 } else { USER };
    inject(cpu, domain, vectors::PAGE_FAULT, Some(error_code & !USER | user))
}

/// Maps the page of the LDT with a selector's descriptor, if the selector refers to the LDT and the
/// page is valid.
pub(crate) fn show_ldt_page_of(cpu: &mut Active, domain: &Domain, selector: u16) {
    if selector & SELECTOR_LDT != 0 {
        let _shown = show_ldt_page(cpu, domain, usize::from(selector >> 3) / 512);
    }
}

/// Maps page `index` of the LDT, if it exists and is valid.
fn show_ldt_page(cpu: &mut Active, domain: &Domain, index: usize) -> Option<()> {
    let ldt = cpu.context().ldt();
    if index >= usize::from(ldt.entries).div_ceil(512) {
        return None;
    }
    let address = GuestVirt::new(ldt.base).offset(index as u64 * 4096);
    let (table, entry) = walk::leaf(cpu, address)?;
    let raw = table.entry(entry);
    if !raw.is_present() {
        return None;
    }
    let frame = domain.frame(raw.frame())?;
    let page = TypedRef::<Descriptor>::acquire(frame, &mut NoEntries, &mut instruction_budget()).ok()?;
    cpu.map_ldt_page(index, page);
    Some(())
}
