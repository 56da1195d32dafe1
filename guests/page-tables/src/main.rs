//! Direct paging and attacks on it; see README.md.
#![no_std]
#![no_main]

mod attack;
mod emulate;
mod frames;
mod pin;
mod update;

use kernel::memory::{self, PAGE, mfn_of, page, peek, poke};
use kernel::tables::{self, GLOBAL, READABLE, WRITABLE, mmuext};
use kernel::{attempt, check_eq};

kernel::guest!(main);

fn main() {
    update::all();
    pin::all();
    attack::all();
    emulate::all();
    frames::all();
}

/// An empty region of 2 MiB, mapped by a last-level table that is linked into the initial tables.
struct Region {
    start: u64,
    /// Address of its last-level table, which is mapped read-only there.
    table: u64,
}

impl Region {
    /// Region `number`, in a range of 2 MiB regions that starts 512 MiB above the kernel's base.
    fn new(number: u64) -> Self {
        let start = 0xffff_ffff_a000_0000 + number * (2 << 20);
        let table = page();
        tables::protect(table);
        let slot = memory::machine_of(tables::entry(start, 2));
        check_eq!(tables::update(slot, tables::entry_for(table, tables::TABLE)), 0, "linking a table");
        Self { start, table }
    }

    fn address(&self, index: u64) -> u64 {
        self.start + index * PAGE
    }

    /// Machine address of entry `index`.
    fn slot(&self, index: u64) -> u64 {
        memory::machine_of(self.table) + index * 8
    }

    /// Entry `index` without the global bit, which the hypervisor may set.
    fn entry(&self, index: u64) -> u64 {
        peek::<u64>(self.table + index * 8) & !GLOBAL
    }
}

/// Checks that the page at `address` can become a table and a writable page again: no other use
/// holds it.
fn is_free(address: u64, what: &str) {
    check_eq!(tables::update_va(address, tables::entry_for(address, WRITABLE), 2), 0, "{what}: writable again");
    poke(address, [0u64; 512]);
    check_eq!(tables::update_va(address, tables::entry_for(address, READABLE), 2), 0, "{what}: read-only again");
    let mfn = mfn_of(address);
    check_eq!(tables::extended(mmuext::PIN_L1_TABLE, mfn, 0), 0, "{what}: pinned as an empty L1");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn, 0), 0, "{what}: unpinned");
    check_eq!(
        tables::update_va(address, tables::entry_for(address, WRITABLE), 2),
        0,
        "{what}: writable after unpinning"
    );
}

/// Whether the byte at `address` is writable.
fn writable(address: u64) -> bool {
    attempt!("lock or byte ptr [{at}], 0"; at = in(reg) address).is_none()
}
