//! The GDT and LDT windows of this CPU: the guest's descriptor pages are mapped at fixed addresses
//! of Paravane, at which the processor finds them. While no vCPU is active, all the guest's pages
//! of the GDT window map zeros, and the LDT window is unmapped. A switch therefore changes only the
//! pages that a vCPU has.

use crate::address_space::tables;
use crate::address_space::windows::{GDT, LDT};
use crate::context::GuestContext;
use crate::frames::{Descriptor, TypedRef};
use crate::integers::to_usize;
use crate::per_cpu;
use crate::speculation::{self, MaskedIndex};

/// Pages of an LDT: 8192 descriptors.
const LDT_PAGES: usize = 16;

/// The pages of the LDT that are mapped in the window.
#[derive(Debug, Default)]
pub(crate) struct LdtPages {
    pages: [Option<TypedRef<Descriptor>>; LDT_PAGES],
    /// Whether any page is mapped.
    shown: bool,
}

/// Maps the GDT pages of a vCPU that becomes active, and loads its LDT.
pub(crate) fn show(context: &GuestContext) {
    for (index, page) in gdt_pages(context) {
        tables::set_window_page(GDT + 4096 * index as u64, Some(page.mfn()));
    }
    set_ldt(context);
}

/// Maps the active vCPU's GDT pages, or zeros in all other places, and clears the LDT window.
pub(crate) fn load(context: &mut GuestContext) {
    for (index, page) in context.gdt.iter().enumerate() {
        tables::set_window_page(GDT + 4096 * index as u64, page.as_ref().map(TypedRef::mfn));
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

/// Maps page `index` of the LDT.
pub(crate) fn map_ldt_page(context: &mut GuestContext, index: usize, page: TypedRef<Descriptor>) {
    if let Some(slot) = context.backend.pages.masked_mut(index) {
        tables::set_window_page(LDT + 4096 * index as u64, Some(page.mfn()));
        *slot = Some(page);
        context.backend.shown = true;
    }
}

/// The LDT page for a fault at this address.
pub(crate) fn ldt_page_of_fault(address: u64) -> Option<usize> {
    let offset = address.checked_sub(per_cpu::window() + LDT)?;
    speculation::bounded(to_usize(offset >> 12), LDT_PAGES)
}
