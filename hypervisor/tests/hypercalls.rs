//! `docs/hypercalls.md` is what the table of hypercalls says.

#[path = "../examples/hypercalls.rs"]
#[expect(dead_code, reason = "its main is for the example")]
mod hypercalls;

#[test]
fn the_document_is_what_the_table_says() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/hypercalls.md");
    let text = std::fs::read_to_string(file).expect("docs/hypercalls.md");
    assert!(text == hypercalls::document(), "docs/hypercalls.md is old: run 'cargo xtask check --fix'");
}
