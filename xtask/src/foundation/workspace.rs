//! Paths: the root of the workspace, and the folders under `target/` that xtask writes to.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

use anyhow::{Context, Result};

/// The folder with the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // `cargo run` sets this on each run; the folder may have moved since xtask was built.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&manifest).parent().map(Path::to_owned).unwrap_or_default()
    })
}

/// `target/` of the workspace: images, caches and logs, regardless of where cargo itself builds.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// `target/cache/NAME`, created if it is missing.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    made(target().join("cache").join(name))
}

/// Creates the folder and returns its path.
pub(crate) fn made(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}
