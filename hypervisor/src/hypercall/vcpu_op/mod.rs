//! `vcpu_op`: operations on a domain's vCPUs: start, stop, timers, shared memory areas.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::arch_x86_64::VcpuGuestContext;
use abi::errno::Errno;
use abi::vcpu::{
    RegisterRunstateMemoryArea, RegisterTimeMemoryArea, RegisterVcpuInfo, SetPeriodicTimer, SetSingleshotTimer, op,
    singleshot_timer,
};
use machine::addr::{GuestVirt, Mfn, PAGE_SIZE};
use machine::frames::{SharedPage, TypedRef, Writable};
use machine::paging::NoEntries;
use machine::time;

use crate::call::{CallError, CallResult, Caller, operations};
use crate::domain::{EndReason, InfoPlace, VCPU_INFO_SIZE, Vcpu, VcpuId};
use crate::lifecycle;
use crate::scheduler;
use crate::vcpu_context as state;

/// Cost of reading and applying a vCPU's state, in units of the budget.
const COST_OF_STATE: u32 = 96;
/// Cost of moving a `vcpu_info`, in units of the budget.
const COST_OF_PLACE: u32 = 32;

/// The shortest period of a periodic timer, in nanoseconds.
const MIN_PERIOD: u64 = 1_000_000;
/// The longest period of a periodic timer, in nanoseconds.
const MAX_PERIOD: u64 = 1 << 60;

/// Performs a `vcpu_op` (public header `vcpu.h`).
///
/// # Errors
/// `ENOENT` for an unknown vCPU, `ENOSYS` for an unknown operation, and those of the operation.
pub(crate) fn vcpu_op(caller: &mut Caller<'_>, operation: u32, number: u32, argument: GuestVirt) -> CallResult {
    let vcpu = Arc::clone(caller.domain.vcpu(VcpuId::new(number)).ok_or(Errno::ENOENT)?);
    perform(caller, operation, &vcpu, argument)
}

operations! {
    /// Performs an operation on a vCPU.
    fn perform(caller: &mut Caller<'_>, operation: u32, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::INITIALISE => initialise(caller, vcpu, argument);
    op::UP => up(vcpu);
    op::DOWN => down(caller, vcpu);
    op::IS_UP => Ok(u64::from(vcpu.is_up()));
    op::GET_RUNSTATE_INFO => get_runstate_info(caller, vcpu, argument);
    op::REGISTER_RUNSTATE_MEMORY_AREA => register_runstate_area(caller, vcpu, argument);
    op::SET_PERIODIC_TIMER => set_periodic_timer(caller, vcpu, argument);
    op::STOP_PERIODIC_TIMER => stop_periodic_timer(vcpu);
    op::SET_SINGLESHOT_TIMER => set_single_shot_timer(caller, vcpu, argument);
    op::STOP_SINGLESHOT_TIMER => stop_single_shot_timer(caller, vcpu);
    op::REGISTER_VCPU_INFO => register_vcpu_info(caller, vcpu, argument);
    op::SEND_NMI => send_nmi(vcpu, argument);
    // Only for hardware domains whose vCPUs are pinned to pCPUs, which Paravane does not have.
    op::GET_PHYSID: Refused => Errno::EINVAL;
    op::REGISTER_VCPU_TIME_MEMORY_AREA => register_time_area(caller, vcpu, argument);
}

fn is_own(caller: &Caller<'_>, vcpu: &Arc<Vcpu>) -> bool {
    Arc::ptr_eq(caller.vcpu, vcpu)
}

/// Checks that the vCPU is the caller. Some operations are allowed for the calling vCPU only.
fn own(caller: &Caller<'_>, vcpu: &Arc<Vcpu>) -> Result<(), Errno> {
    if is_own(caller, vcpu) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn initialise(caller: &mut Caller<'_>, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    if !vcpu.has_visible_info() {
        return Err(Errno::EINVAL.into());
    }
    caller.budget.spend(COST_OF_STATE);
    let wanted: VcpuGuestContext = caller.cpu.read(argument)?;
    if vcpu.is_initialised() {
        return Err(Errno::EEXIST.into());
    }
    let prepared = state::prepare(caller.domain, &wanted, &mut caller.budget)?;
    // Another vCPU of the guest may do the same concurrently, so the lock is held to the end.
    let mut parked = vcpu.parked();
    if vcpu.is_initialised() {
        return Err(Errno::EEXIST.into());
    }
    let context = parked.as_mut().ok_or(Errno::EINVAL)?;
    state::apply(caller.domain, context, &wanted, prepared)?;
    vcpu.set_initialised();
    Ok(0)
}

fn up(vcpu: &Arc<Vcpu>) -> CallResult {
    if !vcpu.is_initialised() {
        return Err(Errno::EINVAL.into());
    }
    if vcpu.set_up(true) {
        scheduler::resume(vcpu);
    }
    Ok(0)
}

fn down(caller: &Caller<'_>, vcpu: &Arc<Vcpu>) -> CallResult {
    // A domain whose vCPUs are all down cannot do anything any more.
    if caller.domain.vcpus().iter().all(|other| Arc::ptr_eq(other, vcpu) || !other.is_up()) {
        lifecycle::end(caller.domain, EndReason::Poweroff);
    } else if vcpu.set_up(false) {
        scheduler::kick(vcpu);
    }
    Ok(0)
}

fn get_runstate_info(caller: &Caller<'_>, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    caller.cpu.write(argument, &vcpu.scheduling.runstate())?;
    Ok(0)
}

fn register_runstate_area(caller: &mut Caller<'_>, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    let area: RegisterRunstateMemoryArea = caller.cpu.read(argument)?;
    let address = area_address(area.address, size_of::<abi::vcpu::RunstateInfo>())?;
    vcpu.time.set_runstate_area(address);
    if address.get() != 0 {
        crate::time::write_runstate(vcpu, caller.cpu, address);
    }
    Ok(0)
}

fn register_time_area(caller: &mut Caller<'_>, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    let area: RegisterTimeMemoryArea = caller.cpu.read(argument)?;
    let address = area_address(area.address, size_of::<abi::xen::VcpuTimeInfo>())?;
    vcpu.time.set_time_area(address);
    if address.get() != 0 {
        // If it cannot be written now, it is written when the vCPU runs next.
        let _ = crate::time::write_time(vcpu, caller.cpu, address);
    }
    Ok(0)
}

/// Checks the address of an area; zero means none.
fn area_address(address: u64, size: usize) -> Result<GuestVirt, Errno> {
    let address = GuestVirt::new(address);
    if address.is_guest_range(size as u64) { Ok(address) } else { Err(Errno::EFAULT) }
}

fn set_periodic_timer(caller: &Caller<'_>, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    let timer: SetPeriodicTimer = caller.cpu.read(argument)?;
    if !(MIN_PERIOD..=MAX_PERIOD).contains(&timer.period_ns) {
        return Err(Errno::EINVAL.into());
    }
    vcpu.time.set_period(vcpu, timer.period_ns);
    Ok(0)
}

fn stop_periodic_timer(vcpu: &Arc<Vcpu>) -> CallResult {
    vcpu.time.set_period(vcpu, 0);
    Ok(0)
}

fn stop_single_shot_timer(caller: &Caller<'_>, vcpu: &Arc<Vcpu>) -> CallResult {
    own(caller, vcpu)?;
    vcpu.time.stop_single_shot();
    Ok(0)
}

fn set_single_shot_timer(caller: &Caller<'_>, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    own(caller, vcpu)?;
    let timer: SetSingleshotTimer = caller.cpu.read(argument)?;
    if timer.flags & singleshot_timer::FUTURE != 0 && timer.timeout_absolute_ns < time::now() {
        return Err(Errno::ETIME.into());
    }
    vcpu.time.set_single_shot(vcpu, timer.timeout_absolute_ns);
    Ok(0)
}

fn register_vcpu_info(caller: &mut Caller<'_>, vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    caller.budget.spend(COST_OF_PLACE);
    let place: RegisterVcpuInfo = caller.cpu.read(argument)?;
    let offset = place.offset as usize;
    if offset > PAGE_SIZE - VCPU_INFO_SIZE || !offset.is_multiple_of(8) {
        return Err(Errno::ENXIO.into());
    }
    // A vCPU that is up and not the caller could continue to use the old location for a while.
    if !is_own(caller, vcpu) && vcpu.is_up() {
        return Err(Errno::EINVAL.into());
    }
    if !is_own(caller, vcpu) && !scheduler::wait_until_parked(vcpu) {
        return Err(CallError::again());
    }
    if vcpu.has_registered_info() {
        return Err(Errno::EINVAL.into());
    }
    let frame = caller.domain.frame(Mfn::new(place.mfn)).ok_or(Errno::EINVAL)?;
    let page = TypedRef::<Writable>::acquire(frame, &mut NoEntries, &mut caller.budget)?;
    let place = InfoPlace { page: SharedPage::new(page), offset };
    if is_own(caller, vcpu) {
        let place = vcpu.move_info(place);
        caller.cpu.set_vcpu_info(place.page, place.offset);
    } else {
        let mut parked = vcpu.parked();
        // The vCPU may have been started meanwhile.
        let Some(context) = parked.as_mut() else { return Err(Errno::EINVAL.into()) };
        let place = vcpu.move_info(place);
        context.set_vcpu_info(place.page, place.offset);
    }
    Ok(0)
}

fn send_nmi(vcpu: &Arc<Vcpu>, argument: GuestVirt) -> CallResult {
    if argument.get() != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !vcpu.nmi_pending.swap(true, Ordering::SeqCst) {
        scheduler::wake(vcpu);
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
