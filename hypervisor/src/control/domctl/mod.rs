//! `domctl`: creation, inspection, change and destruction of domains (public header `domctl.h`).
//! Each subject has its own file.

mod address_space;
mod affinity;
mod cpu_policy;
mod create;
mod destroy;
mod devices;
mod events;
mod extended_state;
pub(crate) mod info;
mod life;
mod log_dirty;
mod memory;
mod page_info;
mod scheduler;
mod time;
mod vcpu_context;

use abi::domctl::op;
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::addr::GuestVirt;

use super::{Request, note_refusal};
use crate::call::{CallResult, Caller, ControlPrivilege, operations};
use crate::domain::{Domain, Vcpu, VcpuId};

/// Cost of an operation that does not define its own, in units of the budget.
const COST: u32 = 128;

/// Performs the operation that `address` describes.
pub(crate) fn domctl(caller: &mut Caller<'_>, control: ControlPrivilege, address: GuestVirt) -> CallResult {
    let request = Request::domctl(caller, control, address)?;
    let target = caller.target(request.domain);
    let result = perform(caller, request.command, &request, target);
    caller.budget.spend(COST);
    note_refusal(caller, op::NAMES, &request, &result);
    result
}

operations! {
    /// Performs an operation. `target` is the domain that the request names, if it exists.
    fn perform(caller: &mut Caller<'_>, command: u32, request: &Request, target: Result<Arc<Domain>, Errno>) -> CallResult;
    names: op::NAMES;
    op::CREATEDOMAIN => create::create(caller, request);
    op::DESTROYDOMAIN => destroy::destroy(caller, request);
    op::GETDOMAININFO => info::get_domain_info(caller, request);
    op::PAUSEDOMAIN => life::pause(caller, &target?);
    op::UNPAUSEDOMAIN => life::unpause(&target?);
    op::RESUMEDOMAIN => life::resume(&target?);
    op::SENDTRIGGER => life::send_trigger(request, &target?);
    op::MAX_VCPUS => create::max_vcpus(request, &target?);
    op::SETDOMAINHANDLE => info::set_handle(request, &target?);
    op::GETVCPUINFO => info::get_vcpu_info(caller, request, &target?);
    op::MAX_MEM => memory::max_memory(request, &target?);
    op::HYPERCALL_INIT => memory::hypercall_init(caller, request, &target?);
    op::SHADOW_OP => log_dirty::shadow_op(caller, request, &target?);
    op::GETPAGEFRAMEINFO3 => page_info::get_page_frame_info(caller, request, &target?);
    op::SET_ADDRESS_SIZE => { target?; address_space::set_address_size(request) };
    op::GET_ADDRESS_SIZE => { target?; address_space::get_address_size(caller, request) };
    op::SETVCPUCONTEXT => vcpu_context::set(caller, request, &target?);
    op::GETVCPUCONTEXT => vcpu_context::get(caller, request, &target?);
    op::SET_EXT_VCPUCONTEXT => extended_state::set_callbacks(caller, request, &target?);
    op::GET_EXT_VCPUCONTEXT => extended_state::get_callbacks(caller, request, &target?);
    op::SETVCPUEXTSTATE => extended_state::set_state(caller, request, &target?);
    op::GETVCPUEXTSTATE => extended_state::get_state(caller, request, &target?);
    op::GET_VCPU_MSRS => extended_state::get_msrs(caller, request, &target?);
    op::SET_VCPU_MSRS => extended_state::set_msrs(caller, request, &target?);
    op::GET_CPU_POLICY => cpu_policy::get(caller, request, &target?);
    op::SET_CPU_POLICY => cpu_policy::set(caller, request, &target?);
    op::SCHEDULER_OP => scheduler::scheduler_op(caller, request, &target?);
    op::SETVCPUAFFINITY => affinity::set_vcpu_affinity(caller, request, &target?);
    op::GETVCPUAFFINITY => affinity::get_vcpu_affinity(caller, request, &target?);
    op::SETNODEAFFINITY => { target?; affinity::set_node_affinity(caller, request) };
    op::GETNODEAFFINITY => { target?; affinity::get_node_affinity(caller, request) };
    op::SETTIMEOFFSET => time::set_time_offset(request, &target?);
    op::GETTSCINFO => time::get_tsc_info(caller, request, &target?);
    op::SETTSCINFO => time::set_tsc_info(request, &target?);
    op::SET_VIRQ_HANDLER => events::set_virq_handler(request, &target?);
    op::SUBSCRIBE => events::subscribe(request, &target?);
    op::IRQ_PERMISSION => { target?; devices::irq_permission(request) };
    op::IOMEM_PERMISSION => { target?; devices::io_memory_permission(request) };
    op::IOPORT_PERMISSION => { target?; devices::io_port_permission(request) };
    op::ASSIGN_DEVICE => devices::assign(request, target);
    op::DEASSIGN_DEVICE => devices::assign(request, target);
    // Operations on HVM guests or passed-through devices, which this hypervisor does not support.
    op::GETHVMCONTEXT: Refused => Errno::EINVAL;
    op::SETHVMCONTEXT: Refused => Errno::EINVAL;
    op::GETHVMCONTEXT_PARTIAL: Refused => Errno::EINVAL;
    op::IOPORT_MAPPING: Refused => Errno::EINVAL;
    op::SOFT_RESET: Refused => Errno::EINVAL;
    op::SET_BROKEN_PAGE_P2M: Refused => Errno::EINVAL;
    op::SETDEBUGGING: Refused => Errno::EOPNOTSUPP;
    op::MEMORY_MAPPING: Refused => Errno::EOPNOTSUPP;
    op::TEST_ASSIGN_DEVICE: Refused => Errno::EOPNOTSUPP;
    op::BIND_PT_IRQ: Refused => Errno::EOPNOTSUPP;
    op::UNBIND_PT_IRQ: Refused => Errno::EOPNOTSUPP;
    op::GET_DEVICE_GROUP: Refused => Errno::EOPNOTSUPP;
    op::SET_TARGET: Refused => Errno::EOPNOTSUPP;
    op::DEBUG_OP: Refused => Errno::EOPNOTSUPP;
    op::VM_EVENT_OP: Refused => Errno::EOPNOTSUPP;
    op::MEM_SHARING_OP: Refused => Errno::EOPNOTSUPP;
    op::SET_ACCESS_REQUIRED: Refused => Errno::EOPNOTSUPP;
    op::SETVNUMAINFO: Refused => Errno::EOPNOTSUPP;
    op::PSR_CMT_OP: Refused => Errno::EOPNOTSUPP;
    op::PSR_ALLOC: Refused => Errno::EOPNOTSUPP;
    op::MONITOR_OP: Refused => Errno::EOPNOTSUPP;
    op::VUART_OP: Refused => Errno::EOPNOTSUPP;
    op::VMTRACE_OP: Refused => Errno::EOPNOTSUPP;
    op::GET_PAGING_MEMPOOL_SIZE: Refused => Errno::EOPNOTSUPP;
    op::SET_PAGING_MEMPOOL_SIZE: Refused => Errno::EOPNOTSUPP;
    op::REAL_MODE_AREA: Refused => Errno::ENOSYS;
    op::SET_OPT_FEATURE: Refused => Errno::ENOSYS;
    op::AUDIT_P2M: Refused => Errno::ENOSYS;
    op::CACHEFLUSH: Refused => Errno::ENOSYS;
    op::GDBSX_GUESTMEMIO: Refused => Errno::ENOSYS;
    op::GDBSX_PAUSEVCPU: Refused => Errno::ENOSYS;
    op::GDBSX_UNPAUSEVCPU: Refused => Errno::ENOSYS;
    op::GDBSX_DOMSTATUS: Refused => Errno::ENOSYS;
}

/// A vCPU of the target domain.
fn vcpu(target: &Arc<Domain>, number: u32) -> Result<&Arc<Vcpu>, Errno> {
    target.vcpu(VcpuId::new(number)).ok_or(Errno::ESRCH)
}

/// Like [`vcpu`], for requests in which an unknown vCPU id is an invalid argument.
fn numbered(target: &Arc<Domain>, number: u32) -> Result<&Arc<Vcpu>, Errno> {
    target.vcpu(VcpuId::new(number)).ok_or(Errno::EINVAL)
}

/// The target domain, if it is not the caller's. These operations need the target's vCPUs parked.
fn other<'a>(caller: &Caller<'_>, target: &'a Arc<Domain>) -> Result<&'a Arc<Domain>, Errno> {
    if Arc::ptr_eq(caller.domain, target) { Err(Errno::EINVAL) } else { Ok(target) }
}

#[cfg(test)]
mod tests;
