#![expect(unsafe_code, reason = "reads data of the loader and the firmware in memory")]
//! The use of physical memory at the hand-over from the boot loader.

use core::ops::Range;

use arrayvec::ArrayVec;

use super::early::Early;
use super::tables::{self, Mapper};
use crate::boot::ranges::{MAX_RANGES, RangeSet};
use crate::boot::{BootInfo, MAX_MEMORY, MemoryKind};
use crate::integers::to_usize;
use crate::layout;

const LOW: u64 = 1 << 20;
const FOUR_GIB: u64 = 1 << 32;

/// Copies physical memory below 4 GiB while the boot tables are in use.
pub(crate) fn read_low(address: u64, into: &mut [u8]) -> bool {
    if address.checked_add(into.len() as u64).is_none_or(|end| end > FOUR_GIB) {
        return false;
    }
    // SAFETY: the boot tables map the first 4 GiB. The target is exclusively borrowed. The source
    // contains no Rust object: loaders do not put their information into the image (reading the
    // image would be harmless).
    unsafe { into.as_mut_ptr().copy_from(layout::direct(address) as *const u8, into.len()) };
    true
}

/// RAM in the memory map, without ranges that another entry or the EFI runtime claims.
fn usable(info: &BootInfo) -> RangeSet {
    let mut set = RangeSet::default();
    for range in info.memory_map().iter().filter(|range| range.kind == MemoryKind::Usable) {
        set.add(range.start, range.end.min(MAX_MEMORY));
    }
    for range in info.memory_map().iter().filter(|range| range.kind != MemoryKind::Usable) {
        set.remove(range.start, range.end);
    }
    for range in info.efi_runtime() {
        set.remove(range.start, range.end);
    }
    set
}

fn remove_image(set: &mut RangeSet) {
    set.remove(layout::image_start() - layout::IMAGE_OFFSET, layout::image_end() - layout::IMAGE_OFFSET);
}

/// Drops modules that are not in RAM, or that overlap the image or each other.
pub(crate) fn claim_modules(info: &mut BootInfo) {
    let mut set = usable(info);
    remove_image(&mut set);
    info.retain_modules(|start, end| {
        let (first, last) = (start & !0xfff, end.next_multiple_of(4096));
        let inside = first == last || set.iter().any(|range| range.start <= first && last <= range.end);
        if inside {
            set.remove(first, last);
        }
        inside
    });
}

/// RAM above 1 MiB outside the image and the modules, and a free page below 640 KiB.
pub(crate) fn free(info: &BootInfo) -> (Early, Option<u64>) {
    let mut set = usable(info);
    remove_image(&mut set);
    for module in info.modules() {
        set.remove(module.start().get(), module.start().get() + module.len());
    }
    // The first page contains data of the BIOS.
    set.remove(0, 0x1000);
    let page = set.take(0x1000, 0x1000, 0xa0000);
    set.remove(0, LOW);
    (Early::new(set), page)
}

/// All RAM that Paravane uses or may use later, as frame ranges. The first MiB is excluded, except
/// for modules in it: firmware keeps data there for the hardware domain.
pub(crate) fn ram(info: &BootInfo) -> ArrayVec<Range<u64>, MAX_RANGES> {
    let mut set = usable(info);
    set.remove(0, LOW);
    for module in info.modules() {
        let start = module.start().get();
        set.add(start & !0xfff, (start + module.len()).next_multiple_of(4096));
    }
    set.iter().map(|range| range.start >> 12..range.end >> 12).collect()
}

/// The end of RAM: one byte beyond its last byte.
pub(crate) fn ram_end(info: &BootInfo) -> u64 {
    usable(info).iter().last().map_or(0, |range| range.end)
}

/// Frames of RAM.
pub(crate) fn ram_frames(info: &BootInfo) -> u64 {
    usable(info).total() >> 12
}

/// The bytes of a firmware table. Parts that are not in the direct map are added to it, read-only.
pub(crate) fn map_firmware(
    address: u64,
    length: u64,
    mapper: &mut Mapper,
    memory: &mut Early,
) -> Option<&'static [u8]> {
    let end = address.checked_add(length).filter(|&end| end <= MAX_MEMORY)?;
    let first = address & !0xfff;
    mapper.map(
        memory,
        layout::direct(first),
        first,
        end.next_multiple_of(4096) - first,
        mapper.read_only() | tables::GLOBAL,
    );
    // SAFETY: the range is mapped now, if it was not before. Firmware tables are outside of free
    // RAM according to the memory map, or are read only before that RAM is allocated. Nothing
    // writes them.
    Some(unsafe { core::slice::from_raw_parts(layout::direct(address) as *const u8, to_usize(length)) })
}
