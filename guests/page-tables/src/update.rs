//! `mmu_update` with all its commands, `update_va_mapping`, and the hardware's changes of entries.

use kernel::abi::xen::{MmuUpdate, mmu_command, vm_assist, vm_assist_command};
use kernel::call::{DOMID_SELF, error, number};
use kernel::memory::{m2p, machine_of, mfn_of, page, peek, pfn_of, poke};
use kernel::tables::{self, ACCESSED, DIRTY, NX, PRESENT, READABLE, TABLE, USER, WRITABLE, WRITE};
use kernel::{attempt, call, check, check_eq};

use crate::{Region, writable};

pub(crate) fn all() {
    let region = Region::new(0);
    normal(&region);
    single_flushes(&region);
    accessed_and_dirty(&region);
    machine_to_physical();
    batches(&region);
    upper_levels();
    ordinary_page();
    by_address(&region);
}

fn normal(region: &Region) {
    let (first, second) = (page(), page());
    poke(first, 1u64);
    poke(second, 2u64);
    let at = region.address(3);
    check_eq!(tables::update(region.slot(3), tables::entry_for(first, WRITABLE)), 0, "map a page");
    check_eq!(peek::<u64>(at), 1, "the page is mapped");
    check_eq!(tables::update(region.slot(3), tables::entry_for(second, READABLE)), 0, "map another");
    check_eq!(tables::extended(tables::mmuext::INVLPG_LOCAL, at, 0), 0, "invlpg");
    check_eq!(peek::<u64>(at), 2, "the other page is mapped");
    check!(!writable(at), "it is read-only");
    check_eq!(tables::update(region.slot(3), 0), 0, "unmap");
    check_eq!(tables::extended(tables::mmuext::INVLPG_LOCAL, at, 0), 0, "invlpg");
    check!(attempt!("mov cl, [{at}]"; at = in(reg) at, out("cl") _).is_some(), "nothing is mapped");
    // Entries that are not present may contain any value.
    check_eq!(tables::update(region.slot(3), 0xdead_beef_dead_beee), 0, "an entry that is not present");
    check_eq!(region.entry(3), 0xdead_beef_dead_beee, "it is unchanged");
    // The guest kernel cannot omit the user bit: kernel and user mode share ring 3.
    check_eq!(
        tables::update(region.slot(3), tables::entry_for(first, PRESENT | WRITE | ACCESSED | DIRTY)),
        0,
        "no user bit"
    );
    check_eq!(peek::<u64>(at), 1, "it is reachable for the kernel");
    check_eq!(tables::update(region.slot(3), tables::entry_for(first, WRITABLE | NX)), 0, "no execution");
    check_eq!(region.entry(3) & (NX | USER), NX | USER, "the flags of the entry");
    // The guest may use the software bits.
    check_eq!(tables::update(region.slot(3), tables::entry_for(first, WRITABLE | 7 << 9)), 0, "software's bits");
    check_eq!(region.entry(3) & (7 << 9), 7 << 9, "software's bits are kept");
    check_eq!(tables::update(region.slot(3), 0), 0, "unmap");
}

/// One translation is flushed, on the fast path of the entry code and, while that is disabled, on
/// the slow path. All other state is unchanged.
fn single_flushes(region: &Region) {
    let pages = [page(), page()];
    let at = region.address(3);
    for (number, page) in pages.iter().enumerate() {
        poke(*page, number as u64);
    }
    for command in [vm_assist_command::ENABLE, vm_assist_command::DISABLE] {
        check_eq!(
            call!(number::VM_ASSIST, command, vm_assist::ARCHITECTURAL_IOPL),
            0,
            "vm_assist switches the fast paths"
        );
        for round in 0..4 {
            let entry = tables::entry_for(pages[round % 2], WRITABLE);
            // One update, without a count of completed ones.
            let list = MmuUpdate { pointer: region.slot(3), value: entry };
            check_eq!(call!(number::MMU_UPDATE, &list, 1u32, 0u64, DOMID_SELF), 0, "a single update");
            let list = tables::operation(tables::mmuext::INVLPG_LOCAL, at, 0);
            check_eq!(call!(number::MMUEXT_OP, &list, 1u32, 0u64, DOMID_SELF), 0, "invlpg");
            check_eq!(peek::<u64>(at), round as u64 % 2, "the page is the new one");
        }
        let list = tables::operation(tables::mmuext::INVLPG_LOCAL, at, 0);
        for bad in [0xffff_8000_0000_0000u64, 0x0008_0000_0000_0000, 0xdead_0000] {
            check_eq!(call!(number::MMUEXT_OP, bad, 1u32, 0u64, DOMID_SELF), error::EFAULT, "no list at {bad:#x}");
        }
        check_eq!(
            call!(number::MMUEXT_OP, &list, 1u32, 0xdead_0000u64, DOMID_SELF),
            error::EFAULT,
            "no place for a count"
        );
        check_eq!(call!(number::MMUEXT_OP, &list, 1u32, 0u64, 77u64), error::ESRCH, "nobody's");
        check_eq!(call!(number::MMUEXT_OP, &list, 0u32, 0u64, DOMID_SELF), 0, "no operation");
    }
}

fn accessed_and_dirty(region: &Region) {
    let (one, two) = (page(), page());
    let fresh = PRESENT | WRITE | USER;
    check_eq!(tables::update(region.slot(4), tables::entry_for(one, fresh)), 0, "map without A and D");
    let _: u64 = peek(region.address(4));
    check_eq!(region.entry(4) & (ACCESSED | DIRTY), ACCESSED, "a read sets A");
    poke(region.address(4), 1u64);
    check_eq!(region.entry(4) & (ACCESSED | DIRTY), ACCESSED | DIRTY, "a write sets D");
    let command = region.slot(4) | mmu_command::PT_UPDATE_PRESERVE_AD;
    check_eq!(tables::update(command, tables::entry_for(two, PRESENT | USER)), 0, "preserve A and D");
    check_eq!(region.entry(4) & 0xfff, PRESENT | USER | ACCESSED | DIRTY, "A and D are preserved");
    check_eq!(tables::update(region.slot(4), tables::entry_for(two, PRESENT | USER)), 0, "do not preserve");
    check_eq!(region.entry(4) & (ACCESSED | DIRTY), 0, "A and D are gone");
    let command = region.slot(4) | mmu_command::PT_UPDATE_NO_TRANSLATE;
    check_eq!(tables::update(command, tables::entry_for(one, WRITABLE)), 0, "no translation");
    check_eq!(region.entry(4), tables::entry_for(one, WRITABLE), "the entry as given");
    check_eq!(tables::update(region.slot(4), 0), 0, "unmap");
}

fn machine_to_physical() {
    let given = page();
    let (machine, pfn) = (machine_of(given), pfn_of(given));
    let command = machine | mmu_command::MACHPHYS_UPDATE;
    check_eq!(tables::update(command, 0x1234), 0, "M2P update");
    check_eq!(m2p(mfn_of(given)), 0x1234, "the M2P has it");
    check_eq!(tables::update(command, pfn), 0, "and back");
    check_eq!(m2p(mfn_of(given)), pfn, "the M2P has it");
    let nobody = 0xffff_ffff_f000 | mmu_command::MACHPHYS_UPDATE;
    check_eq!(tables::update(nobody, 1), error::EINVAL, "M2P update of a frame that does not exist");
}

fn batches(region: &Region) {
    let given = page();
    let good = |index: u64| MmuUpdate { pointer: region.slot(index), value: tables::entry_for(given, READABLE) };
    let bad = MmuUpdate { pointer: region.slot(12), value: tables::entry_for(tables::root(), WRITABLE) };
    let (result, done) = tables::update_batch(&[good(10), good(11), bad, good(13)]);
    check!(result < 0, "a batch with a bad update fails: {result}");
    check_eq!(done, 2, "it returns the number of completed updates");
    check!(
        region.entry(10) != 0 && region.entry(11) != 0 && region.entry(12) == 0 && region.entry(13) == 0,
        "the updates before are done, the rest is not"
    );
    for index in 10..14 {
        check_eq!(tables::update(region.slot(index), 0), 0, "unmap");
    }
    // All 512 entries of a table in one call.
    let mut updates = [good(0); 512];
    for (index, update) in updates.iter_mut().enumerate() {
        update.pointer = region.slot(index as u64);
    }
    check_eq!(tables::update_batch(&updates), (0, 512), "a whole table");
    check!((0..512).all(|index| region.entry(index) & !0xfff == mfn_of(given) << 12), "all are mapped");
    for update in &mut updates {
        update.value = 0;
    }
    check_eq!(tables::update_batch(&updates), (0, 512), "and unmapped");
}

fn upper_levels() {
    // A chain of new tables in a free L4 slot.
    let [l3, l2, l1, leaf]: [u64; 4] = core::array::from_fn(|_| page());
    let address = 0x7000_0000_0000u64;
    let slot4 = machine_of(tables::root()) + (address >> 39 & 511) * 8;
    for table in [l3, l2, l1] {
        tables::protect(table);
    }
    check_eq!(tables::update(slot4, tables::entry_for(l3, TABLE)), 0, "an empty L3");
    check_eq!(tables::update(machine_of(l3), tables::entry_for(l2, TABLE)), 0, "an empty L2");
    check_eq!(tables::update(machine_of(l2), tables::entry_for(l1, TABLE)), 0, "an empty L1");
    check_eq!(tables::update(machine_of(l1), tables::entry_for(leaf, WRITABLE)), 0, "a page");
    poke(address, 0x77u64);
    check_eq!(peek::<u64>(leaf), 0x77, "the page is reachable through new tables");
    check_eq!(tables::update_va(address + 4096, tables::entry_for(leaf, READABLE), 0), 0, "update_va_mapping there");
    check_eq!(peek::<u64>(address + 4096), 0x77, "the page a second time");
    // A table may be linked in several places.
    check_eq!(tables::update(machine_of(l2) + 8, tables::entry_for(l1, TABLE)), 0, "the L1 a second time");
    check_eq!(peek::<u64>(address + (2 << 20)), 0x77, "the page a third time");
    check_eq!(tables::update(machine_of(l2) + 8, 0), 0, "the L1 once");
    check_eq!(tables::update(slot4, 0), 0, "all removed");
    check_eq!(tables::extended(tables::mmuext::TLB_FLUSH_LOCAL, 0, 0), 0, "flush");
    check!(attempt!("mov cl, [{at}]"; at = in(reg) address, out("cl") _).is_some(), "nothing is mapped");
    // After removal from the tree, tables are ordinary pages with unchanged contents.
    check_eq!(peek::<u64>(l1) & !tables::GLOBAL, tables::entry_for(leaf, WRITABLE), "the L1's entry is unchanged");
    for table in [l3, l2, l1] {
        crate::is_free(table, "a removed table");
    }
}

/// `mmu_update` on a page that is not a table is a write.
fn ordinary_page() {
    let given = page();
    check_eq!(tables::update(machine_of(given) + 16, 0x1234_5678_9abc_def0), 0, "mmu_update of an ordinary page");
    check_eq!(peek::<u64>(given + 16), 0x1234_5678_9abc_def0, "it is a plain write");
}

fn by_address(region: &Region) {
    let (one, two) = (page(), page());
    poke(one, 1u64);
    poke(two, 2u64);
    let at = region.address(20);
    for flags in [1u64, 2, 5, 6] {
        for (given, value) in [(one, 1u64), (two, 2)] {
            check_eq!(tables::update_va(at, tables::entry_for(given, WRITABLE), flags), 0, "update_va_mapping {flags}");
            check_eq!(peek::<u64>(at), value, "the new page is visible immediately, flags {flags}");
        }
    }
    check_eq!(tables::update_va(at, 0, 2), 0, "unmap");
    let both = attempt!("mov cl, [{at}]"; at = in(reg) at, out("cl") _);
    check!(both.is_some(), "nothing is mapped");
}
