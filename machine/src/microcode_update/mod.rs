//! Loading microcode into the processors: early, from a boot module, and late, for the control
//! domain.
//!
//! The boot CPU loads an update before any decision is based on its features. Each other CPU loads
//! the same update when it starts, one CPU at a time. A late update is loaded by all CPUs in turn,
//! while the others wait with interrupts off (`rendezvous`).
//!
//! Threads of one core share what an update changes, so only the first of them has to load it. That
//! is not decided by topology: on Intel's processors, a CPU whose revision is the update's already
//! does not load it again. On AMD's, an update may also change the thread that loads it, so every
//! thread does, as under Linux and Xen.
//!
//! A processor verifies an update itself. If it refuses one, by a fault or by keeping its revision,
//! nothing has changed, and other CPUs do not try. An outer hypervisor is responsible for the
//! microcode of a virtual machine, which never loads any.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;
#[allow(clippy::disallowed_methods, clippy::indexing_slicing, reason = "no guest runs yet")]
mod early;
mod image;
mod late;
#[cfg(test)]
mod tests;

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use microcode::{Maker, Processor};

use crate::addr::{CpuId, MAX_CPUS, PerCpu};
use crate::per_cpu;
#[cfg(not(target_os = "none"))]
pub use backend::{Simulated, boot, loads, simulate};
#[cfg(target_os = "none")]
pub(crate) use early::load_at_boot;
pub(crate) use early::{load_at_start, report};
use image::Image;
pub use late::{Loaded, NotLoaded, load_everywhere};
pub use microcode::Error as FileError;

/// The revision of each CPU after its last update.
static REVISIONS: PerCpu<AtomicU32> = PerCpu::new([const { AtomicU32::new(0) }; MAX_CPUS]);

/// The revision of a CPU's microcode; zero if it is not known.
pub fn revision(cpu: CpuId) -> u32 {
    REVISIONS[cpu].load(Ordering::Relaxed)
}

/// Signature (EAX of CPUID leaf 1) and platform bit of the processors; the latter is zero if it is
/// not known.
pub fn identity() -> (u32, u32) {
    match backend::identify() {
        Ok(processor) => (processor.signature, processor.platform),
        Err(_) => (crate::processor::cpuid(1, 0)[0], 0),
    }
}

/// Whether microcode can be loaded.
///
/// # Errors
/// If it cannot.
pub fn available() -> Result<(), Unavailable> {
    backend::identify().map(drop)
}

/// Why no microcode can be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// An outer hypervisor is responsible for it.
    OuterHypervisor,
    /// The format of the processor's maker is not known.
    UnknownProcessor,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OuterHypervisor => "an outer hypervisor is responsible for the microcode",
            Self::UnknownProcessor => "there is no known format for this processor",
        })
    }
}

/// Why a processor has not taken an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Loading it was a general protection fault.
    Fault,
    /// The processor has this revision afterwards.
    Revision(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault => f.write_str("general protection fault"),
            Self::Revision(revision) => write!(f, "its revision is {revision:#x}"),
        }
    }
}

/// Records this CPU's revision.
fn note(revision: u32) {
    REVISIONS[per_cpu::current()].store(revision, Ordering::Relaxed);
}

/// Loads an update into this CPU, unless it has it already. Takes no lock.
fn load_here(processor: &Processor, image: &Image) -> Result<(), Refusal> {
    let maker = processor.maker;
    let before = backend::revision(maker);
    let newer = processor.is_newer(image.revision(), before);
    let again = before == image.revision() && (image.is_for_same() || maker == Maker::Amd);
    if !newer && !again {
        note(before);
        return Ok(());
    }
    let taken = backend::load(maker, image.as_slice());
    let after = backend::revision(maker);
    note(after);
    match taken {
        false => Err(Refusal::Fault),
        true if after == image.revision() => Ok(()),
        true => Err(Refusal::Revision(after)),
    }
}
