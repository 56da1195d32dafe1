//! The corpora: all inputs that libFuzzer has found, under `target/fuzz/corpus/`, and a small
//! selection in the repository, in `fuzz/corpus/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::build::{self, Instrumentation, Target};
use super::campaign;
use crate::foundation::{command, workspace};

/// The folders with a target's inputs: the one that it writes to, and the repository's.
pub(super) fn folders(target: &Target) -> Result<(PathBuf, PathBuf)> {
    let working = workspace::made(workspace::target().join("fuzz/corpus").join(target.name))?;
    Ok((working, workspace::root().join("fuzz/corpus").join(target.name)))
}

/// Replaces the repository's corpus by few inputs that reach the same edges as all inputs together.
pub(super) fn minimise(target: &Target) -> Result<()> {
    let program = build::program(target, Instrumentation::Counters)?;
    let (working, kept) = folders(target)?;
    let fresh = tempfile::tempdir_in(workspace::target())?;
    let mut merge = campaign::command(&program);
    // The number of times that an edge was taken is ignored here.
    merge.args(["-set_cover_merge=1", "-use_counters=0"]).arg(fresh.path()).arg(&working);
    command::quiet(merge.args(kept.is_dir().then_some(&kept)))?;
    if kept.is_dir() {
        fs::remove_dir_all(&kept).with_context(|| format!("cannot remove {}", kept.display()))?;
    }
    workspace::made(kept.clone())?;
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(fresh.path())? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default();
        bytes += fs::copy(&path, kept.join(Path::new(name)))?;
        count += 1;
    }
    println!("{}: {count} inputs of {bytes} bytes", target.name);
    Ok(())
}
