//! Retired words and the width of prose. `retired-words.txt` lists words and phrases with what to
//! write instead, and the paths that are clean of them and have to stay so.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::files::{self, TextFile};
use list::List;

mod list;
mod prose;

/// The list, at the root of the workspace.
const FILE: &str = "retired-words.txt";

/// The files that have prose.
const PATTERNS: [&str; 6] = ["*.rs", "*.md", "*.s", "*.S", "*.sh", "*.toml"];

/// The widest that a line of prose may be, in characters.
const WIDTH: usize = 100;

/// Retired words and wide lines in the clean paths; one line for each finding, with its place.
pub(crate) fn findings(workspace: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    let list = List::parse(&text)?;
    let mut findings = Vec::new();
    for file in files::matching(workspace, &PATTERNS)? {
        if list.covers(&file.path) {
            findings.extend(of_file(&list, &file)?);
        }
    }
    Ok(findings)
}

fn of_file(list: &List, file: &TextFile) -> Result<Vec<String>> {
    let shown = file.path.display();
    let prose = prose::of(file).with_context(|| format!("{shown} cannot be read as source"))?;
    let mut findings: Vec<(usize, String)> = Vec::new();
    for (line, retired) in list.occurrences(&prose.words) {
        let finding = format!("{shown}:{line}: '{}' is retired: write {}", retired.phrase, retired.instead);
        findings.push((line, finding));
    }
    for line in prose.lines.iter().filter(|line| line.width > WIDTH) {
        let (number, width) = (line.number, line.width);
        findings.push((number, format!("{shown}:{number}: {width} columns: wrap the text at {WIDTH}")));
    }
    findings.sort();
    Ok(findings.into_iter().map(|(_, finding)| finding).collect())
}

#[cfg(test)]
mod tests;
