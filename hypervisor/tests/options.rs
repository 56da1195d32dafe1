//! `docs/options.md` is what the table of options says.

#[path = "../examples/options.rs"]
#[expect(dead_code, reason = "its main is for the example")]
mod options;

#[test]
fn the_document_is_what_the_table_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/options.md");
    let text = std::fs::read_to_string(file).expect("docs/options.md");
    assert!(text == options::document(), "docs/options.md is old: run 'cargo xtask check --fix'");
}
