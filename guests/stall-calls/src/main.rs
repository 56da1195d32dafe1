//! Multicalls of a thousand expensive calls; see README.md.
#![no_std]
#![no_main]

mod calls;
mod events;
mod gap;
mod memory;
mod privileged;

use kernel::abi::xen::MulticallEntry;
use kernel::call::number;
use kernel::memory::{argument, initial_domain, pages, peek, poke};
use kernel::{call, check, say, time};

kernel::guest!(main);

/// Number of calls in a multicall.
const CALLS: u64 = 1000;
const ENTRY: u64 = size_of::<MulticallEntry>() as u64;
/// A value that no call returns.
const NOTHING: u64 = 0x5a5a_0000_0000_0000;

/// Memory for the calls and their arguments.
struct Bench {
    list: u64,
    arguments: u64,
    limit: u64,
}

fn main() {
    let bench = Bench {
        list: pages((CALLS * ENTRY).div_ceil(4096) as usize),
        arguments: pages(2),
        limit: argument("limit").unwrap_or(u64::MAX),
    };
    gap::start();
    calls::all(&bench);
    if initial_domain() {
        privileged::all(&bench);
    }
    memory::all(&bench);
    events::all(&bench);
}

impl Bench {
    /// Makes the same call a thousand times.
    fn same(&self, name: &str, operation: u32, arguments: [u64; 3]) {
        self.each(name, operation, |_| arguments);
    }

    /// Makes a call a thousand times, with the arguments returned by `arguments`.
    fn each(&self, name: &str, operation: u32, arguments: impl Fn(u64) -> [u64; 3]) {
        for index in 0..CALLS {
            let [first, second, third] = arguments(index);
            let arguments = [first, second, third, kernel::call::DOMID_SELF, 0, 0];
            let entry = MulticallEntry { operation: operation.into(), result: NOTHING, arguments };
            poke(self.list + index * ENTRY, entry);
        }
        gap::reset();
        let start = time::tsc();
        let result = call!(number::MULTICALL, self.list, CALLS);
        let (each, longest) = ((time::tsc() - start) / CALLS, gap::longest());
        let of = |index| peek::<MulticallEntry>(self.list + index * ENTRY).result;
        let (first, last) = (of(0), of(CALLS - 1));
        say!("{name}: {each} ticks each, {longest} without an event; results {} and {}", first as i64, last as i64);
        check!(result == 0, "{name}: the multicall returns {result}");
        check!((0..CALLS).all(|index| of(index) != NOTHING), "{name}: not all calls were made");
        check!(longest <= self.limit, "{name}: no event for {longest} ticks, {} are allowed", self.limit);
    }

    /// Makes one call with a list of the maximum size.
    fn list<T: Copy>(&self, name: &str, operation: u32, element: impl Fn(u64) -> T) {
        let size = size_of::<T>() as u64;
        let count = CALLS * ENTRY / size;
        (0..count).for_each(|index| poke(self.list + index * size, element(index)));
        gap::reset();
        let start = time::tsc();
        let result = call!(operation, self.list, count, 0u64, kernel::call::DOMID_SELF);
        let (each, longest) = ((time::tsc() - start) / count, gap::longest());
        say!("{name}: {each} ticks for each of {count}, {longest} without an event");
        check!(result == 0, "{name}: {result}");
        check!(longest <= self.limit, "{name}: no event for {longest} ticks, {} are allowed", self.limit);
    }

    /// Stores a structure for calls and returns its address.
    fn put<T: Copy>(&self, value: T) -> u64 {
        poke(self.arguments, value);
        self.arguments
    }
}
