//! Frequencies, idle states and pCPUs that come and go: `get_pmstat`, `pm_op`, `cpu_hotplug`. The hypervisor leaves the processors as the firmware has set
//! them up.

use abi::errno::Errno;
use abi::sysctl::{CpuHotplug, GetPowerStatistics, PowerManagementOp, hotplug};
use machine::cpu;

use super::Request;
use crate::call::CallResult;

/// What kind of operation a `pm_op` command is, and those on frequencies.
const KIND: u32 = 0xf0;
const FREQUENCIES: u32 = 0x10;

fn check_cpu(cpu: u32) -> Result<(), Errno> {
    if (cpu as usize) < cpu::online() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Statistics of frequencies and idle states: there are none.
pub(super) fn statistics(request: &Request) -> CallResult {
    check_cpu(request.argument::<GetPowerStatistics>().cpu)?;
    Err(Errno::ENODEV.into())
}

/// Settings of frequencies and idle states.
pub(super) fn management(request: &Request) -> CallResult {
    let argument: PowerManagementOp = request.argument();
    check_cpu(argument.cpu)?;
    Err(if argument.command & KIND == FREQUENCIES { Errno::ENODEV } else { Errno::EOPNOTSUPP }.into())
}

/// pCPUs run from boot on.
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
