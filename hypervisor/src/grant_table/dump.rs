//! The grants of a domain, for the debug key.

use alloc::string::String;
use alloc::vec::Vec;

use crate::console::keys::{MOST_LINES, say, say_list};
use crate::domain::Domain;

/// Prints the size of the domain's table, which of its entries are in use by whom, and how many
/// grants of others it has mapped.
pub fn dump(domain: &Domain) {
    let number = domain.id().0;
    let (frames, limit) = {
        let table = domain.grants.table();
        (table.frames(), table.limit())
    };
    let (used, lines) = in_use(domain);
    let mapped = domain.grants.mapped();
    say(format_args!("d{number}: {frames} of {limit} table frames, {used} entries in use, {mapped} grants mapped"));
    say_list(domain, &lines, used - lines.len());
}

/// How many entries of the domain's table somebody uses, and a line for each of the first. Nothing
/// is printed under the lock of the table, which is taken for each frame by itself.
pub(super) fn in_use(domain: &Domain) -> (usize, Vec<String>) {
    let (mut used, mut lines) = (0, Vec::new());
    for frame in 0.. {
        let described = domain.grants.table().describe_in_use(frame, MOST_LINES - lines.len());
        let Some((count, described)) = described else { break };
        used += count;
        lines.extend(described);
    }
    (used, lines)
}
