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
mod tests {
    use super::{List, TextFile, of_file};

    fn found(path: &str, text: &str) -> Vec<String> {
        let list = List::parse("# words\noutdated -> current\nold term -> new name\nclean: docs/\n").expect("a list");
        of_file(&list, &TextFile { path: path.into(), text: text.into() }).expect("source")
    }

    #[test]
    fn retired_words_are_found_in_comments_literals_and_prose() {
        assert_eq!(
            found("a.rs", "//! Is outdated.\nfn outdated() {}\n"),
            ["a.rs:1: 'outdated' is retired: write current"]
        );
        assert_eq!(
            found("a.rs", "fn f() { g(\"the old term\") }\n"),
            ["a.rs:1: 'old term' is retired: write new name"]
        );
        assert_eq!(
            found("a.rs", "/// The old\n/// Term.\nfn f() {}\n"),
            ["a.rs:1: 'old term' is retired: write new name"]
        );
        assert_eq!(found("a.md", "# Title\n\nIt is\nOutdated.\n"), ["a.md:4: 'outdated' is retired: write current"]);
        assert_eq!(found("a.sh", "outdated # all outdated\n"), ["a.sh:1: 'outdated' is retired: write current"]);
    }

    #[test]
    fn code_names_and_sentence_ends_are_no_phrase() {
        assert_eq!(found("a.rs", "/// Calls `outdated`, not outdatedness, is old. Term two.\nfn f() {}\n"), [""; 0]);
        assert_eq!(found("a.md", "```\noutdated\n```\nSee `outdated`.\n"), [""; 0]);
    }

    #[test]
    fn prose_is_at_most_a_hundred_columns_wide() {
        let wide = "word ".repeat(21);
        assert_eq!(found("a.rs", &format!("// {wide}x\nfn f() {{}}\n")), ["a.rs:1: 109 columns: wrap the text at 100"]);
        assert_eq!(found("a.md", &format!("{wide}x\n")), ["a.md:1: 106 columns: wrap the text at 100"]);
        for excepted in [
            format!("| {wide} |\n"),
            format!("```\n{wide}\n```\n"),
            format!("https://example.org/{}\n", "x".repeat(100)),
            format!("- [link](https://example.org/{})\n", "x".repeat(100)),
        ] {
            assert_eq!(found("a.md", &excepted), [""; 0]);
        }
        assert_eq!(found("a.rs", &format!("const A: &str = \"{wide}\";\n")), [""; 0]);
    }
}
