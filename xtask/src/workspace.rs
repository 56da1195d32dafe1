//! Where things are: the root of the workspace, and the folders under `target/` that xtask writes to.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// `target/` of the workspace: images, caches and logs, whatever folder cargo itself builds in.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// `target/cache/NAME`, made if it is missing.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    made(target().join("cache").join(name))
}

/// Creates the folder and hands its path back.
pub(crate) fn made(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}
