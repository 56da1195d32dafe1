//! What the fuzz targets share: how they are told what to do, and how they report hypercalls to
//! `cargo xtask fuzz`.

use std::env;
use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hypervisor::testing::{Recount, calls};

/// Names the file that the number of hypercalls made so far is written to.
const CALLS_FILE: &str = "FUZZ_CALLS_FILE";
/// If set, the frame table is recounted after each step.
const EACH_STEP: &str = "FUZZ_EACH_STEP";
/// Calls between two writes of the file.
const INTERVAL: u64 = 1 << 10;

/// When the frame table is recounted; and no log is written unless each step is looked at.
pub fn recount() -> Recount {
    static WHEN: OnceLock<Recount> = OnceLock::new();
    *WHEN.get_or_init(|| {
        if env::var_os(EACH_STEP).is_some() {
            return Recount::EachStep;
        }
        hypervisor::testing::start_machine();
        quiet();
        Recount::AtEnd
    })
}

/// Lets the hypervisor's log be dropped before it is formatted.
pub fn quiet() {
    log::set_max_level(log::LevelFilter::Off);
}

/// Writes how many hypercalls the targets have made to the file that the caller of the process has
/// named.
pub fn note_calls() {
    static FILE: OnceLock<Option<String>> = OnceLock::new();
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let Some(file) = FILE.get_or_init(|| env::var(CALLS_FILE).ok()) else { return };
    let (made, written) = (calls(), WRITTEN.load(Ordering::Relaxed));
    if made - written >= INTERVAL {
        WRITTEN.store(made, Ordering::Relaxed);
        fs::write(file, made.to_string()).expect("the file can be written");
    }
}
