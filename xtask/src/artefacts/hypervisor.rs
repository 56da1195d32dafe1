//! The release image of the hypervisor, at `target/paravane`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artefacts::{returns, symbols, toolchain};
use crate::foundation::cargo;
use crate::foundation::workspace;

/// Indirect calls and jumps, and returns, go through thunks of the assembly. The core library must
/// be compiled like this too. Calls of `memcpy` are direct with `-Zplt`. Stable Rust has no options
/// for that yet, so the build permits unstable ones.
const THROUGH_THUNKS: [&str; 3] = [
    "-Zbuild-std=core,alloc",
    "--config",
    r#"target.x86_64-unknown-none.rustflags = ["-Zretpoline", "-Zretpoline-external-thunk", "-Zplt=yes",
        "-Zfunction-return=thunk-extern"]"#,
];

/// Builds the image and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    toolchain::need_target(toolchain::BARE)?;
    toolchain::need_sources()?;
    let programs = cargo::artifacts(
        Command::new(cargo::program())
            .args(["build", "--release", "--package", "image", "--target", toolchain::BARE])
            .args(THROUGH_THUNKS)
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(workspace::root()),
    )?;
    let [built] = programs.as_slice() else { bail!("the package image should make one program") };
    let image = workspace::made(workspace::target())?.join("paravane");
    // Rename into place, so that a machine booting the old image never sees a partial file.
    let fresh = image.with_extension("new");
    fs::copy(built, &fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
    returns::embed(&fresh)?;
    symbols::embed(&fresh)?;
    fs::rename(&fresh, &image)?;
    Ok(image)
}
