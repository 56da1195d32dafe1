#![expect(unsafe_code, reason = "builds and switches page tables")]
//! Paravane's own page tables, built once at boot. The root built here maps only Paravane's slots.
//! It is loaded while no guest root is; guests' roots copy its sixteen entries.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::early::Early;
use super::windows;
use crate::addr::Mfn;
use crate::processor::registers;
use crate::pte::{FRAME_MASK, LeafFlags};
use crate::{layout, per_cpu, processor};

pub(crate) const PRESENT: u64 = LeafFlags::PRESENT.bits();
pub(crate) const WRITABLE: u64 = LeafFlags::WRITABLE.bits();
pub(crate) const USER: u64 = LeafFlags::USER.bits();
const LARGE: u64 = LeafFlags::PAT_OR_SIZE.bits();
/// Survives root switches: only for mappings that are the same in every full root and never change.
/// Ignored where split roots are in use ([`processor::forget_global_pages`]).
pub(crate) const GLOBAL: u64 = LeafFlags::GLOBAL.bits();
/// Memory type 3 of the PAT: uncached.
pub(crate) const UNCACHED: u64 = LeafFlags::WRITE_THROUGH.union(LeafFlags::CACHE_DISABLED).bits();
/// Memory type 4 of the PAT, in an entry of level 1: write-combining.
const WRITE_COMBINING: u64 = LeafFlags::PAT_OR_SIZE.bits();
const NO_EXECUTE: u64 = LeafFlags::NO_EXECUTE.bits();
const ADDRESS: u64 = FRAME_MASK;

/// Window for memory of devices that appear at run time; one page table in size.
pub(crate) const DEVICE_WINDOW: u64 = layout::MMIO_BASE + (1 << 30);

static ROOT: AtomicU64 = AtomicU64::new(0);
static ZEROS: AtomicU64 = AtomicU64::new(0);

/// The root table of a CPU that runs no guest, as a CR3 value.
pub(crate) fn idle_root() -> u64 {
    ROOT.load(Ordering::Relaxed)
}

/// The entry of Paravane's root for one of its slots.
pub(crate) fn root_entry(slot: usize) -> u64 {
    read(idle_root(), slot)
}

fn entry_pointer(table: u64, index: usize) -> *mut u64 {
    (layout::direct(table) as *mut u64).wrapping_add(index & 511)
}

pub(super) fn read(table: u64, index: usize) -> u64 {
    // SAFETY: `table` is a page table in the direct map, reached from Paravane's root.
    unsafe { entry_pointer(table, index).read_volatile() }
}

pub(super) fn write(table: u64, index: usize, value: u64) {
    // SAFETY: as in `read`; only boot writes, on one CPU.
    unsafe { entry_pointer(table, index).write_volatile(value) };
}

pub(super) const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * (level - 1)) & 511) as usize
}

/// The entry of level `level` on the way to `address` from a root, if it leads to another table.
pub(super) fn entry_at(root: u64, address: u64, level: u32) -> Option<u64> {
    (level..=4).rev().try_fold(root | PRESENT, |above, level| {
        let entry = read(above & ADDRESS, index(address, level));
        (entry & PRESENT != 0 && entry & LARGE == 0).then_some(entry)
    })
}

/// The level-1 entry that maps `address` in Paravane's root, if the tables down to that level
/// exist.
pub(crate) fn leaf_entry(address: u64) -> Option<*mut u64> {
    let table = entry_at(idle_root(), address, 2)? & ADDRESS;
    Some(entry_pointer(table, index(address, 1)))
}

/// Adds mappings to a root under construction.
pub(crate) struct Mapper {
    root: u64,
    no_execute: u64,
    gib_pages: bool,
    mmio_next: u64,
}

impl Mapper {
    /// Starts a root with L3 tables for all of Paravane's slots.
    pub(crate) fn new(memory: &mut Early) -> Self {
        let mapper = Self::empty(memory);
        let root = mapper.root;
        for slot in layout::FIRST_SLOT..layout::FIRST_SLOT + layout::SLOTS {
            let table = memory.take_zeroed(4096, 4096);
            let user = if slot == layout::slot(layout::M2P_BASE) { USER } else { 0 };
            write(root, slot, table | PRESENT | WRITABLE | user);
        }
        mapper
    }

    /// Starts a root without entries.
    pub(super) fn empty(memory: &mut Early) -> Self {
        let features = processor::features();
        let no_execute = if features.no_execute { NO_EXECUTE } else { 0 };
        Self {
            root: memory.take_zeroed(4096, 4096),
            no_execute,
            gib_pages: features.gib_pages,
            mmio_next: layout::MMIO_BASE,
        }
    }

    /// Starts another root with the same tables in Paravane's slots and no other entries.
    pub(crate) fn with_same_slots(&self, memory: &mut Early) -> Self {
        let root = memory.take_zeroed(4096, 4096);
        for slot in layout::FIRST_SLOT..layout::FIRST_SLOT + layout::SLOTS {
            write(root, slot, read(self.root, slot));
        }
        Self { root, ..*self }
    }

    /// The root table.
    pub(crate) const fn root(&self) -> u64 {
        self.root
    }

    /// Flags of writable data.
    pub(crate) const fn data(&self) -> u64 {
        PRESENT | WRITABLE | self.no_execute
    }

    /// Flags of constants.
    pub(crate) const fn read_only(&self) -> u64 {
        PRESENT | self.no_execute
    }

    /// Maps `size` bytes with the largest pages that fit. Existing mappings are kept.
    pub(crate) fn map(&mut self, memory: &mut Early, mut virt: u64, mut phys: u64, size: u64, flags: u64) {
        let end = virt + size;
        while virt < end {
            let fits = |step: u64| (virt | phys) & (step - 1) == 0 && end - virt >= step;
            let level = match () {
                () if self.gib_pages && fits(1 << 30) => 3,
                () if fits(1 << 21) => 2,
                () => 1,
            };
            let step = 1 << (12 + 9 * (level - 1));
            self.map_page(memory, virt, phys, level, flags);
            virt += step;
            phys += step;
        }
    }

    fn map_page(&mut self, memory: &mut Early, virt: u64, phys: u64, level: u32, flags: u64) {
        let mut table = self.root;
        for above in (level + 1..=4).rev() {
            let at = index(virt, above);
            let mut entry = read(table, at);
            if entry & PRESENT != 0 && entry & LARGE != 0 {
                return;
            }
            if entry & PRESENT == 0 {
                entry = memory.take_zeroed(4096, 4096) | PRESENT | WRITABLE | flags & USER;
                write(table, at, entry);
            }
            table = entry & ADDRESS;
        }
        let at = index(virt, level);
        if read(table, at) & PRESENT != 0 {
            if level == 1 {
                return;
            }
            // Smaller pages are mapped here already: fill the gaps between them.
            let step = 1 << (12 + 9 * (level - 2));
            if read(table, at) & LARGE == 0 {
                for part in 0..512 {
                    self.map_page(memory, virt + part * step, phys + part * step, level - 1, flags);
                }
            }
            return;
        }
        write(table, at, phys | flags | if level > 1 { LARGE } else { 0 });
    }

    /// Creates the tables of the device window.
    pub(crate) fn prepare_device_window(&mut self, memory: &mut Early) {
        let mut table = self.root;
        for level in [4, 3, 2] {
            let at = index(DEVICE_WINDOW, level);
            if read(table, at) & PRESENT == 0 {
                write(table, at, memory.take_zeroed(4096, 4096) | PRESENT | WRITABLE);
            }
            table = read(table, at) & ADDRESS;
        }
    }

    /// Maps device registers uncached and returns their address.
    pub(crate) fn map_mmio(&mut self, memory: &mut Early, phys: u64, size: u64) -> u64 {
        let offset = phys & 0xfff;
        let size = (offset + size).next_multiple_of(4096);
        let virt = self.mmio_next;
        self.mmio_next += size;
        self.map(memory, virt, phys - offset, size, self.data() | UNCACHED);
        virt + offset
    }

    /// Maps video memory write-combining and returns its address. Pages are small, because the PAT
    /// bit of a level-1 entry is the size bit in higher levels.
    pub(crate) fn map_write_combining(&mut self, memory: &mut Early, phys: u64, size: u64) -> u64 {
        let offset = phys & 0xfff;
        let size = (offset + size).next_multiple_of(4096);
        let virt = self.mmio_next;
        self.mmio_next += size;
        for at in (0..size).step_by(4096) {
            self.map_page(memory, virt + at, phys - offset + at, 1, self.data() | WRITE_COMBINING | GLOBAL);
        }
        virt + offset
    }

    /// Makes this root Paravane's, and loads it on this CPU.
    ///
    /// # Safety
    /// The root must map code, data, stack and the direct map at the same addresses and with at
    /// least the same permissions as the current root.
    pub(crate) unsafe fn activate(&self) {
        ROOT.store(self.root, Ordering::Relaxed);
        // SAFETY: the caller vouches for the mappings.
        unsafe { registers::write_cr3(self.root) };
    }
}

/// Maps a frame of device memory at page `index` of the device window. The page must be unmapped.
pub(crate) fn set_device_page(index: usize, frame: Mfn) {
    let address = DEVICE_WINDOW + (index as u64 & 511) * 4096;
    let pointer = leaf_entry(address).expect("the window has page tables");
    let no_execute = if processor::features().no_execute { NO_EXECUTE } else { 0 };
    // SAFETY: the entry maps a page of the window for devices, where no Rust object lives.
    unsafe { pointer.write_volatile(frame.address().get() | PRESENT | WRITABLE | UNCACHED | no_execute) };
}

/// Maps a frame, or the page of zeros, at `offset` of this CPU's window. A frame is mapped
/// writable, since the processor sets the accessed bit in descriptors that it loads. Paravane
/// itself never writes through the window.
pub(crate) fn set_window_page(offset: u64, frame: Option<Mfn>) {
    let entry = frame.map_or_else(|| ZEROS.load(Ordering::Relaxed), |frame| frame.address().get() | WRITABLE);
    let no_execute = if processor::features().no_execute { NO_EXECUTE } else { 0 };
    write_window_entry(offset, entry | PRESENT | no_execute);
}

/// Unmaps the page at `offset` of this CPU's window.
pub(crate) fn clear_window_page(offset: u64) {
    write_window_entry(offset, 0);
}

fn write_window_entry(offset: u64, entry: u64) {
    assert!(windows::is_changeable(offset), "this page of the window is fixed");
    let address = per_cpu::window() + offset;
    let pointer = leaf_entry(address).expect("a window has page tables");
    // SAFETY: the entry maps a page of this CPU's descriptor windows, which contain no Rust object.
    // Only this CPU writes it.
    unsafe { pointer.write_volatile(entry) };
    registers::invalidate_page(address);
}

/// Sets the page of zeros that is mapped where a guest has no descriptors.
pub(crate) fn set_zeros(frame: u64) {
    ZEROS.store(frame, Ordering::Relaxed);
}

/// Loads `entries` descriptors at `base`, in this CPU's LDT window, as the LDT; loads the null LDT
/// for zero entries.
pub(crate) fn load_ldt(base: u64, entries: u16) {
    if entries == 0 {
        // SAFETY: the null selector means that there is no LDT.
        return unsafe { asm!("lldt {0:x}", in(reg) 0u16, options(nostack, preserves_flags)) };
    }
    let limit = u64::from(entries) * 8 - 1;
    let low = limit & 0xffff | (base & 0xff_ffff) << 16 | 0x82 << 40 | (base >> 24 & 0xff) << 56;
    windows::set_ldt_descriptor([low, base >> 32]);
    // SAFETY: the descriptor was written just now and covers this CPU's LDT window only.
    unsafe { asm!("lldt {0:x}", in(reg) windows::LDT_SELECTOR, options(nostack, preserves_flags)) };
}
