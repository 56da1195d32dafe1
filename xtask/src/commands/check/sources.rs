//! Checks of the source text: the length of files, the places of tests, prose, and citations.

use std::path::Path;

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

/// Unit tests are where CONTRIBUTING.md puts them.
pub(super) fn places_of_tests() -> Checked {
    each_file(&["*.rs"], |file| Ok(misplaced_tests(&file.path, &file.text).map(str::to_owned)))
}

/// What to do about tests in the wrong place.
fn misplaced_tests(path: &Path, text: &str) -> Option<&'static str> {
    let is_declaration = |line: &&str| line.starts_with("mod ") || line.contains(") mod ");
    if path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("_tests")) {
        return Some("move it to tests.rs in the folder of its module");
    }
    // The attributes of the module that follows have a path.
    let mut has_path = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            has_path |= line.starts_with("#[path");
            continue;
        }
        let declaration = Some(line).filter(is_declaration).unwrap_or_default();
        if has_path && declaration.ends_with("tests;") {
            return Some("a path for tests: move them to tests.rs in the folder of their module");
        }
        if path.ends_with("mod.rs") && declaration.ends_with("tests {") {
            return Some("tests of a module with a folder: move them to tests.rs there");
        }
        has_path = false;
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_at_the_end_of_a_file_or_in_the_folder_of_their_module() {
        let found = |path: &str, text: &str| misplaced_tests(Path::new(path), text).is_some();
        let inside = "fn f() {}\n#[cfg(test)]\nmod tests {}\n".replace("{}\n", "{\n}\n");
        let declared = "#[cfg(test)]\nmod tests;\n";
        assert!(
            !found("a/b.rs", &inside) && !found("a/mod.rs", declared) && !found("a/tests.rs", "#[test]\nfn f() {}\n")
        );
        assert!(!found("a/tests/all.rs", "#[path = \"../b.rs\"]\nmod b;\n"));
        assert!(found("a/mod.rs", &inside));
        assert!(found("a/mod.rs", &inside.replace("mod", "pub(super) mod")));
        assert!(found("a/b_tests.rs", ""));
        assert!(found("a/b.rs", "#[path = \"b_tests.rs\"]\n#[cfg(test)]\nmod tests;\n"));
        assert!(found("a/b.rs", "#[cfg(test)]\n#[path = \"other.rs\"]\nmod more_tests;\n"));
    }
}
