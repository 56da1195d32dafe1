//! The files of the workspace that git tracks or would track.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::foundation::command;

/// A text file of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    /// Relative to the workspace root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl TextFile {
    /// The file name's extension, or nothing.
    pub(crate) fn extension(&self) -> &str {
        self.path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }
}

/// Reads the files that match one of git's `patterns`, such as `*.rs`.
pub(crate) fn matching(workspace: &Path, patterns: &[&str]) -> Result<Vec<TextFile>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "--"];
    let output = command::quiet(Command::new("git").args(list).args(patterns).current_dir(workspace))?;
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    // A file that git knows may have been deleted.
    let read = |name: &str| fs::read_to_string(workspace.join(name)).ok().map(|text| (name.into(), text));
    Ok(names.lines().filter_map(read).map(|(path, text)| TextFile { path, text }).collect())
}
