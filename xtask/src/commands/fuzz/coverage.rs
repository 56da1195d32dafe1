//! Coverage of the corpora by module: a folder or file directly below `src/` of `decompress`,
//! `hypervisor`, `machine` or `microcode`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tabled::builder::Builder;

use super::build::{self, Instrumentation, Target};
use super::{campaign, corpus};
use crate::artefacts::nightly;
use crate::foundation::progress::Step;
use crate::foundation::table::markdown;
use crate::foundation::{command, workspace};

/// The crates that are reported.
const CRATES: [&str; 4] = ["decompress", "hypervisor", "machine", "microcode"];
/// Modules that exist for tests only.
const NOT_COUNTED: [&str; 3] = ["hypervisor/testing", "machine/hosted", "microcode/samples"];

/// Lines of code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    reached: u64,
}

impl Lines {
    fn add(&mut self, other: Self) {
        self.all += other.all;
        self.reached += other.reached;
    }

    fn percent(self) -> String {
        format!("{:.0}%", self.reached as f64 * 100.0 / self.all.max(1) as f64)
    }
}

/// Runs each target over its corpora and returns the table.
pub(super) fn by_room(targets: &[&Target]) -> Result<String> {
    nightly::need(&["llvm-tools"])?;
    let tools = tools()?;
    let folder = tempfile::tempdir_in(workspace::made(workspace::target())?)?;
    let (mut programs, mut profiles) = (Vec::new(), Vec::new());
    for target in targets {
        let program = build::program(target, Instrumentation::Coverage)?;
        let profile = folder.path().join(format!("{}.profraw", target.name));
        let (working, kept) = corpus::folders(target)?;
        let _step = Step::start(format!("running the corpus of {}", target.name));
        let mut run = campaign::command(&program);
        run.arg("-runs=0").arg(&working).args(kept.is_dir().then_some(&kept));
        command::quiet(run.env("LLVM_PROFILE_FILE", &profile))?;
        programs.push(program);
        profiles.push(profile);
    }
    let merged = folder.path().join("merged.profdata");
    command::quiet(
        Command::new(tools.join("llvm-profdata")).args(["merge", "-sparse", "-o"]).arg(&merged).args(&profiles),
    )?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "-summary-only", "-instr-profile"]).arg(&merged);
    for (index, program) in programs.iter().enumerate() {
        if index != 0 {
            export.arg("-object");
        }
        export.arg(program);
    }
    let report: Value = serde_json::from_slice(&command::quiet(&mut export)?.stdout)?;
    Ok(table(&rooms(&report, workspace::root())?))
}

/// Where the toolchain has LLVM's tools.
fn tools() -> Result<PathBuf> {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", "nightly", "rustc", "--print", "target-libdir"]).env_remove("RUSTUP_TOOLCHAIN");
    let printed = String::from_utf8(command::quiet(&mut rustc)?.stdout)?;
    Ok(Path::new(printed.trim()).with_file_name("bin"))
}

/// The lines of each module, from the figures per file of `llvm-cov export`.
fn rooms(report: &Value, root: &Path) -> Result<BTreeMap<String, Lines>> {
    let files = report["data"][0]["files"].as_array().context("llvm-cov has exported no files")?;
    let mut rooms: BTreeMap<String, Lines> = BTreeMap::new();
    for file in files {
        let Some(room) = file["filename"].as_str().and_then(|name| room(Path::new(name), root)) else { continue };
        let count = |what: &str| file["summary"]["lines"][what].as_u64().unwrap_or(0);
        rooms.entry(room).or_default().add(Lines { all: count("count"), reached: count("covered") });
    }
    Ok(rooms)
}

/// The module that a file belongs to.
fn room(file: &Path, root: &Path) -> Option<String> {
    let mut parts = file.strip_prefix(root).ok()?.iter().map(|part| part.to_string_lossy());
    let name = parts.next().filter(|name| CRATES.contains(&name.as_ref()))?;
    let room = parts.nth(1)?;
    let room = format!("{name}/{}", room.trim_end_matches(".rs"));
    (!NOT_COUNTED.contains(&room.as_str())).then_some(room)
}

fn table(rooms: &BTreeMap<String, Lines>) -> String {
    let mut table = Builder::default();
    table.push_record(["room", "lines", "reached", "part"]);
    let mut all = Lines::default();
    let mut row = |name: &str, lines: Lines| {
        table.push_record([name.to_owned(), lines.all.to_string(), lines.reached.to_string(), lines.percent()]);
    };
    for (name, lines) in rooms {
        row(name, *lines);
        all.add(*lines);
    }
    row("all", all);
    markdown(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_in_their_rooms() {
        let file = |name: &str, count: u64, covered: u64| serde_json::json!({ "filename": name, "summary": { "lines": { "count": count, "covered": covered } } });
        let report = serde_json::json!({ "data": [{ "files": [
            file("/house/hypervisor/src/memory/mmuext/mod.rs", 10, 5),
            file("/house/hypervisor/src/memory/op/deep.rs", 30, 30),
            file("/house/machine/src/m2p.rs", 4, 1),
            file("/house/machine/src/hosted/ram.rs", 4, 4),
            file("/elsewhere/hypervisor/src/memory/mmuext/mod.rs", 4, 4),
            file("/house/abi/src/xen.rs", 4, 4),
        ] }] });
        let rooms = rooms(&report, Path::new("/house")).expect("a report");
        let names: Vec<&str> = rooms.keys().map(String::as_str).collect();
        assert_eq!(names, ["hypervisor/memory", "machine/m2p"]);
        assert_eq!(rooms["hypervisor/memory"], Lines { all: 40, reached: 35 });
        assert!(table(&rooms).contains("| all               |    44 |      36 |  82% |"), "{}", table(&rooms));
        assert!(super::rooms(&Value::Null, Path::new("/house")).is_err());
    }
}
