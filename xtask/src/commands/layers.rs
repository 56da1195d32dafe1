//! `cargo xtask layers`: the layers of the crates with their arrows and figures.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::foundation::workspace;
use crate::source::layers;

/// Options of `layers`.
#[derive(Args, Debug)]
pub(crate) struct Layers {
    /// Draw the layers into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the layers, arrows and figures as JSON
    #[arg(long)]
    json: bool,
}

impl Layers {
    /// Prints the layers, or draws them.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let crates = layers::read(workspace::root())?;
        if let Some(file) = &self.svg {
            fs::write(file, layers::svg(&crates)).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if self.json {
            println!("{:#}", layers::data(&crates));
        } else if self.svg.is_none() {
            print!("{}", layers::text(&crates));
        }
        Ok(ExitCode::SUCCESS)
    }
}
