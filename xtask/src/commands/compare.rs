//! `cargo xtask compare`: runs the same scenario on Paravane and on another hypervisor, with the
//! same disk and QEMU, and prints the times of each step side by side.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tabled::builder::Builder;

use crate::commands::bench;
use crate::debian::control_disk::Disk;
use crate::foundation::table::markdown;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::control_domain::Script;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine::Hardware;

/// Options of `compare`.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    #[command(flatten)]
    hardware: Hardware,
    /// The scenario: one of the names that 'test --control-domain' prints
    #[arg(long, value_name = "NAME", default_value = "life")]
    scenario: String,
    /// Compare with this Multiboot hypervisor: a file, or 'xen' (Debian's)
    #[arg(long, value_name = "FILE", default_value = "xen")]
    hypervisor: String,
    /// Number of runs of each, in turn; the shortest time of each step counts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Use the instruction count of a single CPU as the guest's clock, so that other load on the
    /// host does not show
    #[arg(long, conflicts_with = "cpus")]
    counted: bool,
    /// Write the figures for scripts: objects with step, host, wall and guest (seconds)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured besides the scenario's own steps.
const BOOT: &str = "boot of the control domain";
const END: &str = "power-off";

/// A step's time on one hypervisor.
#[derive(Clone, Debug)]
struct Time {
    step: String,
    wall: Duration,
    /// By the control domain's clock, where it is running.
    guest: Option<Duration>,
}

impl Compare {
    /// Runs the scenario on both in turn and prints the table.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let script = Script::named(&self.scenario).with_context(|| format!("no scenario '{}'", self.scenario))?;
        let (accelerator, reason) = if self.counted {
            (Accelerator::Tcg, "it counts instructions".into())
        } else {
            self.hardware.choose_accelerator()?
        };
        eprintln!("using {accelerator}: {reason}");
        let hosts = [("paravane", Host::named(None)?), ("xen", Host::named(Some(&self.hypervisor))?)];
        let disk = script.disk()?;
        let mut best = [Vec::new(), Vec::new()];
        for round in 1..=self.rounds {
            // In turn, so that other load on the host affects both alike.
            for ((name, host), best) in hosts.iter().zip(&mut best) {
                let times = self.run(script, host, accelerator, &disk, name).with_context(|| format!("on {name}"))?;
                let sum: Duration = times.iter().map(|time| time.wall).sum();
                eprintln!("round {round}, {name}: {:.1} s", sum.as_secs_f64());
                keep_least(best, times)?;
            }
        }
        let names = [hosts[0].0, hosts[1].0];
        if let Some(file) = &self.json {
            fs::write(file, to_json(names, &best)?).with_context(|| format!("cannot write {}", file.display()))?;
        }
        println!("{}", table(names, &best));
        Ok(ExitCode::SUCCESS)
    }

    fn run(
        &self,
        script: &Script,
        host: &Host,
        accelerator: Accelerator,
        disk: &Disk,
        name: &str,
    ) -> Result<Vec<Time>> {
        let mut hardware = self.hardware.clone();
        hardware.host_append = format!("{} {}", bench::UNDEFENDED, hardware.host_append);
        if self.counted {
            hardware.cpus = Some(1);
            hardware.arguments.extend(bench::COUNTED.map(String::from));
        }
        let scenario = script.scenario(false)?;
        let mut machines = script.boot(&scenario, &hardware, (host, accelerator), disk, ("compare-logs", name))?;
        let mut times = Vec::new();
        let mut last = Duration::ZERO;
        let mut failed = None;
        scenario.follow(&mut machines, |answer| {
            if let Some(complaint) = answer.complaint() {
                failed.get_or_insert_with(|| format!("{}: {complaint}", answer.name));
            }
            last = answer.ended;
            times.push(Time { step: answer.name.clone(), wall: answer.wall, guest: Some(answer.guest) });
        })?;
        ensure!(failed.is_none(), "{}", failed.unwrap_or_default());
        let sessions = || machines.iter().map(|machine| &machine.session);
        let ready = sessions().flat_map(|session| session.guests().values()).filter_map(|guest| guest.ready);
        let boot = ready.max().context("the control domain did not say that it is up")?;
        times.insert(0, Time { step: BOOT.into(), wall: boot, guest: None });
        let end = sessions().map(|session| session.elapsed()).max().unwrap_or_default();
        times.push(Time { step: END.into(), wall: end.saturating_sub(last), guest: None });
        Ok(times)
    }
}

/// Keeps the smaller of each step's times.
fn keep_least(best: &mut Vec<Time>, times: Vec<Time>) -> Result<()> {
    if best.is_empty() {
        *best = times;
        return Ok(());
    }
    ensure!(best.len() == times.len(), "another number of steps than in the round before");
    for (best, time) in best.iter_mut().zip(times) {
        best.wall = best.wall.min(time.wall);
        best.guest = best.guest.min(time.guest);
    }
    Ok(())
}

/// The table for people. The ratio is of guest times, where there are any; below 1 is faster than
/// the other hypervisor.
fn table(names: [&str; 2], times: &[Vec<Time>; 2]) -> String {
    let mut table = Builder::default();
    let heads = names.iter().flat_map(|name| [format!("{name}, wall"), format!("{name}, guest")]);
    table.push_record(["seconds".into()].into_iter().chain(heads).chain(["ratio".into()]));
    let seconds = |time: Duration| format!("{:.2}", time.as_secs_f64());
    let row = |step: &str, times: [(Duration, Option<Duration>); 2]| {
        let figures = times.iter().flat_map(|(wall, guest)| [seconds(*wall), guest.map_or_else(String::new, seconds)]);
        let [ours, theirs] = times.map(|(wall, guest)| guest.unwrap_or(wall).as_secs_f64());
        let ratio = format!("{:.2}", ours / theirs);
        [step.to_owned()].into_iter().chain(figures).chain([ratio]).collect::<Vec<_>>()
    };
    for (ours, theirs) in times[0].iter().zip(&times[1]) {
        table.push_record(row(&ours.step, [(ours.wall, ours.guest), (theirs.wall, theirs.guest)]));
    }
    let sums = times.each_ref().map(|times| {
        (times.iter().map(|time| time.wall).sum(), Some(times.iter().filter_map(|time| time.guest).sum()))
    });
    table.push_record(row("sum", sums));
    markdown(table)
}

/// The figures as JSON, for scripts.
fn to_json(names: [&str; 2], times: &[Vec<Time>; 2]) -> Result<String> {
    let list: Vec<Value> = names
        .iter()
        .zip(times)
        .flat_map(|(name, times)| {
            times.iter().map(move |time| {
                json!({ "step": time.step, "host": name, "wall": time.wall.as_secs_f64(),
                    "guest": time.guest.map(|guest| guest.as_secs_f64()) })
            })
        })
        .collect();
    Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(step: &str, wall: u64, guest: u64) -> Time {
        Time { step: step.into(), wall: Duration::from_secs(wall), guest: Some(Duration::from_secs(guest)) }
    }

    #[test]
    fn the_least_of_each_step_is_kept() {
        let mut best = Vec::new();
        keep_least(&mut best, vec![time("a", 4, 3), time("b", 2, 2)]).expect("the first round");
        keep_least(&mut best, vec![time("a", 5, 2), time("b", 1, 1)]).expect("the same steps");
        assert_eq!((best[0].wall.as_secs(), best[0].guest.map(|time| time.as_secs())), (4, Some(2)));
        assert_eq!(best[1].wall.as_secs(), 1);
        assert!(keep_least(&mut best, vec![time("a", 1, 1)]).is_err());
    }

    #[test]
    fn a_step_has_its_times_side_by_side() {
        let times = [vec![time("a", 4, 1)], vec![time("a", 3, 2)]];
        let table = table(["ours", "theirs"], &times);
        let row = table.lines().find(|line| line.starts_with("| a ")).expect("a row for the step");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1..7], ["a", "4.00", "1.00", "3.00", "2.00", "0.50"]);
        let json: Vec<Value> =
            serde_json::from_str(&to_json(["ours", "theirs"], &times).expect("plain")).expect("just written");
        assert_eq!(json[1]["guest"], 2.0);
    }
}
