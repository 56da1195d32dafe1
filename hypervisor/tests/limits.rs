//! `docs/limits.md` is what the table of limits says.

#[path = "../examples/limits.rs"]
#[expect(dead_code, reason = "its main is for the example")]
mod limits;

#[test]
fn the_document_is_what_the_table_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md");
    let text = std::fs::read_to_string(file).expect("docs/limits.md");
    assert!(text == limits::document(), "docs/limits.md is old: run 'cargo xtask check --fix'");
}
