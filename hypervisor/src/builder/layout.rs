//! The memory layout of a new domain.
//!
//! The interface defines the regions, their order in pseudo-physical memory and the part of them
//! that is mapped at the start (public header `xen.h`, "Start-of-day memory layout").
//!
//! Mapped from the virtual base on: kernel, ramdisk, P2M list, start info, xenstore and console
//! pages, page tables, stack. The P2M list and its page tables follow the initial mapping if the
//! kernel requests another address for the list; so does the ramdisk if the kernel does not need it
//! mapped. In a domain that is too small for that, these two are placed below the kernel, where
//! kernels leave some MiB free.

use core::ops::Range;

use machine::addr::{GuestVirt, PAGE_SIZE};
use machine::speculation::MaskedIndex;

use super::elf::Kernel;
use super::image::ImageError;

const PAGE: u64 = PAGE_SIZE as u64;
/// The end of the initial mapping is aligned to this.
const MAPPING_UNIT: u64 = 4 << 20;
/// Minimum size of the mapping after the last region.
const SPARE_PAGES: u64 = (512 << 10) / PAGE;
/// First frame below the kernel that may be used. Linux uses or reserves the memory below it.
const LOWEST: u64 = (1 << 20) / PAGE;
/// Address bits that page tables translate.
const TRANSLATED: u64 = (1 << 48) - 1;

/// Numbers of pseudo-physical frames.
pub(super) type Frames = Range<u64>;

/// The regions to place.
pub(super) struct Needs<'a> {
    pub(super) kernel: &'a Kernel,
    /// Size of the ramdisk in bytes.
    pub(super) ramdisk: Option<u64>,
    /// Number of frames of the domain.
    pub(super) memory: u64,
    /// Whether the domain gets pages for a console ring and xenstore.
    pub(super) has_rings: bool,
}

/// The regions of a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// Virtual address of frame 0.
    pub(super) base: u64,
    pub(super) ramdisk: Option<Frames>,
    /// Frames of the P2M list, and the address at which it is mapped.
    pub(super) list: Frames,
    pub(super) list_address: u64,
    /// All frames of a list outside the initial mapping, including its page tables.
    pub(super) list_region: Option<Frames>,
    pub(super) start_info: u64,
    /// Frames of the xenstore page and the console page.
    pub(super) rings: Option<(u64, u64)>,
    /// Page tables of the initial mapping.
    pub(super) tables: Frames,
    pub(super) stack: u64,
    /// Number of frames that are mapped from `base` on.
    pub(super) mapped: u64,
    /// Number of frames that the layout requires, which may exceed the domain's.
    pub(super) needed: u64,
    levels: [LevelTables; 4],
}

/// The tables of one level: the parts of the address space that they translate, and their frames.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct LevelTables {
    /// Tables of the initial mapping, by the part of the address space that they translate, and the
    /// frame of the first.
    main: Range<u64>,
    main_first: u64,
    /// Additional tables for the P2M list.
    list: Range<u64>,
    list_first: u64,
}

/// The parts of the address space that a range touches, in units of a table of `level`.
fn parts(level: u32, address: u64, pages: u64) -> Range<u64> {
    let shift = 12 + 9 * level;
    let first = address & TRANSLATED;
    let last = first + pages.max(1) * PAGE - 1;
    first >> shift..(last >> shift) + 1
}

/// Number of page tables that a mapping requires.
fn tables_of(address: u64, pages: u64) -> u64 {
    (1..=4).map(|level| parts(level, address, pages)).map(|parts| parts.end - parts.start).sum()
}

const fn bad(why: &'static str) -> ImageError {
    ImageError::Malformed("layout", why)
}

impl Layout {
    /// Places all regions. The result's `needed` may exceed the domain's memory.
    pub(super) fn new(needs: &Needs<'_>) -> Result<Self, ImageError> {
        let layout = Self::placed(needs, false)?;
        if layout.needed <= needs.memory {
            return Ok(layout);
        }
        let small = Self::placed(needs, true)?;
        Ok(if small.needed < layout.needed { small } else { layout })
    }

    /// Places all regions. Those that need not be in the initial mapping are placed `below` the
    /// kernel if there is room, otherwise after the mapping.
    fn placed(needs: &Needs<'_>, below: bool) -> Result<Self, ImageError> {
        let notes = &needs.kernel.notes;
        let base = notes.virtual_base;
        let extent = &needs.kernel.extent;
        let inside = |address: u64| address.checked_sub(base).is_some_and(|offset| extent.contains(&offset));
        if !inside(notes.entry) {
            return Err(bad("the entry point lies outside the kernel"));
        }
        let mut next = extent.end.div_ceil(PAGE);
        let mut place = |pages: u64| {
            let start = next;
            next += pages;
            start..next
        };
        let ramdisk_pages = needs.ramdisk.map(|bytes| bytes.div_ceil(PAGE));
        let list_pages = needs.memory.saturating_mul(8).div_ceil(PAGE);
        let mapped_ramdisk = ramdisk_pages.filter(|_| !notes.unmapped_ramdisk).map(&mut place);
        let mapped_list = notes.list_address.is_none().then(|| place(list_pages));
        let start_info = place(1).start;
        let rings = needs.has_rings.then(|| (place(1).start, place(1).start));
        let (tables, mapped) = place_tables(base, next).ok_or(bad("the kernel is too large"))?;
        let stack = tables.end;
        let mut layout = Self {
            base,
            ramdisk: mapped_ramdisk,
            list: mapped_list.clone().unwrap_or_default(),
            list_address: mapped_list.map_or(0, |list| base.wrapping_add(list.start * PAGE)),
            list_region: None,
            start_info,
            rings,
            tables,
            stack,
            mapped,
            needed: mapped,
            levels: Default::default(),
        };
        layout.place_main_tables();
        let mut next = if below { LOWEST } else { layout.mapped };
        if let Some(address) = notes.list_address {
            next = layout.place_list(address, list_pages, next)?;
        }
        if let Some(pages) = ramdisk_pages.filter(|_| notes.unmapped_ramdisk) {
            layout.ramdisk = Some(next..next + pages);
            next += pages;
        }
        let has_room = !below || next <= extent.start / PAGE;
        layout.needed = if has_room { next.max(layout.mapped) } else { u64::MAX };
        Ok(layout)
    }

    fn place_main_tables(&mut self) {
        // the root first, then the lower levels
        let mut frame = self.tables.start;
        for (tables, level) in self.levels.iter_mut().zip(1..5).rev() {
            let main = parts(level, self.base, self.mapped);
            let count = main.end - main.start;
            *tables = LevelTables { main, main_first: frame, ..LevelTables::default() };
            frame += count;
        }
    }

    /// Places the P2M list, and the tables that map it at `address`, from frame `next` on. Returns
    /// the first frame after them.
    fn place_list(&mut self, address: u64, pages: u64, mut next: u64) -> Result<u64, ImageError> {
        let first = next;
        let length = pages * PAGE;
        let (start, end) = (address & TRANSLATED, (address & TRANSLATED) + length);
        let (mapping, mapping_end) = (self.base & TRANSLATED, (self.base & TRANSLATED) + self.mapped * PAGE);
        if !GuestVirt::new(address).is_guest_range(length) || (start < mapping_end && mapping < end) {
            return Err(bad("the list of frames has no room at its INIT_P2M"));
        }
        self.list = next..next + pages;
        self.list_address = address;
        next += pages;
        for (tables, level) in self.levels.iter_mut().zip(1..5).rev() {
            let mut list = parts(level, address, pages);
            // Parts that a table of the initial mapping also translates are at one end of the
            // range, since the two mappings do not overlap.
            if tables.main.contains(&list.start) {
                list.start = tables.main.end.min(list.end);
            }
            if list.end > list.start && tables.main.contains(&(list.end - 1)) {
                list.end = tables.main.start;
            }
            tables.list_first = next;
            next += list.end - list.start;
            tables.list = list;
        }
        self.list_region = Some(first..next);
        Ok(next)
    }

    /// The frame of the table of `level` that translates `address`.
    pub(super) fn table(&self, level: u32, address: u64) -> Option<u64> {
        let tables = self.levels.masked((level as usize).checked_sub(1)?)?;
        let part = (address & TRANSLATED) >> (12 + 9 * level);
        if tables.main.contains(&part) {
            Some(tables.main_first + (part - tables.main.start))
        } else if tables.list.contains(&part) {
            Some(tables.list_first + (part - tables.list.start))
        } else {
            None
        }
    }

    /// All tables: level, first translated address (48 bits), frame.
    pub(super) fn all_tables(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        self.levels.iter().zip(1u32..).flat_map(|(tables, level)| {
            let shift = 12 + 9 * level;
            let main = tables.main.clone().zip(tables.main_first..);
            let list = tables.list.clone().zip(tables.list_first..);
            main.chain(list).map(move |(part, frame)| (level, part << shift, frame))
        })
    }

    /// The frame that is mapped at `address` (48 bits), and whether the guest may write to it.
    pub(super) fn page(&self, address: u64) -> Option<(u64, bool)> {
        let list = (self.list_address & TRANSLATED) / PAGE;
        let base = (self.base & TRANSLATED) / PAGE;
        let page = address / PAGE;
        if let Some(offset) = page.checked_sub(base).filter(|&offset| offset < self.mapped) {
            return Some((offset, !self.tables.contains(&offset) && !self.maps_list(offset)));
        }
        let offset = page.checked_sub(list).filter(|&offset| offset < self.list.end - self.list.start)?;
        Some((self.list.start + offset, true))
    }

    /// Whether the frame is one of the tables that map a P2M list outside the initial mapping.
    fn maps_list(&self, frame: u64) -> bool {
        self.list_region.as_ref().is_some_and(|region| (self.list.end..region.end).contains(&frame))
    }

    /// The virtual address of a frame of the initial mapping.
    pub(super) const fn address(&self, frame: u64) -> u64 {
        self.base.wrapping_add(frame * PAGE)
    }
}

/// Places page tables and stack from frame `next` on. Returns the frames of the tables and the
/// number of mapped frames. A larger mapping requires more tables, so the function iterates until
/// the sizes agree.
fn place_tables(base: u64, next: u64) -> Option<(Frames, u64)> {
    let mut mapped = next;
    for _ in 0..16 {
        let tables = next..next.checked_add(tables_of(base, mapped))?;
        let end = base.checked_add((tables.end + 1 + SPARE_PAGES).checked_mul(PAGE)?)?;
        // a mapping at the top of the address space overflows here, which is refused
        let rounded = end.checked_next_multiple_of(MAPPING_UNIT)?;
        let length = rounded - base;
        if !GuestVirt::new(base).is_guest_range(length) {
            return None;
        }
        if mapped == length / PAGE {
            return Some((tables, mapped));
        }
        mapped = length / PAGE;
    }
    None
}
