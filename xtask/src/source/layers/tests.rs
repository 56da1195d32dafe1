//! Small source trees, each with one fault.

use std::fs;
use std::path::Path;

use super::{data, findings, read, svg, text};

/// A workspace with the crate `core`: its `layers.txt`, and files by name below `core/src`.
fn workspace(layers: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("layers.txt"), layers).expect("layers.txt");
    for (name, text) in files {
        let path = folder.path().join("core/src").join(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

const LAYERS: &str = "[core]\ntop: table\nmiddle: console timer\nbottom: memory\n";

const ROOT: (&str, &str) = (
    "lib.rs",
    "pub mod console;\npub mod memory;\npub mod table;\npub mod timer;\n#[cfg(test)]\nmod testing;\n\
     pub use table::run as main;\npub use machine::time as clock;\n",
);

const CLEAN: [(&str, &str); 5] = [
    ROOT,
    ("table.rs", "use crate::{console::Console, memory as m, timer};\n"),
    ("console.rs", "use crate::clock;\n#[cfg(test)]\nmod tests { use crate::table; }\n"),
    ("timer/mod.rs", "mod queue;\nfn f() { crate::memory::f() }\n"),
    ("timer/queue.rs", "use super::super::memory;\nuse super::f;\n"),
];

/// Findings about the clean tree with some files replaced or added.
fn found(layers: &str, changed: &[(&str, &str)]) -> Vec<String> {
    let unchanged = CLEAN.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    let memory = [("memory.rs", "")];
    let files: Vec<(&str, &str)> = memory.iter().chain(unchanged).chain(changed).copied().collect();
    findings(&read(workspace(layers, &files).path()).expect("a readable tree"))
}

#[test]
fn a_tree_that_keeps_to_its_layers_passes() {
    assert_eq!(found(LAYERS, &[]), [""; 0]);
}

#[test]
fn a_climbing_use_is_found_with_its_place() {
    for (text, line) in [
        ("\nuse crate::timer::f;\n", 2),
        ("fn f() {\n\n crate::timer::f() }\n", 3),
        ("fn f() { log!(\"{}\",\n crate::timer::f()) }\n", 2),
        ("mod a { use super::super::timer; }\n", 1),
        ("use crate::{self as root, timer as t};\n", 1),
    ] {
        let found = found(LAYERS, &[("memory.rs", text)]);
        let start = format!("core/src/memory.rs:{line}: memory uses timer: the layer 'middle' is above 'bottom'");
        assert!(matches!(&*found, [finding] if finding.starts_with(&start)), "{text}: {found:?}");
    }
}

#[test]
fn a_use_through_a_reexport_of_the_root_is_followed() {
    let found = found(LAYERS, &[("memory.rs", "use crate::main;\n")]);
    assert!(matches!(&*found, [finding] if finding.contains("memory uses table")), "{found:?}");
}

#[test]
fn a_use_of_the_root_is_found() {
    let found = found(LAYERS, &[("memory.rs", "use crate::Item;\n")]);
    assert!(matches!(&*found, [finding] if finding.contains("memory uses crate root")), "{found:?}");
}

#[test]
fn a_use_within_a_layer_is_found() {
    let found = found(LAYERS, &[("console.rs", "use super::timer;\n")]);
    let start = "core/src/console.rs:1: console uses timer: both are in the layer 'middle'";
    assert!(matches!(&*found, [finding] if finding.starts_with(start)), "{found:?}");
}

#[test]
fn a_module_that_no_layer_names_is_found() {
    let found = found("[core]\ntop: table\nmiddle: console\nbottom: memory\n", &[]);
    let start = "core/src/lib.rs:4: no layer names the module timer";
    assert!(matches!(&*found, [finding] if finding.starts_with(start)), "{found:?}");
}

#[test]
fn a_layer_that_names_no_module_is_found() {
    let found = found(&LAYERS.replace("memory", "memory pages"), &[]);
    let start = "layers.txt:4: core has no module pages";
    assert!(matches!(&*found, [finding] if finding.starts_with(start)), "{found:?}");
}

#[test]
fn an_exception_is_honoured_while_it_is_needed() {
    let upward = [("memory.rs", "use crate::timer;\n")];
    let layers = format!("{LAYERS}except memory -> timer: to be cut\n");
    assert_eq!(found(&layers, &upward), [""; 0]);
    let unneeded = found(&layers, &[]);
    let start = "layers.txt:5: this exception is not needed: memory does not use timer";
    assert!(matches!(&*unneeded, [finding] if finding.starts_with(start)), "{unneeded:?}");
    let downward = found(&format!("{LAYERS}except table -> timer: to be cut\n"), &[]);
    assert!(matches!(&*downward, [finding] if finding.contains("table -> timer runs down")), "{downward:?}");
}

#[test]
fn the_hub_may_use_what_is_above_it() {
    let upward = [("memory.rs", "use crate::timer;\n")];
    assert_eq!(found(&format!("{LAYERS}hub memory -> timer: its fields\n"), &upward), [""; 0]);
    let unneeded = found(&format!("{LAYERS}hub memory -> timer table: its fields\n"), &upward);
    assert!(matches!(&*unneeded, [finding] if finding.contains("memory does not use table")), "{unneeded:?}");
}

#[test]
fn a_section_may_describe_the_modules_of_a_module() {
    let layers = format!("{LAYERS}[core::timer]\nonly: queue list\n");
    let found =
        found(&layers, &[("timer/mod.rs", "mod queue;\nmod list;\n"), ("timer/list.rs", "use super::queue;\n")]);
    let sideways = "core/src/timer/list.rs:1: list uses queue";
    assert!(found.iter().any(|finding| finding.starts_with(sideways)), "{found:?}");
    assert!(found.iter().any(|finding| finding.contains("queue uses crate root")), "{found:?}");
}

#[test]
fn a_use_through_a_seam_makes_no_arrow() {
    let layers = "[core]\ntop: bare hosted\nbottom: time\nseam backend: either back end supplies its modules\n";
    let files = [
        ("lib.rs", "mod time;\nmod bare;\nmod hosted;\nuse bare as backend;\nuse hosted as backend;\n"),
        ("time.rs", "pub use crate::backend::time::now;\nuse crate::hosted;\n"),
        ("bare.rs", "use crate::time;\n"),
        ("hosted.rs", "use crate::time;\n"),
    ];
    let through = findings(&read(workspace(layers, &files).path()).expect("a readable tree"));
    let start = "core/src/time.rs:2: time uses hosted";
    assert!(matches!(&*through, [finding] if finding.starts_with(start)), "{through:?}");
    let without = layers.split_once("seam").map_or("", |(before, _)| before);
    let without = findings(&read(workspace(without, &files).path()).expect("a readable tree"));
    assert_eq!(without.len(), 3, "the alias is followed to both: {without:?}");
}

#[test]
fn figures_count_upward_arrows_and_cycles() {
    let files = [("memory.rs", "use crate::timer;\n")];
    let files: Vec<_> = files.iter().chain(&CLEAN).copied().collect();
    let folder = workspace(&format!("{LAYERS}except memory -> timer: to be cut\n"), &files);
    let crates = read(folder.path()).expect("a readable tree");
    let last = "4 modules, 5 arrows, 1 upward, 1 cycles with 2 modules\n\n";
    assert!(text(&crates).ends_with(last), "{}", text(&crates));
    let data = data(&crates);
    assert_eq!(data[0]["cycles"], serde_json::json!([["memory", "timer"]]));
    let picture = svg(&crates);
    assert!(picture.contains("url(#exception)") && picture.contains(">memory</text>"), "{picture}");
}
