//! `docs/processor.md` is what the tables say, and the tests that it names exist.

use std::fs;
use std::path::{Path, PathBuf};

use hypervisor::tables::evidence::Evidence;
use hypervisor::tables::features::{Kind, WORDS};

#[path = "../examples/processor.rs"]
#[expect(dead_code, reason = "its main is for the example")]
mod processor;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust source below a folder.
fn source(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder of source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &source(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path).expect("source");
        }
    }
    text
}

#[test]
fn the_document_is_what_the_tables_say() {
    let text = fs::read_to_string(root().join("docs/processor.md")).expect("docs/processor.md");
    assert!(text == processor::document(), "docs/processor.md is old: run 'cargo xtask check --fix'");
}

#[test]
fn the_tests_that_are_named_exist() {
    let host = source(&root().join("hypervisor/src")) + &source(&root().join("machine"));
    for evidence in processor::evidence() {
        let found = match evidence {
            Evidence::Host(name) => {
                host.contains(&format!("#[test]\n    fn {name}(")) || host.contains(&format!("#[test]\nfn {name}("))
            }
            Evidence::Guest(guest, function) => {
                source(&root().join("guests").join(guest).join("src")).contains(&format!("fn {function}("))
            }
        };
        assert!(found, "there is no {evidence:?}");
    }
}

#[test]
fn each_feature_whose_instructions_run_has_one_that_is_executed() {
    let text = fs::read_to_string(root().join("guests/processor/src/instructions.rs")).expect("the guest's table");
    for word in WORDS {
        for feature in word.features.iter().filter(|feature| matches!(feature.kind, Kind::Runs)) {
            assert!(text.contains(&format!("\"{}\"", feature.name)), "no instruction of {}", feature.name);
        }
    }
}
