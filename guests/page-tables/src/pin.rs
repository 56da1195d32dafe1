//! Pinning at each level, and roots.

use kernel::call::error;
use kernel::memory::{mfn_of, page, peek, poke};
use kernel::tables::{self, TABLE, WRITABLE, mmuext};
use kernel::{check, check_eq};

use crate::{is_free, writable};

const PIN: [u32; 4] = [mmuext::PIN_L1_TABLE, mmuext::PIN_L2_TABLE, mmuext::PIN_L3_TABLE, mmuext::PIN_L4_TABLE];

pub(crate) fn all() {
    each_level();
    trees();
    roots();
}

fn each_level() {
    for level in 1..=4usize {
        let table = page();
        let mfn = mfn_of(table);
        let pin = |level: usize| tables::extended(PIN[level - 1], mfn, 0);
        let result = pin(level);
        check_eq!(result, error::EINVAL, "pin L{level}: mapped writable");
        check!(writable(table), "it is still writable");
        tables::protect(table);
        check_eq!(pin(level), 0, "pin L{level}");
        check_eq!(pin(level), error::EINVAL, "pin L{level} twice");
        for other in (1..=4).filter(|&other| other != level) {
            check!(matches!(pin(other), error::EBUSY | error::EINVAL), "pin an L{level} as L{other}");
        }
        let result = tables::update_va(table, tables::entry_for(table, WRITABLE), 2);
        check_eq!(result, error::EBUSY, "a pinned L{level} cannot be mapped writable");
        check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn, 0), 0, "unpin L{level}");
        check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn, 0), error::EINVAL, "unpin L{level} twice");
        is_free(table, "an unpinned table");
    }
    for level in 0..4 {
        check_eq!(tables::extended(PIN[level], 0xff_ffff_ffff, 0), error::EINVAL, "pin a frame that does not exist");
    }
}

/// Pinning a root validates the tree below it, and unpinning releases all of it.
fn trees() {
    let chain: [u64; 5] = core::array::from_fn(|_| page());
    for level in 0..4 {
        let flags = if level == 3 { WRITABLE } else { TABLE };
        for index in [0u64, 1, 255] {
            poke(chain[level] + index * 8, tables::entry_for(chain[level + 1], flags));
        }
    }
    let mfn = mfn_of(chain[0]);
    check!(tables::extended(mmuext::PIN_L4_TABLE, mfn, 0) < 0, "pin a tree of writable tables");
    for level in 0..4 {
        tables::protect(chain[level]);
    }
    check_eq!(tables::extended(mmuext::PIN_L4_TABLE, mfn, 0), 0, "pin a tree");
    for level in 1..4 {
        let result = tables::update_va(chain[level], tables::entry_for(chain[level], WRITABLE), 2);
        check_eq!(result, error::EBUSY, "a table inside a pinned tree cannot be mapped writable");
    }
    // A table in use can also be pinned itself, and then outlives the tree.
    check_eq!(tables::extended(mmuext::PIN_L1_TABLE, mfn_of(chain[3]), 0), 0, "pin the L1 too");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn, 0), 0, "unpin the tree");
    let result = tables::update_va(chain[3], tables::entry_for(chain[3], WRITABLE), 2);
    check_eq!(result, error::EBUSY, "the L1 is still a table");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn_of(chain[3]), 0), 0, "unpin it");
    for table in &chain[..4] {
        is_free(*table, "a table of an unpinned tree");
    }
    // One bad entry at the bottom of the second half: the pin fails and no table stays in use.
    for level in 0..4 {
        let flags = if level == 3 { WRITABLE } else { TABLE };
        poke(chain[level] + 8, tables::entry_for(chain[level + 1], flags));
    }
    poke(chain[3] + 511 * 8, tables::entry_for(tables::root(), WRITABLE));
    for level in 0..4 {
        tables::protect(chain[level]);
    }
    let result = tables::extended(mmuext::PIN_L4_TABLE, mfn, 0);
    check!(result < 0, "pin a tree with one bad entry: {result}");
    for table in &chain[..4] {
        is_free(*table, "a table of a refused tree");
    }
}

/// A second root with the kernel's mappings can be loaded and unloaded.
fn roots() {
    let root = page();
    // The hypervisor fills its slots itself; their contents are ignored or overwritten.
    for slot in (0..256u64).chain(272..512) {
        poke(root + slot * 8, peek::<u64>(tables::root() + slot * 8));
    }
    tables::protect(root);
    let (old, new) = (mfn_of(tables::root()), mfn_of(root));
    let cr3 = || {
        let value: u64;
        // SAFETY: an emulated read.
        unsafe { core::arch::asm!("mov {}, cr3", out(reg) value) };
        value
    };
    check_eq!(tables::extended(mmuext::NEW_BASEPTR, new, 0), 0, "a new root, not pinned");
    check_eq!(cr3(), new << 12, "CR3 has its address");
    check_eq!(peek::<u64>(tables::root()), peek::<u64>(root), "the kernel continues");
    let result = tables::update_va(root, tables::entry_for(root, WRITABLE), 2);
    check_eq!(result, error::EBUSY, "the root cannot be mapped writable");
    check_eq!(tables::extended(mmuext::PIN_L4_TABLE, new, 0), 0, "pin the root");
    check_eq!(tables::extended(mmuext::NEW_BASEPTR, old, 0), 0, "the old root");
    check_eq!(cr3(), old << 12, "CR3 has its address");
    // SAFETY: a root with the same mappings for all memory in use.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) new << 12) };
    check_eq!(cr3(), new << 12, "the new root by instruction");
    // SAFETY: as before.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) old << 12) };
    check_eq!(tables::extended(mmuext::NEW_USER_BASEPTR, new, 0), 0, "a root for user mode");
    check_eq!(tables::extended(mmuext::NEW_USER_BASEPTR, 0, 0), 0, "no root for user mode");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, new, 0), 0, "unpin");
    is_free(root, "the former root");
    check_eq!(
        tables::extended(mmuext::NEW_BASEPTR, mfn_of(page()), 0),
        error::EINVAL,
        "a root that is mapped writable"
    );
}
