//! Frequencies, idle states and hotplug of pCPUs: `get_pmstat`, `pm_op`, `cpu_hotplug`. The
//! hypervisor does not change the firmware's settings.

use abi::errno::Errno;
use abi::sysctl::{CpuHotplug, GetPowerStatistics, PowerManagementOp, hotplug};
use machine::cpu;

use super::Request;
use crate::call::CallResult;

/// The bits of a `pm_op` command that select its kind, and the kind for frequencies.
const KIND: u32 = 0xf0;
const FREQUENCIES: u32 = 0x10;

fn check_cpu(cpu: u32) -> Result<(), Errno> {
    if (cpu as usize) < cpu::online() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Returns no statistics of frequencies and idle states.
pub(super) fn statistics(request: &Request) -> CallResult {
    check_cpu(request.argument::<GetPowerStatistics>().cpu)?;
    Err(Errno::ENODEV.into())
}

/// Refuses to change settings of frequencies and idle states.
pub(super) fn management(request: &Request) -> CallResult {
    let argument: PowerManagementOp = request.argument();
    check_cpu(argument.cpu)?;
    Err(if argument.command & KIND == FREQUENCIES { Errno::ENODEV } else { Errno::EOPNOTSUPP }.into())
}

/// Refuses to bring pCPUs online or offline: all run from boot on.
pub(super) fn cpu_hotplug(request: &Request) -> CallResult {
    let argument: CpuHotplug = request.argument();
    match argument.operation {
        hotplug::ONLINE | hotplug::OFFLINE => {
            check_cpu(argument.cpu)?;
            Err(Errno::EOPNOTSUPP.into())
        }
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}
