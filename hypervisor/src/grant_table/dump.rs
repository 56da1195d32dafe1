//! The debug key that shows a domain's grants.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::domain::Domain;

/// The size of the domain's table, the entries in use and their users (the first `max`), and the
/// number of grants that it has mapped. Returns lines, and the number of entries left out.
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

/// The number of entries of the domain's table that are in use, and a line for each of the first
/// `max`. The lock of the table is taken separately for each frame, and is not held while printing.
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
