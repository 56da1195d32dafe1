//! Updates of page tables.

use kernel::abi::xen::{MmuUpdate, MulticallEntry};
use kernel::call::{DOMID_SELF, number};
use kernel::memory::{PAGE, machine_of, mfn_of, page, pages, poke};
use kernel::tables::{self, READABLE, WRITABLE, mmuext};
use kernel::{call, check_eq};

use crate::cost;

/// Number of entries that one multicall updates.
const BATCH: usize = 32;
/// Number of entries of the table that is pinned.
const FEW: u64 = 16;

pub(crate) fn costs() {
    let window = page();
    let entry = tables::entry(window, 1);
    let mut writable = true;
    let mut other = |address: u64| {
        writable = !writable;
        tables::entry_for(address, if writable { WRITABLE } else { READABLE })
    };
    cost("update-entry", || {
        let update = MmuUpdate { pointer: machine_of(entry), value: other(window) };
        check_eq!(call!(number::MMU_UPDATE, &update, 1u32, 0u64, DOMID_SELF), 0, "mmu_update");
    });
    cost("update-address", || {
        check_eq!(tables::update_va(window, other(window), 2), 0, "update_va_mapping");
    });
    multicall();
    pin();
}

/// Changes many entries as Linux does: one call for each, in a multicall.
fn multicall() {
    let window = pages(BATCH);
    let [writable, readable] = [WRITABLE, READABLE].map(|flags| {
        core::array::from_fn::<_, BATCH, _>(|index| {
            let address = window + index as u64 * PAGE;
            MmuUpdate { pointer: machine_of(tables::entry(address, 1)), value: tables::entry_for(address, flags) }
        })
    });
    let mut lists = [&readable, &writable].map(|updates| {
        updates.each_ref().map(|update| MulticallEntry {
            operation: number::MMU_UPDATE.into(),
            result: 0,
            arguments: [core::ptr::from_ref(update) as u64, 1, 0, DOMID_SELF, 0, 0],
        })
    });
    let mut turn = 0;
    cost("multicall-32", || {
        let list: &mut [MulticallEntry; BATCH] = &mut lists[turn];
        turn = 1 - turn;
        check_eq!(call!(number::MULTICALL, list.as_mut_ptr() as u64, BATCH), 0, "multicall");
        check_eq!(list.iter().any(|entry| entry.result != 0), false, "the calls in it");
    });
}

/// Pins and unpins a table with a few entries.
fn pin() {
    let table = page();
    let target = page();
    (0..FEW).for_each(|index| poke(table + index * 8, tables::entry_for(target, WRITABLE)));
    tables::protect(table);
    let frame = mfn_of(table);
    cost("pin-unpin", || {
        check_eq!(tables::extended(mmuext::PIN_L1_TABLE, frame, 0), 0, "pin");
        check_eq!(tables::extended(mmuext::UNPIN_TABLE, frame, 0), 0, "unpin");
    });
}
