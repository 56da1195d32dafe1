//! The command line.

mod migrate;
mod output;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{CommandFactory, Parser, Subcommand};

use crate::host::{self, target};
use crate::link::{Link, PATIENCE};
use crate::migration::records::{FOLDER, Files, LOCKS};
use crate::migration::target::Receiver;
use crate::xen::worker;

/// Guests of a Paravane host, above the stock Xen tools.
#[derive(Parser, Debug)]
#[command(name = "paravane", version, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Migrate(migrate::Migrate),
    /// Receive a guest; 'migrate' starts this at the target
    #[command(hide = true)]
    Receive,
    /// Call the Xen libraries; other commands start this
    #[command(hide = true)]
    Worker,
    /// Watch a guest until it ends, as 'xl' does; other commands start this
    #[command(hide = true)]
    Watch {
        /// The domain
        domain: u32,
    },
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages to a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        folder: std::path::PathBuf,
    },
}

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Verb::Migrate(migrate) => return migrate.execute(),
        Verb::Receive => receive(),
        Verb::Worker => worker::serve(),
        Verb::Watch { domain } => host::watch::watch(domain),
        Verb::Completion { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "paravane", &mut std::io::stdout());
            Ok(())
        }
        Verb::Manual { folder } => clap_mangen::generate_to(Arguments::command(), folder).map_err(Into::into),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paravane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves a `paravane` of another host on standard input and output.
fn receive() -> Result<()> {
    let (input, output) = (std::io::stdin(), std::io::stdout());
    ensure!(
        !input.is_terminal() && !output.is_terminal(),
        "'paravane receive' is started by 'paravane migrate' at another host"
    );
    let descriptors = (input.as_fd().try_clone_to_owned()?, output.as_fd().try_clone_to_owned()?);
    let mut link = Link::new(descriptors.0, descriptors.1, PATIENCE, ())?;
    let mut records = records()?;
    let left = records.clone();
    let mut target = target::Local::new()?;
    Receiver { target: &mut target, records: &mut records, left: &left, link: &mut link, sockets: Path::new(LOCKS) }
        .serve(host::hello()?)
}

/// The records of this host.
fn records() -> Result<Files> {
    Files::open(Path::new(FOLDER), Path::new(LOCKS))
}
