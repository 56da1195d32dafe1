//! Never yields the CPU; see README.md.
#![no_std]
#![no_main]

use kernel::abi::xen::{MmuUpdate, mmuext};
use kernel::memory::{initial_domain, mfn_of, pages};
use kernel::{check, harness, tables, time};

kernel::guest!(main);

fn main() {
    if initial_domain() {
        harness::skip("it runs only beside `neighbour`");
    }
    let table = pages(1);
    let target = pages(1);
    tables::protect(table);
    // Longer than the other guests need, shorter than the timeout of a hung guest.
    let last = time::now() + 20_000_000_000;
    while time::now() < last {
        // A loop of a tenth of a second that ignores events.
        let end = time::now() + 100_000_000;
        while time::now() < end {}
        // The longest calls.
        for _ in 0..20 {
            let _ = tables::extended(mmuext::PIN_L1_TABLE, mfn_of(table), 0);
            let updates: [MmuUpdate; 512] = core::array::from_fn(|index| MmuUpdate {
                pointer: kernel::memory::machine_of(table) + index as u64 * 8,
                value: tables::entry_for(target, tables::READABLE),
            });
            let _ = tables::update_batch(&updates);
            let _ = tables::extended(mmuext::UNPIN_TABLE, mfn_of(table), 0);
            let _ = tables::extended(mmuext::TLB_FLUSH_ALL, 0, 0);
        }
    }
    check!(true, "the guest has ended");
}
