//! Checks of the source text: the length of files, prose, and citations.

use anyhow::{Context, Result};

use super::{Checked, none_of};
use crate::foundation::workspace;
use crate::source::files::{self, TextFile};
use crate::source::{citations, words};

/// The largest number of lines of a file.
const MAX_LINES: usize = 800;

/// No file is longer than is good for reading.
pub(super) fn lengths() -> Checked {
    each_file(&["*.rs", "*.S", "*.s"], |file| {
        let lines = file.text.lines().count();
        Ok((lines > MAX_LINES).then(|| format!("{lines} lines: split it, {MAX_LINES} is the limit")))
    })
}

/// No retired words and no wide prose in the paths that are clean of them.
pub(super) fn words() -> Checked {
    none_of(&words::findings(workspace::root())?)
}

/// Files, functions and tests cited in Markdown exist.
pub(super) fn citations() -> Checked {
    none_of(&citations::findings(workspace::root())?)
}

/// Examines every file that matches, and fails with all findings.
fn each_file(patterns: &[&str], examine: impl Fn(&TextFile) -> Result<Option<String>>) -> Checked {
    let mut findings = Vec::new();
    for file in files::matching(workspace::root(), patterns)? {
        let shown = file.path.display();
        let finding = examine(&file).with_context(|| format!("cannot examine {shown}"))?;
        findings.extend(finding.map(|finding| format!("{shown}: {finding}")));
    }
    none_of(&findings)
}
