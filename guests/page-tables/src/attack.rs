//! Attacks that must be refused: writable tables, garbage in tables, the hypervisor's range, frames
//! of other domains.

use kernel::abi::memory::op;
use kernel::call::{error, number};
use kernel::memory::{initial_domain, m2p, machine_of, mfn_of, page, peek, poke};
use kernel::tables::{self, LARGE, PRESENT, READABLE, TABLE, USER, WRITABLE, WRITE, mmuext};
use kernel::{attempt, call, check, check_eq};

use crate::{Region, is_free, writable};

pub(crate) fn all() {
    let region = Region::new(1);
    writable_tables(&region);
    garbage(&region);
    hypervisor_slots();
    others(&region);
    superpages();
    recursion();
    descriptors();
}

fn writable_tables(region: &Region) {
    for level in 1..=4 {
        let slot = tables::entry(region.start, level);
        let table = slot & !0xfff;
        let entry = tables::entry_for(table, WRITABLE);
        check_eq!(tables::update(region.slot(1), entry), error::EBUSY, "mmu_update: a live L{level}, writable");
        check_eq!(
            tables::update_va(region.address(1), entry, 2),
            error::EBUSY,
            "update_va_mapping: a live L{level}, writable"
        );
        check_eq!(region.entry(1), 0, "the entry is unchanged");
        check_eq!(tables::update(region.slot(1), tables::entry_for(table, READABLE)), 0, "a live L{level}, read-only");
        check!(!writable(region.address(1)) || level == 1, "read-only it is");
        check_eq!(tables::update(region.slot(1), 0), 0, "unmap");
    }
    // The other order: a writable mapping first, then the table.
    let table = page();
    check_eq!(tables::update(region.slot(2), tables::entry_for(table, WRITABLE)), 0, "a second writable mapping");
    tables::protect(table);
    check_eq!(
        tables::extended(mmuext::PIN_L1_TABLE, mfn_of(table), 0),
        error::EINVAL,
        "one writable mapping is too many"
    );
    check_eq!(tables::update(region.slot(2), tables::entry_for(table, READABLE)), 0, "read-only");
    check_eq!(
        tables::extended(mmuext::PIN_L1_TABLE, mfn_of(table), 0),
        0,
        "without writable mappings it can be a table"
    );
    check_eq!(
        tables::update(region.slot(2), tables::entry_for(table, WRITABLE)),
        error::EBUSY,
        "a table cannot be mapped writable"
    );
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn_of(table), 0), 0, "unpin");
    check_eq!(tables::update(region.slot(2), 0), 0, "unmap");
    is_free(table, "a page mapped twice");
    // A table that maps itself writable.
    poke(table, tables::entry_for(table, WRITABLE));
    tables::protect(table);
    check!(tables::extended(mmuext::PIN_L1_TABLE, mfn_of(table), 0) < 0, "a table that maps itself writable");
    is_free(table, "a table that maps itself writable");
    // A table that maps a pinned table of the same level writable.
    let sibling = page();
    tables::protect(sibling);
    check_eq!(tables::extended(mmuext::PIN_L1_TABLE, mfn_of(sibling), 0), 0, "pin a sibling");
    poke(table, tables::entry_for(sibling, WRITABLE));
    tables::protect(table);
    check!(tables::extended(mmuext::PIN_L1_TABLE, mfn_of(table), 0) < 0, "a table that maps a table writable");
    is_free(table, "a table that maps a table writable");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn_of(sibling), 0), 0, "unpin the sibling");
}

/// Tables of random words are refused at each level, or harmless.
fn garbage(region: &Region) {
    let table = page();
    let mfn = mfn_of(table);
    let mut seed = 0x1234_5678_9abc_def1u64;
    for round in 0..64 {
        for index in 0..512 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            poke(table + index * 8, seed);
        }
        tables::protect(table);
        for command in [mmuext::PIN_L1_TABLE, mmuext::PIN_L2_TABLE, mmuext::PIN_L3_TABLE, mmuext::PIN_L4_TABLE] {
            let result = tables::extended(command, mfn, 0);
            check!(result < 0, "garbage {round} pinned with command {command}: {result}");
        }
        tables::unprotect(table);
    }
    is_free(table, "garbage");
    // Single entries with one error.
    let good = tables::entry_for(page(), WRITABLE);
    for bit in 48..52 {
        let result = tables::update(region.slot(5), good | 1 << bit);
        check!(result < 0, "a frame number with bit {bit}: {result}");
    }
    check_eq!(region.entry(5), 0, "the entry is unchanged");
    check!(tables::update(region.slot(5) | 4, good) < 0, "an entry that is not aligned");
}

fn hypervisor_slots() {
    let l3 = page();
    tables::protect(l3);
    let root = machine_of(tables::root());
    for slot in [256u64, 257, 261, 262, 271] {
        let before: u64 = peek(tables::root() + slot * 8);
        let result = tables::update(root + slot * 8, tables::entry_for(l3, TABLE));
        check_eq!(result, error::EINVAL, "L4 slot {slot}");
        let result = tables::update(root + slot * 8, 0);
        check_eq!(result, error::EINVAL, "L4 slot {slot}, to nothing");
        check_eq!(peek::<u64>(tables::root() + slot * 8), before, "L4 slot {slot} is unchanged");
    }
    is_free(l3, "an L3 for the hypervisor's range");
    for address in [0xffff_8000_0000_0000u64, 0xffff_8080_0000_0000, 0xffff_8780_0000_0000] {
        check_eq!(tables::update_va(address, 0, 2), error::EINVAL, "update_va_mapping of {address:#x}");
    }
}

fn others(region: &Region) {
    // Frames of the hypervisor: a guest can query those of the M2P.
    let (list, argument) = (page(), page());
    poke(argument, [1u64, list, 0]);
    check_eq!(call!(number::MEMORY_OP, op::MACHPHYS_MFN_LIST, argument), 0, "machphys_mfn_list");
    let frame = peek::<u64>(list);
    for flags in [WRITABLE, READABLE] {
        let result = tables::update(region.slot(6), frame << 12 | flags);
        check!(result < 0, "a frame of the M2P: {result}");
    }
    if !initial_domain() {
        // Frames of others: low memory, other domains, device memory.
        let mut mapped = 0;
        for mfn in (0..0x2_0000u64).step_by(61).chain([0xfee00, 0xfec00, 0xf_ffff, 0xff_ffff]) {
            let pfn = m2p_or_none(mfn);
            let ours = pfn.is_some_and(|pfn| pfn < kernel::memory::total_pages() && kernel::memory::p2m(pfn) == mfn);
            if !ours && tables::update(region.slot(6), mfn << 12 | READABLE) == 0 {
                mapped += 1;
            }
        }
        check_eq!(mapped, 0, "frames of other domains that could be mapped");
        check_eq!(tables::update(region.slot(6), 0), 0, "unmap");
    }
    check_eq!(tables::extended(mmuext::CLEAR_PAGE, frame, 0), error::EINVAL, "clear a frame of the M2P");
    check_eq!(tables::extended(mmuext::PIN_L1_TABLE, frame, 0), error::EINVAL, "pin a frame of the M2P");
    check!(tables::extended(mmuext::COPY_PAGE, mfn_of(list), frame) < 0, "copy a frame of the M2P");
    // Clear and copy cannot write to tables either.
    let table = mfn_of(region.table);
    check_eq!(tables::extended(mmuext::CLEAR_PAGE, table, 0), error::EINVAL, "clear a table");
    check_eq!(tables::extended(mmuext::COPY_PAGE, table, mfn_of(list)), error::EINVAL, "copy over a table");
    check_eq!(tables::extended(mmuext::COPY_PAGE, mfn_of(list), table), 0, "copy from a table");
    poke(list, [7u64; 512]);
    check_eq!(tables::extended(mmuext::COPY_PAGE, mfn_of(argument), mfn_of(list)), 0, "copy");
    check_eq!(peek::<[u64; 512]>(argument), [7; 512], "the copy");
    check_eq!(tables::extended(mmuext::CLEAR_PAGE, mfn_of(argument), 0), 0, "clear");
    check_eq!(peek::<[u64; 512]>(argument), [0; 512], "the page is clear");
}

/// The M2P entry of a frame, if the table covers it.
fn m2p_or_none(mfn: u64) -> Option<u64> {
    let at = kernel::memory::M2P + mfn * 8;
    let trap = attempt!("mov rcx, [{at}]"; at = in(reg) at, out("rcx") _);
    trap.is_none().then(|| m2p(mfn))
}

fn superpages() {
    let address = 0xffff_ffff_b000_0000u64;
    let slot = tables::entry_machine(address, 2);
    let entry = tables::entry_for(page(), WRITABLE | LARGE) & !(0x1f_f000);
    check!(tables::update(slot, entry) < 0, "a large page");
    check!(tables::update(slot, entry & !WRITE) < 0, "a large page, read-only");
    let slot = tables::entry_machine(address, 3);
    let before: u64 = peek(tables::entry(address, 3));
    check!(tables::update(slot, tables::entry_for(page(), WRITABLE | LARGE) & !0x3fff_f000) < 0, "a page of 1 GiB");
    check_eq!(peek::<u64>(tables::entry(address, 3)), before, "the entry is unchanged");
}

/// A table that refers to a table of its own level is refused, read-only mappings included
/// (docs/decisions/0007).
fn recursion() {
    let root = tables::root();
    let slot = machine_of(root) + 300 * 8;
    for (flags, what) in [(TABLE, "writable"), (PRESENT | USER, "read-only"), (PRESENT, "supervisor's")] {
        check_eq!(
            tables::update(slot, tables::entry_for(root, flags)),
            error::EINVAL,
            "the root inside itself, {what}"
        );
        check_eq!(peek::<u64>(root + 300 * 8), 0, "the slot is empty");
    }
    for command in [mmuext::PIN_L2_TABLE, mmuext::PIN_L3_TABLE, mmuext::PIN_L4_TABLE] {
        let (one, two) = (page(), page());
        poke(one, tables::entry_for(two, TABLE));
        poke(two, tables::entry_for(one, TABLE));
        tables::protect(one);
        tables::protect(two);
        let result = tables::extended(command, mfn_of(one), 0);
        check!(result < 0, "two tables that refer to each other, command {command}: {result}");
        is_free(one, "a table in a circle");
        is_free(two, "a table in a circle");
    }
}

/// A page cannot be both a table and a descriptor page.
fn descriptors() {
    let (ldt, table) = (page(), page());
    poke(ldt + 8, 0x00cf_f200_0000_ffffu64);
    tables::protect(ldt);
    check_eq!(tables::extended(mmuext::SET_LDT, ldt, 2), 0, "set an LDT");
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0xf).is_none(), "a selector of the LDT");
    check_eq!(tables::extended(mmuext::PIN_L1_TABLE, mfn_of(ldt), 0), error::EINVAL, "the LDT as a table");
    let result = tables::update_va(ldt, tables::entry_for(ldt, WRITABLE), 2);
    check_eq!(result, error::EBUSY, "the LDT, writable");
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0).is_none(), "a null selector");
    check_eq!(tables::extended(mmuext::SET_LDT, 0, 0), 0, "no LDT");
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0xf).is_some(), "the selector is gone");
    is_free(ldt, "the former LDT");
    // An LDT in a page table: its descriptors cannot be used.
    poke(table, 0u64);
    tables::protect(table);
    check_eq!(tables::extended(mmuext::PIN_L1_TABLE, mfn_of(table), 0), 0, "pin a table");
    check_eq!(tables::extended(mmuext::SET_LDT, table, 2), 0, "an LDT in a table is set");
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0xf).is_some(), "but cannot be used");
    check_eq!(tables::extended(mmuext::SET_LDT, 0, 0), 0, "no LDT");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn_of(table), 0), 0, "unpin");
    is_free(table, "the table after the attempt to use it as an LDT");
}
