//! `domctl`: making, watching, changing and ending domains (public header `domctl.h`). One file for each concern.

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
mod memory;
mod page_info;
mod scheduler;
mod time;
mod vcpu_context;

use abi::domctl::op;
use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::sync::Arc;
use machine::addr::GuestVirt;

use super::{Request, note_refusal};
use crate::call::{CallResult, Caller};
use crate::domain::{Domain, Vcpu};

/// What an operation costs that says nothing about it.
const COST: u32 = 128;

/// Performs the operation that `address` describes.
pub(crate) fn domctl(caller: &mut Caller<'_>, address: GuestVirt) -> CallResult {
    let request = Request::domctl(caller, address)?;
    let result = perform(caller, &request);
    caller.budget.spend(COST);
    note_refusal(caller, op::NAMES, &request, &result);
    result
}

fn perform(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    // These are not about a domain that must be there.
    match request.command {
        op::CREATEDOMAIN => return create::create(caller, request),
        op::DESTROYDOMAIN => return destroy::destroy(caller, request),
        op::GETDOMAININFO => return info::get_domain_info(caller, request),
        op::ASSIGN_DEVICE | op::DEASSIGN_DEVICE if request.domain == DomainId::IO => {
            return devices::quarantine(request);
        }
        _ => {}
    }
    let target = &caller.target(request.domain)?;
    match request.command {
        op::PAUSEDOMAIN => life::pause(caller, target),
        op::UNPAUSEDOMAIN => life::unpause(target),
        op::RESUMEDOMAIN => life::resume(target),
        op::SENDTRIGGER => life::send_trigger(request, target),
        op::MAX_VCPUS => create::max_vcpus(request, target),
        op::SETDOMAINHANDLE => info::set_handle(request, target),
        op::GETVCPUINFO => info::get_vcpu_info(caller, request, target),
        op::MAX_MEM => memory::max_memory(request, target),
        op::HYPERCALL_INIT => memory::hypercall_init(caller, request, target),
        op::SHADOW_OP => memory::shadow_op(caller, request),
        op::GETPAGEFRAMEINFO3 => page_info::get_page_frame_info(caller, request, target),
        op::SET_ADDRESS_SIZE => address_space::set_address_size(request),
        op::GET_ADDRESS_SIZE => address_space::get_address_size(caller, request),
        op::SETVCPUCONTEXT => vcpu_context::set(caller, request, target),
        op::GETVCPUCONTEXT => vcpu_context::get(caller, request, target),
        op::SET_EXT_VCPUCONTEXT => extended_state::set_callbacks(caller, request, target),
        op::GET_EXT_VCPUCONTEXT => extended_state::get_callbacks(caller, request, target),
        op::SETVCPUEXTSTATE => extended_state::set_state(caller, request, target),
        op::GETVCPUEXTSTATE => extended_state::get_state(caller, request, target),
        op::GET_VCPU_MSRS => extended_state::get_msrs(caller, request, target),
        op::SET_VCPU_MSRS => extended_state::set_msrs(request, target),
        op::GET_CPU_POLICY => cpu_policy::get(caller, request, target),
        op::SET_CPU_POLICY => cpu_policy::set(caller, request, target),
        op::SCHEDULER_OP => scheduler::scheduler_op(caller, request, target),
        op::SETVCPUAFFINITY => affinity::set_vcpu_affinity(caller, request, target),
        op::GETVCPUAFFINITY => affinity::get_vcpu_affinity(caller, request, target),
        op::SETNODEAFFINITY => affinity::set_node_affinity(caller, request),
        op::GETNODEAFFINITY => affinity::get_node_affinity(caller, request),
        op::SETTIMEOFFSET => time::set_time_offset(request, target),
        op::GETTSCINFO => time::get_tsc_info(caller, request, target),
        op::SETTSCINFO => time::set_tsc_info(request, target),
        op::SET_VIRQ_HANDLER => events::set_virq_handler(request, target),
        op::SUBSCRIBE => events::subscribe(request, target),
        op::IRQ_PERMISSION => devices::irq_permission(request),
        op::IOMEM_PERMISSION => devices::io_memory_permission(request),
        op::IOPORT_PERMISSION => devices::io_port_permission(request),
        op::GETHVMCONTEXT
        | op::SETHVMCONTEXT
        | op::GETHVMCONTEXT_PARTIAL
        | op::IOPORT_MAPPING
        | op::SOFT_RESET
        | op::SET_BROKEN_PAGE_P2M => Err(Errno::EINVAL.into()),
        op::SETDEBUGGING
        | op::MEMORY_MAPPING
        | op::ASSIGN_DEVICE
        | op::TEST_ASSIGN_DEVICE
        | op::DEASSIGN_DEVICE
        | op::BIND_PT_IRQ
        | op::UNBIND_PT_IRQ
        | op::GET_DEVICE_GROUP
        | op::SET_TARGET
        | op::DEBUG_OP
        | op::VM_EVENT_OP
        | op::MEM_SHARING_OP
        | op::SET_ACCESS_REQUIRED
        | op::SETVNUMAINFO
        | op::PSR_CMT_OP
        | op::PSR_ALLOC
        | op::MONITOR_OP
        | op::VUART_OP
        | op::VMTRACE_OP
        | op::GET_PAGING_MEMPOOL_SIZE
        | op::SET_PAGING_MEMPOOL_SIZE => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// A vCPU of the domain that a request is about.
fn vcpu(target: &Arc<Domain>, number: u32) -> Result<&Arc<Vcpu>, Errno> {
    target.vcpu(number).ok_or(Errno::ESRCH)
}

/// The same, for the requests to which a number that no vCPU can have is an invalid argument.
fn numbered(target: &Arc<Domain>, number: u32) -> Result<&Arc<Vcpu>, Errno> {
    target.vcpu(number).ok_or(Errno::EINVAL)
}

/// The other domain that a request is about: a vCPU cannot do to its own what needs it at rest.
fn other<'a>(caller: &Caller<'_>, target: &'a Arc<Domain>) -> Result<&'a Arc<Domain>, Errno> {
    if Arc::ptr_eq(caller.domain, target) { Err(Errno::EINVAL) } else { Ok(target) }
}

#[cfg(test)]
mod tests;
