//! The crates that the workspace uses: licences, sources, versions, and known vulnerabilities.

use super::compiler::cargo;
use super::{Checked, Verdict};
use crate::foundation::{command, tools, workspace};

/// Checks with cargo-deny. Without the database of advisories the rest is checked all the same.
pub(super) fn check() -> Checked {
    if !tools::has_cargo("deny") {
        let reason = "cargo-deny is missing: run 'cargo install --locked cargo-deny'";
        return Ok(Verdict::Skipped(reason.into()));
    }
    let root = workspace::root();
    let deny = ["deny", "--log-level", "error"];
    command::quiet(cargo(root, &deny).args(["check", "bans", "licenses", "sources"]))?;
    if command::quiet(&mut cargo(root, &["deny", "fetch", "db"])).is_err() {
        let reason = "licences and sources passed; the database of advisories cannot be fetched";
        return Ok(Verdict::Skipped(reason.into()));
    }
    command::quiet(cargo(root, &deny).args(["check", "--disable-fetch", "advisories"]))?;
    Ok(Verdict::Passed)
}
