//! Measures what operating-system work costs inside a guest: `benchmark measure [ROW …]` prints `row NAME TICKS` for each,
//! the least of some rounds; `benchmark steps [ROW …]` does each row once between two marks, and waits at each for a line on
//! the console, so that whoever watches from outside can look.

mod meter;
mod rows;
mod system;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use meter::Meter;
use rows::{ROWS, Row};

/// Where the ramdisk has this program.
const PROGRAM: &str = "/programs/benchmark";
/// The argument with which it does nothing.
const NOTHING: &str = "nothing";
/// The least of this many goes is what counts.
const ROUNDS: u32 = 12;
/// In steps, each row is done for about this many operations of its own batch size.
const STEPS: u32 = 5;

fn main() -> ExitCode {
    let start = system::ticks();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, wanted) = match arguments.split_first() {
        Some((task, wanted)) => (task.as_str(), wanted),
        None => ("", &[][..]),
    };
    let rows: Vec<&Row> =
        ROWS.iter().filter(|row| wanted.is_empty() || wanted.iter().any(|name| name == row.name)).collect();
    match task {
        NOTHING => {}
        "measure" => {
            // Counted from power-on.
            let mut lines = vec![format!("row boot {start}")];
            lines.extend(rows.iter().filter_map(|row| measure(row)));
            println!("{}", lines.join("\n"));
        }
        "steps" => {
            let console = File::open("/dev/console").expect("there is a console");
            let mut marks = BufReader::new(console).lines();
            let mut mark = |text: String| {
                println!("{text}");
                marks.next();
            };
            step("none", 1, |meter| meter.whole(|| ()), &mut mark);
            for row in rows {
                step(row.name, row.times, row.run, &mut mark);
            }
        }
        _ => {
            eprintln!("usage: benchmark measure [ROW ...] | steps [ROW ...]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(row: &Row) -> Option<String> {
    let least = (0..ROUNDS)
        .filter_map(|_| {
            let mut meter = Meter::new(row.times);
            (row.run)(&mut meter);
            meter.each_took()
        })
        .min()?;
    Some(format!("row {} {least}", row.name))
}

/// Does a row once to warm up, then between two marks.
fn step(name: &str, times: u32, run: fn(&mut Meter<'_>), mark: &mut impl FnMut(String)) {
    run(&mut Meter::new(times));
    let times = times * STEPS;
    run(&mut Meter::watched(times, &mut |what| mark(format!("{what} {name} {times}"))));
}
