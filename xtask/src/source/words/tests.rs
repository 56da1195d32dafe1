//! Findings in sources and Markdown.

use super::{List, TextFile, of_file};

fn found(path: &str, text: &str) -> Vec<String> {
    let list = List::parse("# words\noutdated -> current\nold term -> new name\nclean: docs/\n").expect("a list");
    of_file(&list, &TextFile { path: path.into(), text: text.into() }).expect("source")
}

#[test]
fn retired_words_are_found_in_comments_literals_and_prose() {
    assert_eq!(found("a.rs", "//! Is outdated.\nfn outdated() {}\n"), ["a.rs:1: 'outdated' is retired: write current"]);
    assert_eq!(found("a.rs", "fn f() { g(\"the old term\") }\n"), ["a.rs:1: 'old term' is retired: write new name"]);
    assert_eq!(found("a.rs", "/// The old\n/// Term.\nfn f() {}\n"), ["a.rs:1: 'old term' is retired: write new name"]);
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
