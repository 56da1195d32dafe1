//! Leaves the maximum amount of teardown behind; see README.md.
#![no_std]
#![no_main]

use kernel::forest::Forest;
use kernel::memory::initial_domain;
use kernel::{check_eq, harness, say, time};

kernel::guest!(main);

/// Number of times that the tree is pinned and unpinned.
const ROUNDS: u32 = 2;

fn main() {
    if initial_domain() {
        harness::skip("it needs a neighbour");
    }
    let forest = Forest::grow(0);
    say!("{} tables of level 1", forest.l1_count);
    for _ in 0..ROUNDS {
        let start = time::now();
        check_eq!(forest.pin(), 0, "pin the tree");
        let pinned = time::now();
        check_eq!(forest.unpin(), 0, "unpin the tree");
        say!("pinned in {} ns, unpinned in {} ns", pinned - start, time::now() - pinned);
    }
    check_eq!(forest.pin(), 0, "pin the tree");
}
