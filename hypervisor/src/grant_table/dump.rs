//! The grants of a domain, for the debug key.

use crate::console::keys::{MOST_LINES, say, say_list};
use crate::domain::Domain;

/// Prints the size of the domain's table, which of its entries are in use by whom, and how many grants of others it has mapped.
pub fn dump(domain: &Domain) {
    let number = domain.id().0;
    let (frames, limit, used, lines) = {
        let table = domain.grants.table();
        // Collected first: nothing is printed under the lock.
        (table.frames(), table.limit(), table.count_in_use(), table.describe_in_use(MOST_LINES))
    };
    let mapped = domain.grants.maptrack().mapped();
    say(format_args!("d{number}: {frames} of {limit} table frames, {used} entries in use, {mapped} grants mapped"));
    say_list(domain, &lines, used - lines.len());
}
