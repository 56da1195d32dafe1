//! Common code of the fuzz targets: their settings, and the count of hypercalls for `cargo xtask
//! fuzz`.

use std::env;
use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hypervisor::testing::{Recount, calls};

/// Name of the file to which the number of hypercalls made so far is written.
const CALLS_FILE: &str = "FUZZ_CALLS_FILE";
/// If set, the frame table is recounted after each step.
const EACH_STEP: &str = "FUZZ_EACH_STEP";
/// Number of calls between two writes of the file.
const INTERVAL: u64 = 1 << 10;

/// When the frame table is recounted. Logging is disabled unless it is recounted after each step.
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

/// Disables the hypervisor's log before messages are formatted.
pub fn quiet() {
    log::set_max_level(log::LevelFilter::Off);
}

/// Writes the number of hypercalls made by the targets to the file that the parent process has
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
