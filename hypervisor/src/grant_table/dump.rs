//! The grants of a domain, for the debug key.

use alloc::vec::Vec;

use crate::console::keys::say;
use crate::domain::Domain;

/// Prints the size of the domain's table, which of its entries are in use by whom, and how many grants of others it has mapped.
pub fn dump(domain: &Domain) {
    let number = domain.id().0;
    let (frames, limit, used) = {
        let table = domain.grants.table();
        // Collected first: nothing is printed under the lock.
        (table.frames(), table.limit(), table.in_use().collect::<Vec<_>>())
    };
    let mapped = domain.grants.maptrack().mapped();
    say(format_args!(
        "d{number}: {frames} of {limit} table frames, {} entries in use, {mapped} grants mapped",
        used.len()
    ));
    for line in used {
        say(format_args!("d{number} {line}"));
    }
}
