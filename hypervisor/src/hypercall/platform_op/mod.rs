//! `platform_op`: firmware, clock, CPUs and power of the machine (public header `platform.h`).

mod cpus;
mod efi;
mod firmware;
pub(crate) mod microcode_update;
mod symbols;
#[cfg(test)]
mod tests;

use abi::errno::Errno;
use abi::platform::{EnterAcpiSleep, PlatformOp, SetTime32, SetTime64, interface, later_op, op};
use machine::addr::GuestVirt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::call::{CallError, CallResult, Caller, ControlPrivilege, operations};
use crate::domain::EndReason;
use crate::lifecycle;
use crate::time;

const POWER_OFF: u32 = 5;
/// Cost of updating another domain's wall clock, in units of the budget.
const COST_OF_CLOCK: u32 = 8;

/// A request that has been copied in, and its address.
struct Request {
    place: GuestVirt,
    call: PlatformOp,
}

impl Request {
    /// The arguments, as the type that the operation uses. They are at the start of the space for
    /// them.
    fn arguments<T: FromBytes>(&self) -> Result<T, Errno> {
        T::read_from_prefix(&self.call.argument).map(|(arguments, _)| arguments).map_err(|_| Errno::EFAULT)
    }

    /// Writes the arguments back to the request.
    fn answer<T: IntoBytes + Immutable>(&mut self, caller: &Caller<'_>, arguments: &T) -> CallResult {
        if arguments.write_to_prefix(&mut self.call.argument).is_err() {
            return Err(Errno::EFAULT.into());
        }
        caller.cpu.write(self.place, &self.call)?;
        Ok(0)
    }
}

/// Performs a `platform_op` of the control domain.
///
/// # Errors
/// `EFAULT` for a request that cannot be read, `EACCES` for another version of the interface.
pub(crate) fn platform_op(caller: &mut Caller<'_>, _: ControlPrivilege, argument: GuestVirt) -> CallResult {
    let call: PlatformOp = caller.cpu.read(argument)?;
    if call.interface_version != interface::VERSION {
        return Err(Errno::EACCES.into());
    }
    perform(caller, call.command, &mut Request { place: argument, call })
}

operations! {
    /// Performs an operation.
    fn perform(caller: &mut Caller<'_>, command: u32, request: &mut Request) -> CallResult;
    names: op::NAMES, later_op::NAMES;
    op::SETTIME32 => set_time32(caller, request.arguments()?);
    op::SETTIME64 => set_time64(caller, request.arguments()?);
    op::MICROCODE_UPDATE => microcode_update::update(caller, request.arguments()?);
    op::FIRMWARE_INFO => firmware::info(caller, request);
    op::EFI_RUNTIME_CALL => efi::runtime_call(caller, request);
    op::ENTER_ACPI_SLEEP => sleep(caller, request.arguments()?);
    op::SET_PROCESSOR_PMINFO => cpus::power_management(caller, request.arguments()?);
    op::GETIDLETIME => cpus::idle_time(caller, request);
    op::GET_CPUINFO => cpus::information(caller, request);
    op::GET_CPU_VERSION => cpus::version(caller, request);
    op::CPU_ONLINE => cpus::online(request.arguments()?);
    op::CPU_OFFLINE => cpus::offline(request.arguments()?);
    op::CORE_PARKING => cpus::parking(caller, request);
    op::RESOURCE_OP => cpus::resource(caller, request.arguments()?);
    op::GET_SYMBOL => symbols::symbol(caller, request);
    later_op::GET_DOM0_CONSOLE => screen(caller, request);
    later_op::GET_UCODE_REVISION => microcode_update::revision(caller, request);
    // Memory types are set in page tables, not in MTRRs.
    op::READ_MEMTYPE: Refused => Errno::EINVAL;
    op::DEL_MEMTYPE: Refused => Errno::EINVAL;
    op::ADD_MEMTYPE: Refused => Errno::EOPNOTSUPP;
    op::PLATFORM_QUIRK: Refused => Errno::EINVAL;
    op::CPU_HOTADD: Refused => Errno::EOPNOTSUPP;
    op::MEM_HOTADD: Refused => Errno::EOPNOTSUPP;
    // There are no frequency governors.
    op::CHANGE_FREQ: Refused => Errno::ENOSYS;
}

/// Describes the initial domain's screen. The result is the size of the description.
fn screen(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let description = crate::console::screen::description().ok_or(Errno::ENODEV)?;
    request.answer(caller, &description)?;
    Ok(description.len() as u64)
}

fn set_time32(caller: &mut Caller<'_>, time: SetTime32) -> CallResult {
    set_time(caller, time.seconds.into(), time.nanoseconds, time.system_time)
}

fn set_time64(caller: &mut Caller<'_>, time: SetTime64) -> CallResult {
    if time.must_be_zero != 0 {
        return Err(Errno::EINVAL.into());
    }
    set_time(caller, time.seconds, time.nanoseconds, time.system_time)
}

/// Sets the wall clock from its value at a system time.
fn set_time(caller: &mut Caller<'_>, seconds: u64, nanoseconds: u32, system_time: u64) -> CallResult {
    let wall = seconds.checked_mul(1_000_000_000).and_then(|time| time.checked_add(nanoseconds.into()));
    let at_zero = wall.and_then(|time| time.checked_sub(system_time)).ok_or(Errno::EINVAL)?;
    let domains = time::set_wall_clock(at_zero);
    caller.budget.spend(domains.saturating_mul(COST_OF_CLOCK));
    Ok(0)
}

/// Handles only S5 (soft off): the host ends with the initial domain.
fn sleep(caller: &Caller<'_>, EnterAcpiSleep { sleep_state, .. }: EnterAcpiSleep) -> CallResult {
    match sleep_state {
        POWER_OFF => {
            lifecycle::end(caller.domain, EndReason::Poweroff);
            Ok(0)
        }
        1..POWER_OFF => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(CallError::Errno(Errno::EINVAL)),
    }
}
