//! The cost of hypercalls; see README.md.
#![no_std]
#![no_main]

mod events;
mod paging;

use kernel::abi::sysctl::{PhysicalInfo, Sysctl, interface, op};
use kernel::call::number;
use kernel::memory::{argument, initial_domain, total_pages};
use kernel::{call, check_eq, say, time};

kernel::guest!(main);

/// Number of rounds, whose minimum is printed.
const ROUNDS: usize = 12;
/// Number of operations in a round.
const TIMES: u64 = 64;

fn main() {
    let start = time::tsc();
    if let Some(peer) = argument("ping") {
        return events::ping(peer as u16);
    }
    if let Some(peer) = argument("pong") {
        return events::pong(peer as u16);
    }
    // Counted from power-on.
    say!("cost start {start}");
    cost("hypercall-empty", || {
        check_eq!(call!(number::XEN_VERSION, 0u32, 0u32) >> 16, 4, "xen_version");
    });
    paging::costs();
    if initial_domain() {
        memory();
    }
}

/// Prints the cost of one `operation`.
fn cost(name: &str, mut operation: impl FnMut()) {
    let go = |_| {
        let start = time::tsc();
        (0..TIMES).for_each(|_| operation());
        time::tsc() - start
    };
    let least = (0..ROUNDS).map(go).min().unwrap_or(0);
    say!("cost {name} {}", least / TIMES);
}

/// The argument is in the request, as in the interface's union.
fn memory() {
    let mut request = Sysctl { command: op::PHYSINFO, interface_version: interface::VERSION, argument: [0; 128] };
    check_eq!(call!(number::SYSCTL, &mut request), 0, "physinfo");
    let at = core::mem::offset_of!(PhysicalInfo, free_pages);
    let mut free = [0; 8];
    free.copy_from_slice(&request.argument[at..at + 8]);
    say!("memory {} {}", total_pages(), u64::from_le_bytes(free));
}
