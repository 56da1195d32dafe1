//! `cargo xtask`: the commands to build, run, test and check Paravane.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod artefacts;
mod commands;
mod debian;
mod foundation;
mod source;
mod virtual_machine;

use commands::{bench, boot_times, build, check, compare, fuzz, image, layers, miri, package, profile, run, test};
use debian::disk_image;
use foundation::terminal;
use virtual_machine::qemu;

/// Builds, runs, tests and checks Paravane
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the release image target/paravane, bootable by any Multiboot loader
    Build,
    /// Boot Paravane in QEMU with Debian as control domain and a guest: a shell, or one command
    #[command(
        after_help = "The command's output and status become those of 'run'; its input is empty. Example: cargo xtask run -- uname -r"
    )]
    Run(Box<run::Run>),
    /// Run host tests, test guests and stock kernels; the last line has the totals
    Test(test::Test),
    /// Build the Debian package target/paravane_VERSION_amd64.deb, with which Debian 12 boots on
    /// Paravane
    Package,
    /// Build target/paravane-disk.img: Debian 12 with the package and a demo guest, for BIOS and
    /// UEFI (as root)
    Image,
    /// Check format, unsafe code, layers of modules, words, generated files, dependencies and lints
    Check(check::Check),
    /// Show the layers of the crates, the arrows between their modules, and figures
    Layers(layers::Layers),
    /// Run the fuzz targets, for a time or a number of hypercalls, or show their coverage
    Fuzz(Box<fuzz::Fuzz>),
    /// Run the host tests under Miri
    Miri(miri::Miri),
    /// Compare boot times on Paravane and on Debian's Xen
    BootTimes(Box<boot_times::BootTimes>),
    /// Compare the times of a scenario's steps in the control domain on Paravane and on Debian's
    /// Xen
    Compare(Box<compare::Compare>),
    /// Compare the cost of operations on the bare machine, on Debian's Xen and on Paravane, in
    /// instructions
    Bench(bench::Bench),
    /// Show where Paravane spends its instructions in a row of the benchmark
    Profile(profile::Profile),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let handler = ctrlc::set_handler(|| {
        terminal::restore();
        qemu::end_all();
        disk_image::detach_all();
        std::process::exit(130);
    });
    if let Err(error) = handler {
        eprintln!("warning: an interruption may leave QEMU or a mounted image behind: {error}");
    }
    let result = match arguments.command {
        Command::Build => build::execute(),
        Command::Package => package::execute(),
        Command::Image => image::execute(),
        Command::Run(run) => run.execute(),
        Command::Test(test) => test.execute(),
        Command::Check(check) => check.execute(),
        Command::Layers(layers) => layers.execute(),
        Command::Fuzz(fuzz) => fuzz.execute(),
        Command::Miri(miri) => miri.execute(),
        Command::BootTimes(times) => times.execute(),
        Command::Compare(compare) => compare.execute(),
        Command::Bench(bench) => bench.execute(),
        Command::Profile(profile) => profile.execute(),
    };
    result.unwrap_or_else(|error| {
        terminal::restore();
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
