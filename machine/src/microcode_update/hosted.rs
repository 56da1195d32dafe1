//! Simulated processors, which know the updates of `microcode::samples`: the revision is in the
//! data of Intel's and in the header of AMD's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use core::sync::atomic::Ordering;

use microcode::{Maker, Processor};

use super::{Refusal, Unavailable};
use crate::addr::CpuId;
use crate::boot::options::Microcode;
use crate::per_cpu;

/// The processors of a machine.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// What each of them is, with the revision before any update; or why they cannot be updated.
    pub processor: Result<Processor, Unavailable>,
    /// Threads of a core, which have consecutive numbers and share the revision.
    pub threads: usize,
    /// The CPU that refuses updates, and how: by a fault, or by a revision after loading.
    pub refusing: Option<(CpuId, Refusal)>,
}

/// The processors, the revisions of their cores, and the CPUs that have loaded something.
struct State {
    simulated: Simulated,
    revisions: Vec<u32>,
    loads: Vec<CpuId>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the machine have these processors, of which each has recorded its revision; without this,
/// they cannot be updated.
pub fn simulate(simulated: Simulated) {
    let revision = simulated.processor.map_or(0, |processor| processor.revision);
    for cpu in (0..).map_while(CpuId::new) {
        super::REVISIONS[cpu].store(revision, Ordering::Relaxed);
    }
    let revisions = std::vec![revision; crate::addr::MAX_CPUS];
    *lock() = Some(State { simulated, revisions, loads: Vec::new() });
}

/// Loads an update as at boot, from these modules; once per process.
pub fn boot(modules: &[&[u8]], options: &Microcode) -> bool {
    super::early::boot(modules, options)
}

/// The CPUs that have been told to load an update, in order.
pub fn loads() -> Vec<CpuId> {
    lock().as_ref().map_or_else(Vec::new, |state| state.loads.clone())
}

impl State {
    fn core(&self) -> usize {
        per_cpu::current().index() / self.simulated.threads
    }
}

pub(super) fn maker() -> Option<Maker> {
    let state = lock();
    match state.as_ref()?.simulated.processor {
        Ok(processor) => Some(processor.maker),
        Err(Unavailable::OuterHypervisor) => Some(Maker::Intel),
        Err(Unavailable::UnknownProcessor) => None,
    }
}

pub(super) fn identify() -> Result<Processor, Unavailable> {
    let state = lock();
    let state = state.as_ref().ok_or(Unavailable::UnknownProcessor)?;
    Ok(Processor { revision: state.revisions[state.core()], ..state.simulated.processor? })
}

pub(super) fn revision(_: Maker) -> u32 {
    lock().as_ref().map_or(0, |state| state.revisions[state.core()])
}

pub(super) fn load(maker: Maker, image: &[u8]) -> bool {
    assert!(image.as_ptr().addr().is_multiple_of(16), "processors require this alignment");
    let mut state = lock();
    let Some(state) = state.as_mut() else { return false };
    let here = per_cpu::current();
    state.loads.push(here);
    let place = if maker == Maker::Intel { 0 } else { 4 };
    let revision = image[place..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
    let core = state.core();
    match state.simulated.refusing {
        Some((cpu, Refusal::Fault)) if cpu == here => return false,
        Some((cpu, Refusal::Revision(other))) if cpu == here => state.revisions[core] = other,
        _ => state.revisions[core] = revision,
    }
    true
}
