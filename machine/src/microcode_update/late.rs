//! An update of all CPUs while the host runs.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use microcode::{Date, Error, Processor, Rule, newest};

use super::{Image, Refusal, Unavailable, backend, load_here, revision};
use crate::addr::CpuId;
use crate::once::Once;
use crate::rendezvous::{self, Missed};
use crate::{boot, per_cpu};

/// An update that all CPUs have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// Its revision.
    pub revision: u32,
    /// Its date.
    pub date: Date,
    /// The lowest revision before.
    pub before: u32,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {:#x} of {} on all pCPUs, after {:#x}", self.revision, self.date, self.before)
    }
}

/// Why an update has not been loaded into all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotLoaded {
    /// No microcode can be loaded.
    Unavailable(Unavailable),
    /// The file has no update to be loaded.
    File(Error),
    /// There is no memory for a copy.
    NoMemory,
    /// Another update is being loaded.
    Busy,
    /// A CPU did not stop in time.
    Absent,
    /// This CPU refused it first, and no other has tried.
    Refused(CpuId, Refusal),
    /// Some CPUs have taken it, but this one, and possibly others, have not.
    Partial(CpuId, Refusal),
}

impl fmt::Display for NotLoaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => why.fmt(f),
            Self::File(why) => why.fmt(f),
            Self::NoMemory => f.write_str("no memory is free"),
            Self::Busy => f.write_str("another update is being loaded"),
            Self::Absent => f.write_str("a pCPU did not stop in time"),
            Self::Refused(cpu, why) => write!(f, "pCPU {} refuses it: {why}", cpu.number()),
            Self::Partial(cpu, why) => {
                write!(f, "pCPU {} refuses it ({why}), but others have it: restart the host", cpu.number())
            }
        }
    }
}

/// Loads the newest update in a file into all CPUs, which are stopped for that time. Calls
/// `between` after each update that the file contains.
///
/// # Errors
/// If the file has no update to be loaded, or a CPU has not taken it.
pub fn load_everywhere(file: &[u8], between: impl FnMut()) -> Result<Loaded, NotLoaded> {
    let mut processor = backend::identify().map_err(NotLoaded::Unavailable)?;
    processor.revision = lowest_revision(&processor);
    let rule = Rule { same: boot::options().microcode.same, late: true };
    let update = newest(file, &processor, rule, between).map_err(NotLoaded::File)?;
    let image = Image::new(&update, rule).ok_or(NotLoaded::NoMemory)?;
    let refused = Once::new();
    let taken = AtomicBool::new(false);
    let act = || match load_here(&processor, &image) {
        Ok(()) => taken.store(true, Ordering::Relaxed),
        Err(why) => {
            refused.get_or_set(|| (per_cpu::current(), why));
        }
    };
    let first = || {
        act();
        refused.try_get().is_none()
    };
    rendezvous::in_turn(first, &act).map_err(|missed| match missed {
        Missed::Busy => NotLoaded::Busy,
        Missed::Absent => NotLoaded::Absent,
    })?;
    match refused.try_get() {
        None => Ok(Loaded { revision: update.revision, date: update.date, before: processor.revision }),
        Some(&(cpu, why)) if !taken.load(Ordering::Relaxed) => Err(NotLoaded::Refused(cpu, why)),
        Some(&(cpu, why)) => Err(NotLoaded::Partial(cpu, why)),
    }
}

/// The lowest revision of all CPUs; they differ if an update was refused by some.
fn lowest_revision(processor: &Processor) -> u32 {
    let revisions = per_cpu::all_online().map(revision);
    revisions.fold(processor.revision, |low, other| if processor.is_newer(low, other) { other } else { low })
}
