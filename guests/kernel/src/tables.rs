//! Page tables with direct paging: finding entries, building trees, and the hypercalls that change
//! them.

pub use abi::xen::mmuext;
use abi::xen::{MmuUpdate, MmuextOp};

use crate::call::{DOMID_SELF, number};
use crate::memory::{PAGE, address_of, mfn_of, peek, start_info};

/// Entry is valid.
pub const PRESENT: u64 = 1;
/// Writable.
pub const WRITE: u64 = 2;
/// Accessible to ring 3.
pub const USER: u64 = 4;
/// Accessed.
pub const ACCESSED: u64 = 0x20;
/// Dirty.
pub const DIRTY: u64 = 0x40;
/// Large page (or PAT in a last-level entry).
pub const LARGE: u64 = 0x80;
/// Global.
pub const GLOBAL: u64 = 0x100;
/// No execution.
pub const NX: u64 = 1 << 63;
/// The machine address of an entry.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Flags of an ordinary table entry.
pub const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED | DIRTY;
/// Flags of an ordinary writable mapping.
pub const WRITABLE: u64 = TABLE;
/// Flags of an ordinary read-only mapping.
pub const READABLE: u64 = PRESENT | USER | ACCESSED;

/// A `struct mmuext_op`.
#[must_use]
pub fn operation(command: u32, argument1: u64, argument2: u64) -> MmuextOp {
    MmuextOp { command, _pad: 0, argument1, argument2 }
}

/// One `mmuext_op` on the guest itself.
pub fn extended(command: u32, argument: u64, second: u64) -> i64 {
    crate::call!(number::MMUEXT_OP, &operation(command, argument, second), 1u32, 0u64, DOMID_SELF)
}

/// Several `mmuext_op`s on the guest itself. Returns the result and the number of completed
/// operations.
pub fn extended_batch(ops: &[MmuextOp]) -> (i64, u32) {
    let mut done = u32::MAX;
    let result = crate::call!(number::MMUEXT_OP, ops.as_ptr() as u64, ops.len(), &mut done, DOMID_SELF);
    (result, done)
}

/// One `mmu_update` on the guest itself.
pub fn update(pointer: u64, value: u64) -> i64 {
    update_batch(&[MmuUpdate { pointer, value }]).0
}

/// Several `mmu_update`s on the guest itself. Returns the result and the number of completed
/// updates.
pub fn update_batch(updates: &[MmuUpdate]) -> (i64, u32) {
    let mut done = u32::MAX;
    let result = crate::call!(number::MMU_UPDATE, updates.as_ptr() as u64, updates.len(), &mut done, DOMID_SELF);
    (result, done)
}

/// `update_va_mapping`.
pub fn update_va(address: u64, entry: u64, flags: u64) -> i64 {
    crate::call!(number::UPDATE_VA_MAPPING, address, entry, flags)
}

/// Address of the table that CR3 pointed to at start.
#[must_use]
pub fn root() -> u64 {
    start_info().page_table_base
}

/// Address of the entry of level `level` (4 to 1) that maps `address` in the tree at `root`, if the
/// levels above exist.
#[must_use]
pub fn entry_in(root: u64, address: u64, level: u32) -> Option<u64> {
    let mut table = root;
    let mut at = 4;
    loop {
        let slot = table + ((address >> (12 + 9 * (at - 1))) & 511) * 8;
        if at == level {
            return Some(slot);
        }
        let content: u64 = peek(slot);
        if content & PRESENT == 0 || content & LARGE != 0 {
            return None;
        }
        table = address_of((content & ADDRESS) / PAGE);
        at -= 1;
    }
}

/// Address of the entry of level `level` for `address` in the initial tree.
#[must_use]
pub fn entry(address: u64, level: u32) -> u64 {
    entry_in(root(), address, level).expect("mapped by the initial tables")
}

/// Machine address of that entry.
#[must_use]
pub fn entry_machine(address: u64, level: u32) -> u64 {
    crate::memory::machine_of(entry(address, level))
}

/// An entry that maps or links the page at `address` of the initial mapping.
#[must_use]
pub fn entry_for(address: u64, flags: u64) -> u64 {
    (mfn_of(address) * PAGE) | flags
}

/// Makes the page at `address` read-only in the initial mapping.
pub fn protect(address: u64) {
    let result = update_va(address, entry_for(address, READABLE), 2);
    assert_eq!(result, 0, "making {address:#x} read-only");
}

/// Makes the page at `address` writable in the initial mapping.
pub fn unprotect(address: u64) {
    let result = update_va(address, entry_for(address, WRITABLE), 2);
    assert_eq!(result, 0, "making {address:#x} writable");
}
