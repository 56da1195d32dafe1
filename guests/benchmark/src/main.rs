//! Measures the cost of operating-system work in a guest. `benchmark measure [ROW …]` prints `row
//! NAME TICKS` for each row, the minimum of several rounds. `benchmark steps [ROW …]` runs each row
//! between two marks, and waits at each mark for a line on the console, so that it can be observed
//! from outside. `once` does the same with fewer operations. `throughput` also waits for a line,
//! and prints `rate ROUND NAME OPERATIONS`, the operations per second of all processors together.
//! `serve` is the other end of the network rows. `log begin|round|end DOMID`, in the control
//! domain, acts on the log of dirty pages of a guest.

mod devices;
mod log_dirty;
mod meter;
mod rows;
mod system;
mod throughput;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode};

use meter::Meter;
use rows::{DEVICE_ROWS, LOGGED_ROWS, ROWS, Row};

/// Path of this program in the ramdisk.
const PROGRAM: &str = "/programs/benchmark";
/// The argument with which it exits immediately.
const NOTHING: &str = "nothing";
/// Number of rounds, whose minimum is printed.
const ROUNDS: u32 = 12;
/// Factor by which `steps` increases the number of operations of a row.
const STEPS: u32 = 5;

fn main() -> ExitCode {
    let start = system::ticks();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, wanted) = match arguments.split_first() {
        Some((task, wanted)) => (task.as_str(), wanted),
        None => ("", &[][..]),
    };
    let is_wanted = |row: &&Row| wanted.iter().any(|name| name == row.name);
    let rows: Vec<&Row> = match wanted {
        [] => ROWS.iter().collect(),
        _ => ROWS.iter().chain(DEVICE_ROWS).chain(LOGGED_ROWS).filter(is_wanted).collect(),
    };
    match task {
        NOTHING => {}
        "measure" => {
            // Counted from power-on.
            println!("row boot {start}");
            // Each row has a process of its own, because the cost of a fork depends on the history
            // of the process.
            for row in rows {
                let status = Command::new(PROGRAM).args(["row", row.name]).status();
                assert!(status.is_ok_and(|status| status.success()), "row {} failed", row.name);
            }
        }
        "row" => rows.iter().filter_map(|row| measure(row)).for_each(|line| println!("{line}")),
        "steps" | "once" => {
            let factor = if task == "once" { 1 } else { STEPS };
            let mut marks = marks();
            let mut mark = |text: String| {
                println!("{text}");
                marks.next();
            };
            step("none", (1, 1), |meter| meter.whole(|| ()), &mut mark);
            for row in rows {
                step(row.name, (row.times, factor), row.run, &mut mark);
            }
        }
        "throughput" => {
            println!("begin throughput");
            marks().next();
            throughput::print();
        }
        "serve" => devices::serve(),
        "log" => {
            let [operation, domain] = wanted else { return usage() };
            let Ok(domain) = domain.parse() else { return usage() };
            if let Err(error) = log_dirty::perform(operation, domain) {
                eprintln!("log {operation} of domain {domain}: {error}");
                return ExitCode::FAILURE;
            }
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: benchmark measure [ROW ...] | steps [ROW ...] | once [ROW ...] | throughput | serve | log begin|round|end \
         DOMID"
    );
    ExitCode::FAILURE
}

/// Lines on the console from the observer outside.
fn marks() -> impl Iterator {
    BufReader::new(File::open("/dev/console").expect("there is a console")).lines()
}

fn measure(row: &Row) -> Option<String> {
    // A long row includes clock ticks in every round.
    let rounds = if row.times == 1 { ROUNDS / 2 } else { ROUNDS };
    let least = (0..rounds)
        .filter_map(|_| {
            let mut meter = Meter::new(row.times);
            (row.run)(&mut meter);
            meter.each_took()
        })
        .min()?;
    Some(format!("row {} {least}", row.name))
}

/// Runs a row once to warm up, then between two marks.
fn step(name: &str, (times, factor): (u32, u32), run: fn(&mut Meter<'_>), mark: &mut impl FnMut(String)) {
    run(&mut Meter::new(times));
    let times = times * factor;
    run(&mut Meter::watched(times, &mut |what| mark(format!("{what} {name} {times}"))));
}
