//! `cargo xtask check`: what a tool can say about the source. Every check runs, then the verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::artefacts::toolchain;
use crate::foundation::progress::Step;
use crate::foundation::{cargo, command, tools, workspace};
use crate::source::layers;

mod source;

/// Options of `check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Format the source and write generated files anew before checking
    #[arg(long)]
    fix: bool,
}

/// Folders with a workspace of their own beside the main one.
const WORKSPACES: [&str; 3] = [".", "guests", "fuzz"];

/// Packages that also run on the bare machine.
const BARE: [&str; 4] = ["abi", "machine", "hypervisor", "image"];

/// What examples of `hypervisor` print is in the documents of their names.
const GENERATED: [&str; 4] = ["hypercalls", "limits", "options", "processor"];

/// A file longer than this is two files.
const LONGEST_FILE: usize = 800;

impl Check {
    /// Runs all checks.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let checks: [(&str, &dyn Fn() -> Result<()>); 7] = [
            ("format", &|| self.format()),
            ("lints", &lints),
            ("unsafe code", &unsafe_code),
            ("length of files", &lengths),
            ("layers", &|| self.layers()),
            ("generated files", &|| self.generated()),
            ("dependencies", &dependencies),
        ];
        let mut failed = 0;
        for (name, check) in checks {
            let step = Step::on_terminal(name);
            let result = check();
            drop(step);
            match result {
                Ok(()) => println!("ok: {name}"),
                Err(error) => {
                    failed += 1;
                    println!("FAILED: {name}: {error:#}");
                }
            }
        }
        println!("{} checks passed, {failed} failed", checks.len() - failed);
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn format(&self) -> Result<()> {
        toolchain::need_component("fmt", "rustfmt")?;
        for folder in workspaces() {
            let mut format = cargo(&folder, &["fmt", "--all"]);
            if !self.fix {
                format.arg("--check");
            }
            command::quiet(&mut format)?;
        }
        Ok(())
    }

    /// Modules keep to the layers of `layers.txt`, and the picture of them is up to date.
    fn layers(&self) -> Result<()> {
        let root = workspace::root();
        let crates = layers::read(root)?;
        let findings = layers::findings(&crates);
        ensure!(findings.is_empty(), "{} findings\n  {}", findings.len(), findings.join("\n  "));
        self.up_to_date(&root.join("docs/layers.svg"), layers::svg(&crates).as_bytes())
    }

    /// Fails if the file is not what was generated for it, or writes it with `--fix`.
    fn up_to_date(&self, file: &Path, generated: &[u8]) -> Result<()> {
        if self.fix {
            fs::write(file, generated).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let shown = file.display();
        let current = fs::read(file).with_context(|| format!("cannot read {shown}: run 'cargo xtask check --fix'"))?;
        ensure!(current == generated, "{shown} is out of date: run 'cargo xtask check --fix'");
        Ok(())
    }

    /// The generated documents are what their tables say.
    fn generated(&self) -> Result<()> {
        let root = workspace::root();
        for name in GENERATED {
            let run = ["run", "--quiet", "--package", "hypervisor", "--example", name];
            let output = command::quiet(&mut cargo(root, &run))?;
            let file = root.join("docs").join(name).with_extension("md");
            self.up_to_date(&file, &output.stdout)?;
        }
        Ok(())
    }
}

fn workspaces() -> impl Iterator<Item = PathBuf> {
    WORKSPACES.iter().map(|folder| workspace::root().join(folder)).filter(|folder| folder.join("Cargo.toml").exists())
}

fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo::program());
    command.args(arguments).current_dir(folder);
    command
}

/// Clippy for the host, for the bare machine, and for the test guests.
fn lints() -> Result<()> {
    toolchain::need_component("clippy", "clippy")?;
    toolchain::need_target(toolchain::BARE)?;
    let root = workspace::root();
    let strict = ["--", "-D", "warnings"];
    command::quiet(cargo(root, &["clippy", "--quiet", "--workspace", "--all-targets"]).args(strict))?;
    let bare = BARE.iter().flat_map(|package| ["--package", package]);
    command::quiet(cargo(root, &["clippy", "--quiet", "--target", toolchain::BARE]).args(bare).args(strict))?;
    let guests = root.join("guests");
    if guests.join("Cargo.toml").exists() {
        let target = workspace::made(workspace::target().join("guests"))?;
        let mut clippy = cargo(&guests, &["clippy", "--quiet", "--release"]);
        command::quiet(clippy.args(strict).env("CARGO_TARGET_DIR", target))?;
    }
    Ok(())
}

/// Unsafe code and assembly only where they may be, and each module that opts in says why.
fn unsafe_code() -> Result<()> {
    each_source(|path, text| {
        let code = source::code_only(text);
        let allowed = path.starts_with("machine") || path.starts_with("guests");
        let mut complaints = Vec::new();
        for word in ["unsafe", "asm", "global_asm", "naked_asm"] {
            if !allowed && source::has_word(&code, word) {
                complaints.push(format!("'{word}' outside machine/ and guests/"));
            }
        }
        let opted_in = source::attributes(text, "unsafe_code");
        if opted_in.iter().any(|attribute| !source::has_reason(attribute)) {
            complaints.push("allows unsafe code without a reason".into());
        }
        complaints
    })
}

fn lengths() -> Result<()> {
    each_source(|_, text| {
        let lines = text.lines().count();
        if lines > LONGEST_FILE { vec![format!("{lines} lines: no more than {LONGEST_FILE}")] } else { Vec::new() }
    })
}

/// Looks at every source file that git knows or would take, and fails with all complaints about them.
fn each_source(look: impl Fn(&Path, &str) -> Vec<String>) -> Result<()> {
    let root = workspace::root();
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs", "*.S", "*.s"];
    let output = command::quiet(Command::new("git").args(list).current_dir(root))?;
    let mut complaints = Vec::new();
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        let path = Path::new(name);
        // A file that git knows may have been deleted.
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        complaints.extend(look(path, &text).into_iter().map(|complaint| format!("\n  {name}: {complaint}")));
    }
    ensure!(complaints.is_empty(), "{}", complaints.concat());
    Ok(())
}

/// Licences, sources and versions of the crates that we use; known holes too where the list of them can be had.
fn dependencies() -> Result<()> {
    tools::need_cargo("deny", "cargo-deny")?;
    let root = workspace::root();
    command::quiet(&mut cargo(root, &["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))?;
    if command::quiet(&mut cargo(root, &["deny", "fetch", "db"])).is_err() {
        eprintln!("the list of known holes cannot be fetched, so dependencies were not checked against it");
        return Ok(());
    }
    command::quiet(&mut cargo(root, &["deny", "--log-level", "error", "check", "--disable-fetch", "advisories"]))?;
    Ok(())
}
