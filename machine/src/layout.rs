#![expect(unsafe_code, reason = "declares the linker's symbols; only their addresses are used")]
//! The layout of Paravane's part of the address space (see `docs/design.md`), and the linker's
//! symbols.

use crate::addr::{END_HYPERVISOR_SLOTS, FIRST_HYPERVISOR_SLOT, HYPERVISOR_START, root_slot};

/// Machine-to-physical table, readable by guests.
pub(crate) const M2P_BASE: u64 = HYPERVISOR_START;
/// Image: virtual minus physical address.
pub(crate) const IMAGE_OFFSET: u64 = 0xffff_8080_0000_0000;
/// Frame table.
pub(crate) const FRAME_TABLE_BASE: u64 = 0xffff_8100_0000_0000;
/// Per-CPU windows.
pub(crate) const PER_CPU_BASE: u64 = 0xffff_8180_0000_0000;
/// Size of a per-CPU window in bytes: two page tables of level 1. Restricted roots map the first.
pub(crate) const PER_CPU_SIZE: u64 = 2 * PER_CPU_TABLE;
/// Size of the part of a window that one page table of level 1 maps, in bytes.
pub(crate) const PER_CPU_TABLE: u64 = 1 << 21;
/// Paravane's own MMIO mappings.
pub(crate) const MMIO_BASE: u64 = 0xffff_8200_0000_0000;
/// All machine memory.
pub(crate) const DIRECT_MAP_BASE: u64 = 0xffff_8300_0000_0000;

/// First root-table slot that belongs to Paravane.
pub(crate) const FIRST_SLOT: usize = FIRST_HYPERVISOR_SLOT as usize;
/// Number of root-table slots that belong to Paravane.
pub(crate) const SLOTS: usize = (END_HYPERVISOR_SLOTS - FIRST_HYPERVISOR_SLOT) as usize;

/// Size of an M2P entry in bytes.
pub(crate) const M2P_ENTRY_SIZE: u64 = 8;

/// The root-table slot of an address.
pub(crate) const fn slot(address: u64) -> usize {
    root_slot(address) as usize
}

/// The address of physical memory in the direct map.
pub(crate) const fn direct(physical: u64) -> u64 {
    DIRECT_MAP_BASE + physical
}

macro_rules! linker_symbols {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => { $(
        $(#[$doc])*
        pub(crate) fn $name() -> u64 {
            unsafe extern "C" {
                static $symbol: u8;
            }
            (&raw const $symbol) as u64
        }
    )* };
}

linker_symbols! {
    /// First byte of the boot stack.
    boot_stack_start = boot_stack;
    /// End of the boot stack.
    boot_stack_end = boot_stack_top;
    /// First byte of the image.
    image_start = __image_start;
    /// End of the image, including zeroed memory.
    image_end = __image_end;
    /// End of the boot code, which is executable too.
    boot_end = __boot_end;
    /// First byte of the code.
    text_start = __text_start;
    /// The page of entry code that is mapped in each per-CPU window.
    entry_page = __entry_page;
    /// End of the entry code, which begins with the entry page.
    entry_end = __entry_end;
    /// End of the code.
    text_end = __text_end;
    /// End of read-only data.
    rodata_end = __rodata_end;
    /// First byte of the exception table.
    ex_table_start = __ex_table_start;
    /// End of the exception table.
    ex_table_end = __ex_table_end;
    /// First byte of the note with the image's build id.
    build_id_start = __build_id_start;
    /// End of that note.
    build_id_end = __build_id_end;
    /// First byte of the table of instructions for features of the processor.
    feature_sites_start = __feature_sites_start;
    /// End of that table.
    feature_sites_end = __feature_sites_end;
    /// First byte of the table of returns.
    returns_start = __returns_start;
    /// End of that table.
    returns_end = __returns_end;
    /// First byte of the symbol table.
    symbols_start = __symbols_start;
    /// End of the symbol table.
    symbols_end = __symbols_end;
}

/// Whether an address is on the boot stack.
pub(crate) fn is_boot_stack(address: u64) -> bool {
    (boot_stack_start()..boot_stack_end()).contains(&address)
}
