//! The GDT and LDT windows of this CPU: the guest's descriptor pages appear at fixed addresses of
//! Paravane's, where the processor looks for them. While no vCPU is active, the GDT window shows
//! zeros on all the guest's pages, and the LDT window nothing; so only the pages that a vCPU has
//! need to be touched when it comes and goes.

use abi::arch_x86_64::FIRST_RESERVED_GDT_PAGE;

use crate::address_space::tables;
use crate::address_space::windows::{GDT, LDT};
use crate::context::GuestContext;
use crate::frames::{Descriptor, TypedRef};
use crate::per_cpu;

/// Pages of an LDT: 8192 descriptors.
const LDT_PAGES: usize = 16;

/// The pages of the LDT that are shown in the window.
#[derive(Debug, Default)]
pub(crate) struct LdtPages {
    pages: [Option<TypedRef<Descriptor>>; LDT_PAGES],
    /// Whether there is any.
    shown: bool,
}

/// Shows the GDT pages of a vCPU that becomes active, and sets its LDT.
pub(crate) fn show(context: &GuestContext) {
    for (index, page) in gdt_pages(context) {
        tables::set_window_page(GDT + 4096 * index as u64, Some(page.mfn()));
    }
    set_ldt(context);
}

/// Shows the active vCPU's GDT pages, zeros where it has none whatever was there before, and
/// empties the LDT window.
pub(crate) fn load(context: &mut GuestContext) {
    for index in 0..FIRST_RESERVED_GDT_PAGE {
        let frame = context.gdt[index].as_ref().map(TypedRef::mfn);
        tables::set_window_page(GDT + 4096 * index as u64, frame);
    }
    empty_ldt(context);
    set_ldt(context);
}

fn gdt_pages(context: &GuestContext) -> impl Iterator<Item = (usize, &TypedRef<Descriptor>)> {
    context.gdt.iter().enumerate().filter_map(|(index, page)| Some((index, page.as_ref()?)))
}

fn set_ldt(context: &GuestContext) {
    let base = per_cpu::window() + LDT;
    tables::load_ldt(base, context.ldt.entries);
}

/// Removes the guest's pages from the windows.
pub(crate) fn clear(context: &mut GuestContext) {
    empty_ldt(context);
    tables::load_ldt(0, 0);
    for (index, _) in gdt_pages(context) {
        tables::set_window_page(GDT + 4096 * index as u64, None);
    }
}

fn empty_ldt(context: &mut GuestContext) {
    if !core::mem::take(&mut context.backend.shown) {
        return;
    }
    for (index, page) in context.backend.pages.iter_mut().enumerate() {
        if let Some(page) = page.take() {
            tables::clear_window_page(LDT + 4096 * index as u64);
            drop(page);
        }
    }
}

/// Shows page `index` of the LDT.
pub(crate) fn map_ldt_page(context: &mut GuestContext, index: usize, page: TypedRef<Descriptor>) {
    if let Some(slot) = context.backend.pages.get_mut(index) {
        tables::set_window_page(LDT + 4096 * index as u64, Some(page.mfn()));
        *slot = Some(page);
        context.backend.shown = true;
    }
}

/// Which LDT page a fault asks for.
pub(crate) fn ldt_page_of_fault(address: u64) -> Option<usize> {
    let offset = address.checked_sub(per_cpu::window() + LDT)?;
    usize::try_from(offset >> 12).ok().filter(|&page| page < LDT_PAGES)
}
