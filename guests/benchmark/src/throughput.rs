//! Throughput of all processors together.

use std::ffi::CString;
use std::thread;
use std::time::{Duration, Instant};

use crate::system::{self, Child, Mapping};
use crate::{NOTHING, PROGRAM};

/// Duration of each operation in a round.
const TIME: Duration = Duration::from_secs(4);
/// Number of rounds, in each of which the operations run in turn.
const ROUNDS: u32 = 3;
/// Number of pages that are touched between two reads of the clock.
const PAGES: usize = 16;

/// Prints for each round the number of programs started, and of pages touched for the first time,
/// per second.
pub(crate) fn print() {
    for round in 1..=ROUNDS {
        println!("rate {round} exec {:.1}", rate(start));
        println!("rate {round} fault {:.1}", PAGES as f64 * rate(|| Mapping::anonymous(PAGES).touch()));
    }
}

/// Runs the operation in one process per processor.
fn rate(operation: fn()) -> f64 {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let (results, result) = system::pipe();
    let start = Instant::now();
    let work = || {
        let mut count = 0u64;
        while start.elapsed() < TIME {
            operation();
            count += 1;
        }
        system::write(result, &count.to_ne_bytes());
    };
    let children: Vec<Child> = (0..processors).map(|_| Child::new(work)).collect();
    let mut sum = 0;
    for _ in &children {
        let mut count = [0; 8];
        system::read(results, &mut count);
        sum += u64::from_ne_bytes(count);
    }
    drop(children);
    let rate = sum as f64 / start.elapsed().as_secs_f64();
    system::close(results);
    system::close(result);
    rate
}

fn start() {
    let [program, argument] = [PROGRAM, NOTHING].map(|text| CString::new(text).expect("no zero in it"));
    drop(Child::new(|| system::execute(&program, &argument)));
}
