//! Files, functions and tests that Markdown pages cite. Links to files of the workspace lead to
//! existing ones, and functions and tests are cited by their current names.

use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::files::{self, TextFile};

/// Files that define functions.
const SOURCES: [&str; 2] = ["*.rs", "*.S"];

/// The page that cites tests, by names of at least [`WORDS_OF_TEST`] words.
const CITES_TESTS: &str = "docs/soundness.md";

const WORDS_OF_TEST: usize = 4;

/// The end of a test name that is cited in part.
const ELLIPSIS: char = '…';

/// Citations of what does not exist; one line for each finding, with its place.
pub(crate) fn findings(workspace: &Path) -> Result<Vec<String>> {
    let sources = files::matching(workspace, &SOURCES)?;
    let exists = |path: &Path| workspace.join(path).exists();
    let pages = files::matching(workspace, &["*.md"])?;
    Ok(pages.iter().flat_map(|page| of_page(page, &sources, exists)).collect())
}

fn of_page(page: &TextFile, sources: &[TextFile], exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let text = without_code_blocks(&page.text);
    let place = |at: usize| format!("{}:{}", page.path.display(), text[..at].matches('\n').count() + 1);
    let mut findings = Vec::new();
    for (at, link) in text.match_indices("](") {
        let Some((target, rest)) = text[at + link.len()..].split_once(')') else { continue };
        let Some(path) = path_of(&page.path, target) else { continue };
        if !exists(&path) {
            findings.push(format!("{}: the link to '{target}' leads to no file", place(at)));
        }
        let source = sources.iter().find(|source| source.path == path);
        if let (Some(source), Some(name)) = (source, name_at(rest.trim_start()))
            && !defines(source, name)
        {
            findings.push(format!("{}: '{name}' is not a function of {}", place(at), path.display()));
        }
    }
    if page.path == Path::new(CITES_TESTS) {
        for (at, _) in text.match_indices('`') {
            let Some(name) = name_at(&text[at..]).filter(|name| name.split('_').count() >= WORDS_OF_TEST) else {
                continue;
            };
            if !sources.iter().any(|source| defines(source, name)) {
                findings.push(format!("{}: there is no test '{name}'", place(at)));
            }
        }
    }
    findings
}

/// The text with empty lines in place of fenced code blocks.
fn without_code_blocks(text: &str) -> String {
    let mut in_code = false;
    let mut kept = String::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if !in_code && !is_fence {
            kept += line;
        }
        kept.push('\n');
        in_code ^= is_fence;
    }
    kept
}

/// The file in the workspace that a link of a page names; `None` for a link elsewhere.
fn path_of(page: &Path, target: &str) -> Option<PathBuf> {
    let target = target.split('#').next().filter(|target| !target.is_empty() && !target.contains(':'))?;
    let mut path = page.parent()?.to_owned();
    for component in Path::new(target).components() {
        match component {
            Component::ParentDir => _ = path.pop(),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    Some(path)
}

/// The name in backquotes at the start of the text. It may end with an ellipsis.
fn name_at(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('`')?.split_once('`')?;
    let letters = name.strip_suffix(ELLIPSIS).unwrap_or(name);
    let is_name = letters.starts_with(|letter: char| letter.is_ascii_lowercase()) && letters.chars().all(is_of_name);
    is_name.then_some(name)
}

fn is_of_name(letter: char) -> bool {
    letter == '_' || letter.is_ascii_lowercase() || letter.is_ascii_digit()
}

/// Whether the file defines the function, or the label or macro of assembly.
fn defines(source: &TextFile, name: &str) -> bool {
    let part = name.strip_suffix(ELLIPSIS);
    let is_name = |text: &str, end: &[char]| match part {
        Some(part) => text.starts_with(part),
        None => text.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(end)),
    };
    if source.extension() == "rs" {
        return source.text.split("fn ").skip(1).any(|text| is_name(text, &['(', '<']));
    }
    source.text.lines().any(|line| match line.strip_prefix(".macro ") {
        Some(text) => is_name(text, &[' ']),
        None => is_name(line, &[':']),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{TextFile, of_page};

    fn found(page: &str, text: &str) -> Vec<String> {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let sources = [
            file("a/b.rs", "fn run() {}\nfn one_two_three_four<T>() {}\n"),
            file("a/c.S", "enter:\n.macro save field\n"),
        ];
        of_page(&file(page, text), &sources, |path| ["a/b.rs", "a/c.S", "docs/d.md"].map(Path::new).contains(&path))
    }

    #[test]
    fn links_lead_to_files() {
        assert_eq!(found("docs/w.md", "[x](../a/b.rs) [y](d.md#part) [z](https://example.org/) [w](#part)"), [""; 0]);
        assert_eq!(found("docs/w.md", "\n[x](../a/x.rs)"), ["docs/w.md:2: the link to '../a/x.rs' leads to no file"]);
        assert_eq!(found("docs/w.md", "```\n[x](../a/x.rs)\n```\n"), [""; 0]);
    }

    #[test]
    fn a_function_after_a_link_is_one_of_the_file() {
        assert_eq!(found("docs/w.md", "[b](../a/b.rs)\n   `run`: it runs, like `walk`.\n"), [""; 0]);
        assert_eq!(found("docs/w.md", "[c](../a/c.S) `enter` [c](../a/c.S) `save`"), [""; 0]);
        for (name, path, file) in
            [("walk", "../a/b.rs", "a/b.rs"), ("ru", "../a/b.rs", "a/b.rs"), ("sav", "../a/c.S", "a/c.S")]
        {
            assert_eq!(
                found("docs/w.md", &format!("[x]({path}) `{name}`")),
                [format!("docs/w.md:1: '{name}' is not a function of {file}")]
            );
        }
    }

    #[test]
    fn tests_of_the_soundness_page_exist() {
        assert_eq!(found("docs/soundness.md", "`one_two_three_four`, `one_two_three…`, `a_short_name`"), [""; 0]);
        assert_eq!(
            found("docs/soundness.md", "`a_test_that_is_gone`"),
            ["docs/soundness.md:1: there is no test 'a_test_that_is_gone'"]
        );
    }
}
