//! `sysctl`: the host's state and settings (public header `sysctl.h`). Each subject has its own
//! file.
//!
//! Features that this hypervisor does not have (trace buffers, lock profiles, coverage, live
//! patches, cache allocation, taking memory offline) return the errors of a Xen that was built
//! without them.

mod console;
mod cpu_policy;
mod cpu_pool;
mod domains;
mod host;
mod performance;
mod power;
mod scheduler;
#[cfg(test)]
mod tests;
mod topology;

use abi::errno::Errno;
use abi::sysctl::op;
use machine::addr::GuestVirt;

use self::scheduler::SCHEDULER;
use super::{Request, note_refusal};
use crate::call::{CallResult, Caller, ControlPrivilege, operations};

/// Cost of an operation that does not define its own, in units of the budget.
const COST: u32 = 128;

/// Performs the operation that `address` describes.
pub(crate) fn sysctl(caller: &mut Caller<'_>, control: ControlPrivilege, address: GuestVirt) -> CallResult {
    let request = Request::sysctl(caller, control, address)?;
    let result = perform(caller, request.command, &request);
    caller.budget.spend(COST);
    note_refusal(caller, op::NAMES, &request, &result);
    result
}

operations! {
    /// Performs an operation.
    fn perform(caller: &mut Caller<'_>, command: u32, request: &Request) -> CallResult;
    names: op::NAMES;
    op::READCONSOLE => console::read_console(caller, request);
    op::PHYSINFO => host::physical_info(caller, request);
    op::SCHED_ID => scheduler::id(caller, request);
    op::PERFC_OP => performance::counters(caller, request);
    op::GETDOMAININFOLIST => domains::list(caller, request);
    op::DEBUG_KEYS => console::debug_keys(caller, request);
    op::GETCPUINFO => host::cpu_info(caller, request);
    op::AVAILHEAP => host::available_heap(caller, request);
    op::GET_PMSTAT => power::statistics(request);
    op::CPU_HOTPLUG => power::cpu_hotplug(request);
    op::PM_OP => power::management(request);
    op::CPUTOPOINFO => topology::cpu_topology(caller, request);
    op::NUMAINFO => topology::numa(caller, request);
    op::CPUPOOL_OP => cpu_pool::cpu_pool_op(caller, request);
    op::SCHEDULER_OP => scheduler::settings(caller, request);
    op::PCITOPOINFO => topology::pci_topology(caller, request);
    op::GET_CPU_LEVELLING_CAPS => cpu_policy::levelling(caller, request);
    op::GET_CPU_FEATURESET => cpu_policy::features(caller, request);
    op::GET_CPU_POLICY => cpu_policy::policy(caller, request);
    op::PSR_CMT_OP: Refused => Errno::ENODEV;
    op::PSR_ALLOC: Refused => Errno::ENODEV;
    op::PAGE_OFFLINE_OP: Refused => Errno::EOPNOTSUPP;
    op::COVERAGE_OP: Refused => Errno::EOPNOTSUPP;
    op::LIVEPATCH_OP: Refused => Errno::EOPNOTSUPP;
    op::TBUF_OP: Refused => Errno::ENOSYS;
    op::LOCKPROF_OP: Refused => Errno::ENOSYS;
}
