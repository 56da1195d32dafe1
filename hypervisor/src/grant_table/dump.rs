//! The grants of a domain, for the debug key.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::domain::Domain;

/// The size of the domain's table, which of its entries are in use by whom (the first `max` of
/// them), and how many grants of others it has mapped. Returns lines, and how many are left out.
pub(crate) fn describe(domain: &Domain, max: usize) -> (Vec<String>, usize) {
    let (frames, limit) = {
        let table = domain.grants.table();
        (table.frames(), table.limit())
    };
    let (used, in_use) = in_use(domain, max);
    let mapped = domain.grants.mapped();
    let left_out = used - in_use.len();
    let summary = format!("{frames} of {limit} table frames, {used} entries in use, {mapped} grants mapped");
    ([summary].into_iter().chain(in_use).collect(), left_out)
}

/// How many entries of the domain's table somebody uses, and a line for each of the first. Nothing
/// is printed under the lock of the table, which is taken for each frame by itself.
pub(super) fn in_use(domain: &Domain, max: usize) -> (usize, Vec<String>) {
    let (mut used, mut lines) = (0, Vec::new());
    for frame in 0.. {
        let described = domain.grants.table().describe_in_use(frame, max - lines.len());
        let Some((count, described)) = described else { break };
        used += count;
        lines.extend(described);
    }
    (used, lines)
}
