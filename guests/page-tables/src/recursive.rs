//! A root that maps itself: the guest reads all its tables through one slot, and writes none.

use kernel::call::error;
use kernel::memory::{machine_of, mfn_of, page, peek, poke};
use kernel::tables::{self, ADDRESS, LARGE, PRESENT, TABLE, USER, WRITE, mmuext};
use kernel::{attempt, check, check_eq};

use crate::is_free;

/// The slot that the root hangs in.
const SLOT: u64 = 300;
/// Where the slot's addresses begin.
const VIEW: u64 = 0xffff_0000_0000_0000 | SLOT << 39;

pub(crate) fn all() {
    let root = tables::root();
    let slot = machine_of(root) + SLOT * 8;
    let own = tables::entry_for(root, 0);
    for (flags, what) in [(TABLE, "writable"), (PRESENT | WRITE, "writable, supervisor"), (PRESENT | LARGE, "large")] {
        check_eq!(tables::update(slot, own | flags), error::EINVAL, "the root inside itself, {what}");
        check_eq!(peek::<u64>(root + SLOT * 8), 0, "the slot is empty");
    }
    check_eq!(tables::update(slot, own | PRESENT | USER), 0, "the root inside itself, read-only");
    check_eq!(peek::<u64>(root + SLOT * 8) & (ADDRESS | WRITE), own, "so it stands there");
    let here = tables::root();
    for level in 1..=4 {
        let view = seen(here, level);
        let entry = peek::<u64>(tables::entry(here, level));
        check_eq!(peek::<u64>(view) & ADDRESS, entry & ADDRESS, "the L{level} entry of the root's page");
        let trap = attempt!("mov [{at}], rax"; at = in(reg) view);
        check!(
            trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 3 && trap.cr2 == view),
            "a write to an L{level} table through it: {trap:x?}"
        );
        check_eq!(peek::<u64>(tables::entry(here, level)) & ADDRESS, entry & ADDRESS, "which has changed nothing");
        let result = tables::update_va(view, tables::entry_for(page(), TABLE), 2);
        check_eq!(result, error::EINVAL, "what is seen at L{level} is no mapping to be changed");
    }
    let all = VIEW | SLOT << 30 | SLOT << 21 | SLOT << 12;
    check_eq!(peek::<u64>(seen(all, 1)) & ADDRESS, own, "the root as its own L1 table");
    changes_show();
    check_eq!(tables::update(slot, own | PRESENT | USER | WRITE), error::EINVAL, "writable after all");
    check_eq!(tables::update(slot, 0), 0, "taken out again");
    check_eq!(tables::extended(mmuext::TLB_FLUSH_LOCAL, 0, 0), 0, "flush");
    let trap = attempt!("mov rax, [{at}]"; at = in(reg) seen(here, 1), out("rax") _);
    check!(trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 0), "nothing to be seen: {trap:x?}");
    pinned();
}

/// Where the entry of `level` for `address` is seen.
fn seen(address: u64, level: u32) -> u64 {
    let mut view = address;
    for _ in 0..level {
        view = VIEW | view >> 9 & 0x7f_ffff_fff8;
    }
    view
}

/// What a call changes is what is seen.
fn changes_show() {
    let page = page();
    for flags in [tables::READABLE, tables::WRITABLE] {
        let entry = tables::entry_for(page, flags);
        check_eq!(tables::update_va(page, entry, 2), 0, "another right to a page");
        check_eq!(peek::<u64>(seen(page, 1)) & (ADDRESS | WRITE), entry & (ADDRESS | WRITE), "is seen at once");
    }
}

/// A root that names itself before it is one; nothing of it stays when it goes.
fn pinned() {
    let root = page();
    let mfn = mfn_of(root);
    poke(root + 8, tables::entry_for(root, TABLE));
    tables::protect(root);
    check_eq!(tables::extended(mmuext::PIN_L4_TABLE, mfn, 0), error::EINVAL, "pin a root that is to write to itself");
    is_free(root, "a root that was to write to itself");
    for index in [0, SLOT, 511] {
        poke(root + index * 8, tables::entry_for(root, PRESENT | USER));
    }
    tables::protect(root);
    for level in [mmuext::PIN_L3_TABLE, mmuext::PIN_L2_TABLE] {
        check!(tables::extended(level, mfn, 0) < 0, "a lower table may not read itself");
    }
    check_eq!(tables::extended(mmuext::PIN_L4_TABLE, mfn, 0), 0, "pin a root that reads itself");
    check_eq!(tables::update(machine_of(root) + 8, peek(root)), 0, "one entry more of that kind");
    check_eq!(tables::update(machine_of(root), 0), 0, "one less");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn, 0), 0, "unpin");
    is_free(root, "a root that has read itself");
}
