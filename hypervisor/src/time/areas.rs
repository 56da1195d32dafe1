//! Areas of guest memory, registered by virtual address, into which a vCPU's time information and
//! runstate are copied.

use alloc::sync::Arc;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use abi::vcpu::{RunstateInfo, runstate_flag};
use abi::xen::{VcpuTimeInfo, vm_assist};
use machine::addr::GuestVirt;
use machine::context::Active;
use machine::guest_memory::Fault;

use super::clock;
use super::vcpu::VcpuTime;
use crate::domain::{Domain, Vcpu};

/// The areas that a vCPU has registered.
pub(super) struct Areas {
    runstate: Option<GuestVirt>,
    time: Option<GuestVirt>,
    /// The time area has not been written since it was registered.
    time_due: bool,
}

impl Areas {
    pub(super) const fn new() -> Self {
        Self { runstate: None, time: None, time_due: false }
    }
}

impl VcpuTime {
    /// The next even version of the vCPU's time information.
    pub(super) fn next_version(&self) -> u32 {
        self.version.fetch_add(2, Ordering::Relaxed).wrapping_add(2)
    }

    /// Registers an area for the runstate. Address zero unregisters it.
    pub(crate) fn set_runstate_area(&self, address: GuestVirt) {
        self.areas.lock().runstate = Some(address).filter(|address| address.get() != 0);
    }

    /// Registers an area for a copy of the time information. Address zero unregisters it.
    pub(crate) fn set_time_area(&self, address: GuestVirt) {
        let mut areas = self.areas.lock();
        areas.time = Some(address).filter(|address| address.get() != 0);
        areas.time_due = areas.time.is_some();
    }
}

/// Updates the vCPU's areas, after it has been loaded on this pCPU and before it runs.
pub(crate) fn refresh(vcpu: &Arc<Vcpu>, active: &mut Active) {
    let areas = vcpu.time.areas.lock();
    let (runstate, time) = (areas.runstate, areas.time.filter(|_| areas.time_due));
    drop(areas);
    if runstate.is_none() && time.is_none() {
        return;
    }
    in_kernel(active, |active| {
        if let Some(address) = runstate {
            write_runstate(vcpu, active, address);
        }
        // If the area is not mapped, the write is retried the next time.
        if let Some(address) = time
            && write_time(vcpu, active, address).is_ok()
        {
            let mut areas = vcpu.time.areas.lock();
            if areas.time == Some(address) {
                areas.time_due = false;
            }
        }
    });
}

/// Writes to the vCPU's runstate area that it no longer runs, before it is taken off this pCPU.
pub(crate) fn before_park(vcpu: &Arc<Vcpu>, active: &mut Active) {
    let address = vcpu.time.areas.lock().runstate;
    if let Some(address) = address {
        crate::scheduler::note_leaving(vcpu);
        in_kernel(active, |active| write_runstate(vcpu, active, address));
    }
}

/// Runs `act` with the kernel's root table, since the registered addresses may be unmapped in user
/// mode.
fn in_kernel(active: &mut Active, act: impl FnOnce(&mut Active)) {
    let user = !active.context().is_in_kernel();
    if user {
        active.enter_kernel();
    }
    act(active);
    if user {
        active.enter_user();
    }
}

/// Writes a vCPU's runstate to its area. Does nothing if the area is not mapped.
pub(crate) fn write_runstate(vcpu: &Vcpu, active: &Active, address: GuestVirt) {
    let flagged = vcpu.domain().is_some_and(|domain| has_update_flag(&domain));
    // A guest that unmaps its area only loses its own copy.
    let _ = try_write_runstate(&vcpu.scheduling.runstate_at_entry(), active, address, flagged);
}

fn has_update_flag(domain: &Domain) -> bool {
    domain.has_assist(vm_assist::RUNSTATE_UPDATE_FLAG)
}

fn try_write_runstate(info: &RunstateInfo, active: &Active, address: GuestVirt, flagged: bool) -> Result<(), Fault> {
    if !flagged {
        return active.write(address, info);
    }
    // The flag is the top bit of the entry time. It is set before the other fields change and
    // cleared afterwards.
    let entry = address.offset(offset_of!(RunstateInfo, state_entry_time) as u64);
    let busy = info.state_entry_time | runstate_flag::UPDATE;
    active.write(entry, &busy)?;
    active.write(address, &RunstateInfo { state_entry_time: busy, ..*info })?;
    active.write(entry, &info.state_entry_time)
}

/// Writes a vCPU's time information to the area that it has registered.
pub(crate) fn write_time(vcpu: &Vcpu, active: &Active, address: GuestVirt) -> Result<(), Fault> {
    let info = clock::present_info(vcpu.time.next_version());
    let version = address.offset(offset_of!(VcpuTimeInfo, version) as u64);
    active.write(version, &(info.version | 1))?;
    active.write(address, &VcpuTimeInfo { version: info.version | 1, ..info })?;
    active.write(version, &info.version)
}
