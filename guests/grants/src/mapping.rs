//! Map, unmap, unmap and replace, swap: grants to the domain itself.

use kernel::abi::grant_table::{
    MapGrantRef, SwapGrantRef, UnmapAndReplace, UnmapGrantRef, entry_flags, map_flags, op, status,
};
use kernel::abi::xen::{DomainId, domid};
use kernel::call::{error, number};
use kernel::grants::{end, flags, grant, grant_op, map, unmap};
use kernel::memory::{argument, machine_of, mfn_of, page, pages, peek, poke, zeroed};
use kernel::tables::{self, WRITABLE, mmuext};
use kernel::{attempt, call, check, check_eq};

const PERMIT: u16 = entry_flags::PERMIT_ACCESS;
const READ_ONLY: u16 = entry_flags::READONLY;
const READING: u16 = entry_flags::READING;
const WRITING: u16 = entry_flags::WRITING;

/// This domain's id, which a grant to itself must contain.
pub(crate) fn own() -> u16 {
    argument("self").unwrap_or(0) as u16
}

pub(crate) fn all() {
    plain();
    refused();
    by_entry();
    replace();
    swap();
    many();
    held();
}

/// A page without a mapping, at whose address grants are mapped.
fn place() -> u64 {
    let place = page();
    check_eq!(tables::update_va(place, 0, 2), 0, "making room");
    place
}

fn plain() {
    let (shared, at, other) = (page(), place(), place());
    poke(shared, 0x1111u64);
    grant(8, own(), mfn_of(shared), PERMIT);
    check_eq!(map(domid::SELF, 8, at, 0).err(), Some(status::BAD_DOMAIN), "a grantor has to be named by its number");
    let (handle, bus) = match map(own(), 8, at, 0) {
        Ok(mapped) => mapped,
        Err(status) => kernel::harness::error(format_args!("domain {} cannot map its own grant: {status}", own())),
    };
    check_eq!(bus, machine_of(shared), "bus address");
    check_eq!(flags(8), PERMIT | READING | WRITING, "the entry is marked as in use and written");
    check_eq!(peek::<u64>(at), 0x1111, "read through the grant");
    poke(at, 0x2222u64);
    check_eq!(peek::<u64>(shared), 0x2222, "written through the grant");
    // A second mapping, read-only.
    let (second, _) = map(own(), 8, other, map_flags::READONLY).expect("a second mapping");
    check!(second != handle, "each mapping has a handle of its own");
    check_eq!(peek::<u64>(other), 0x2222, "read through the second");
    let trap = attempt!("mov byte ptr [{at}], 1"; at = in(reg) other);
    check!(trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 3), "it is read-only: {trap:x?}");
    check_eq!(unmap(at, handle), status::OKAY, "unmap the first");
    check_eq!(flags(8), PERMIT | READING, "the entry is marked as in use, not written");
    check!(attempt!("mov cl, [{at}]"; at = in(reg) at, out("cl") _).is_some(), "the first is unmapped");
    check_eq!(unmap(other, second), status::OKAY, "unmap the second");
    check_eq!(flags(8), PERMIT, "the entry is not marked as in use");
    check_eq!(unmap(other, second), status::BAD_HANDLE, "unmap twice");
    // Read-only grants.
    grant(9, own(), mfn_of(shared), PERMIT | READ_ONLY);
    check_eq!(map(own(), 9, at, 0).err(), Some(status::GENERAL_ERROR), "a read-only grant, writable");
    check_eq!(flags(9), PERMIT | READ_ONLY, "the entry is unchanged");
    let (handle, _) = map(own(), 9, at, map_flags::READONLY).expect("a read-only grant");
    check_eq!(flags(9), PERMIT | READ_ONLY | READING, "the entry is marked as in use");
    check_eq!(unmap(at, handle), status::OKAY, "unmap");
    // The software bits of the entry.
    let (handle, _) = map(own(), 8, at, 5 << 16).expect("with software's bits");
    check_eq!(peek::<u64>(tables::entry(at, 1)) >> 9 & 7, 5, "software's bits");
    check_eq!(unmap(at, handle), status::OKAY, "unmap");
    // Ending a grant does not end a mapping.
    let (handle, _) = map(own(), 8, at, 0).expect("map");
    end(8);
    check_eq!(peek::<u64>(at), 0x2222, "the mapping remains after the grant has ended");
    check_eq!(unmap(at, handle), status::OKAY, "unmap");
    end(9);
}

fn refused() {
    let (shared, at) = (page(), place());
    check_eq!(map(own(), 500, at, 0).err(), Some(status::GENERAL_ERROR), "an entry that grants nothing");
    check_eq!(map(own(), 0x10_0000, at, 0).err(), Some(status::BAD_GNTREF), "no entry");
    check_eq!(map(own(), u32::MAX, at, 0).err(), Some(status::BAD_GNTREF), "no entry");
    check_eq!(map(0x123, 8, at, 0).err(), Some(status::BAD_DOMAIN), "a grant of a nonexistent domain");
    grant(10, 0x123, mfn_of(shared), PERMIT);
    check_eq!(map(own(), 10, at, 0).err(), Some(status::GENERAL_ERROR), "a grant for another domain");
    grant(10, own(), 0xff_ffff, PERMIT);
    check!(map(own(), 10, at, 0).is_err(), "a grant of a frame that does not exist");
    grant(10, own(), mfn_of(tables::root()), PERMIT);
    check!(map(own(), 10, at, 0).is_err(), "a page table, writable");
    check_eq!(flags(10), PERMIT, "the entry is unchanged");
    let mapped = map(own(), 10, at, map_flags::READONLY);
    if let Ok((handle, _)) = mapped {
        check_eq!(unmap(at, handle), status::OKAY, "unmap a page table, read-only");
    }
    grant(10, own(), mfn_of(shared), PERMIT);
    for bad in [0xffff_8300_0000_0000u64, 0x7777_0000_0000] {
        check_eq!(map(own(), 10, bad, 0).err(), Some(status::GENERAL_ERROR), "a mapping at {bad:#x}");
    }
    let mut nowhere = MapGrantRef { host_address: at, flags: 0, reference: 10, domain: DomainId(own()), ..zeroed() };
    check_eq!(grant_op(op::MAP_GRANT_REF, &mut nowhere), 0, "a mapping for neither host nor device");
    check!(nowhere.status < 0, "a mapping for neither host nor device: {}", nowhere.status);
    check_eq!(flags(10), PERMIT, "the entry is unchanged");
    let (handle, _) = map(own(), 10, at, 0).expect("map");
    check!(unmap(at + 4096, handle) < 0, "unmap at another place");
    check_eq!(unmap(at, handle + 1000), status::BAD_HANDLE, "unmap with another handle");
    check_eq!(peek::<u64>(at), 0, "it is still mapped");
    check_eq!(unmap(at, handle), status::OKAY, "unmap");
    end(10);
}

/// Maps by machine address of the page-table entry.
fn by_entry() {
    let (shared, at) = (page(), place());
    poke(shared, 0x3333u64);
    grant(11, own(), mfn_of(shared), PERMIT);
    let slot = tables::entry_machine(at, 1);
    let (handle, _) = map(own(), 11, slot, map_flags::CONTAINS_PTE).expect("map by entry");
    check_eq!(peek::<u64>(at), 0x3333, "read through the grant");
    check_eq!(unmap(slot, handle), status::OKAY, "unmap by entry");
    check_eq!(
        map(own(), 11, machine_of(shared), map_flags::CONTAINS_PTE).err(),
        Some(status::GENERAL_ERROR),
        "an entry in a page that is not a table"
    );
    check_eq!(map(own(), 11, slot + 4, map_flags::CONTAINS_PTE).err().is_some(), true, "an entry that is not aligned");
    check_eq!(map(own(), 11, 0xffff_ffff_f000, map_flags::CONTAINS_PTE).err(), Some(status::GENERAL_ERROR), "no entry");
    check_eq!(flags(11), PERMIT, "the entry is unchanged");
    end(11);
}

/// Unmaps, and moves the mapping of another address to the same address.
fn replace() {
    let (shared, own_page, at) = (page(), page(), place());
    poke(own_page, 0x4444u64);
    poke(shared, 0x5555u64);
    grant(12, own(), mfn_of(shared), PERMIT);
    let (handle, _) = map(own(), 12, at, 0).expect("map");
    let mut replace = UnmapAndReplace { host_address: at, new_address: own_page, handle, ..zeroed() };
    check_eq!(grant_op(op::UNMAP_AND_REPLACE, &mut replace), 0, "unmap_and_replace");
    check_eq!(replace.status, status::OKAY, "unmap_and_replace");
    check_eq!(peek::<u64>(at), 0x4444, "the other page is mapped here");
    check!(
        attempt!("mov cl, [{at}]"; at = in(reg) own_page, out("cl") _).is_some(),
        "the other page is unmapped there"
    );
    check_eq!(flags(12), PERMIT, "the grant is not in use");
    check_eq!(tables::update_va(at, 0, 2), 0, "unmap");
    tables::unprotect(own_page);
    end(12);
}

fn swap() {
    let (one, two) = (page(), page());
    grant(13, own(), mfn_of(one), PERMIT);
    grant(14, own(), mfn_of(two), PERMIT | READ_ONLY);
    let mut swap = SwapGrantRef { reference_a: 13, reference_b: 14, ..zeroed() };
    check_eq!(grant_op(op::SWAP_GRANT_REF, &mut swap), 0, "swap_grant_ref");
    check_eq!(swap.status, status::OKAY, "swap_grant_ref");
    check_eq!((flags(13), flags(14)), (PERMIT | READ_ONLY, PERMIT), "the entries are swapped");
    let at = place();
    let (handle, _) = map(own(), 14, at, 0).expect("map");
    let mut busy = SwapGrantRef { reference_a: 13, reference_b: 14, ..zeroed() };
    check_eq!(grant_op(op::SWAP_GRANT_REF, &mut busy), 0, "swap an entry in use");
    check_eq!(busy.status, status::EAGAIN, "swap an entry in use");
    check_eq!(unmap(at, handle), status::OKAY, "unmap");
    let mut none = SwapGrantRef { reference_a: 13, reference_b: 0x10_0000, ..zeroed() };
    check_eq!(grant_op(op::SWAP_GRANT_REF, &mut none), 0, "swap with a nonexistent entry");
    check_eq!(none.status, status::BAD_GNTREF, "swap with a nonexistent entry");
    end(13);
    end(14);
}

/// Many operations in one call, two of them invalid.
fn many() {
    const COUNT: usize = 60;
    let (shared, places) = (pages(COUNT), pages(COUNT));
    let mut list = [zeroed::<MapGrantRef>(); COUNT];
    for (index, map) in list.iter_mut().enumerate() {
        let offset = index as u64 * 4096;
        poke(shared + offset, index as u64);
        check_eq!(tables::update_va(places + offset, 0, 2), 0, "making room");
        grant(100 + index as u32, own(), mfn_of(shared + offset), PERMIT);
        map.host_address = places + offset;
        map.flags = map_flags::HOST_MAP;
        map.reference = if index == 7 { 0x10_0000 } else { 100 + index as u32 };
        map.domain = DomainId(own());
    }
    let result = call!(number::GRANT_TABLE_OP, op::MAP_GRANT_REF, &mut list, COUNT);
    check_eq!(result, 0, "many maps in one call");
    for (index, map) in list.iter().enumerate() {
        if index == 7 {
            check_eq!(map.status, status::BAD_GNTREF, "the bad one among many");
        } else {
            check_eq!(map.status, status::OKAY, "map {index} of many");
            check_eq!(peek::<u64>(map.host_address), index as u64, "page {index} of many");
        }
    }
    let mut unmaps = [zeroed::<UnmapGrantRef>(); COUNT];
    for (unmap, map) in unmaps.iter_mut().zip(&list) {
        unmap.host_address = map.host_address;
        unmap.handle = map.handle;
    }
    unmaps[7] = unmaps[8];
    let result = call!(number::GRANT_TABLE_OP, op::UNMAP_GRANT_REF, &mut unmaps, COUNT);
    check_eq!(result, 0, "many unmaps in one call");
    for (index, unmap) in unmaps.iter().enumerate() {
        let due = if index == 8 { status::BAD_HANDLE } else { status::OKAY };
        check_eq!(unmap.status, due, "unmap {index} of many");
    }
    for index in 0..COUNT {
        check_eq!(flags(100 + index as u32), PERMIT, "entry {index} is free");
        end(100 + index as u32);
        tables::unprotect(places + index as u64 * 4096);
    }
}

/// A frame that is mapped by a grant is referenced: it cannot become a table.
fn held() {
    let (shared, at) = (page(), place());
    grant(15, own(), mfn_of(shared), PERMIT);
    let (handle, _) = map(own(), 15, at, 0).expect("map");
    tables::protect(shared);
    let pin = || tables::extended(mmuext::PIN_L1_TABLE, mfn_of(shared), 0);
    check_eq!(pin(), error::EINVAL, "a frame that is written through a grant, as a table");
    check_eq!(unmap(at, handle), status::OKAY, "unmap");
    check_eq!(pin(), 0, "it can be one after the unmap");
    check!(map(own(), 15, at, 0).is_err(), "it cannot be mapped writable any more");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn_of(shared), 0), 0, "unpin");
    check_eq!(tables::update_va(shared, tables::entry_for(shared, WRITABLE), 2), 0, "writable again");
    end(15);
}
