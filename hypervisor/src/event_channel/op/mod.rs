//! The hypercall `event_channel_op`, with one file per group of sub-operations.

mod bind_domain;
mod bind_interrupt;
mod bind_vcpu;
mod close;
mod fifo_control;
mod send;
mod status;

use abi::errno::Errno;
use abi::event_channel::{Status, op};
use machine::addr::GuestVirt;

use super::close as close_port;
use crate::call::{CallError, CallResult, Caller, operations};
use crate::domain::Port;

/// Number of a continued reset, as in Xen. It is not in the public headers.
const RESET_CONTINUED: u32 = 14;

/// Additional cost of an operation, in units of the budget. Longer operations spend budget as they
/// proceed.
const fn cost(operation: u32) -> u32 {
    match operation {
        op::ALLOC_UNBOUND | op::BIND_INTERDOMAIN | op::BIND_VIRQ | op::BIND_PIRQ | op::BIND_IPI => 16,
        op::CLOSE | op::EXPAND_ARRAY | op::INIT_CONTROL => 8,
        _ => 0,
    }
}

/// Performs an `event_channel_op`.
pub(crate) fn event_channel_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    caller.budget.spend(cost(operation));
    if operation == RESET_CONTINUED {
        return close::reset(caller, argument, true);
    }
    perform(caller, operation, argument)
}

operations! {
    /// Performs an operation that the public header has.
    fn perform(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::ALLOC_UNBOUND => bind_domain::alloc_unbound(caller, argument);
    op::BIND_INTERDOMAIN => bind_domain::bind_interdomain(caller, argument);
    op::BIND_VIRQ => bind_interrupt::bind_virq(caller, argument);
    op::BIND_PIRQ => bind_interrupt::bind_pirq(caller, argument);
    op::BIND_IPI => bind_interrupt::bind_ipi(caller, argument);
    op::CLOSE => close::close(caller, argument);
    op::SEND => send::send(caller, argument);
    op::UNMASK => send::unmask(caller, argument);
    op::STATUS => status::status(caller, argument);
    op::BIND_VCPU => bind_vcpu::bind_vcpu(caller, argument);
    op::RESET => close::reset(caller, argument, false);
    op::INIT_CONTROL => fifo_control::init_control(caller, argument);
    op::EXPAND_ARRAY => fifo_control::expand_array(caller, argument);
    op::SET_PRIORITY => fifo_control::set_priority(caller, argument);
}

/// Size of the structure of the compat call: the sub-operation, then a union of the arguments, of
/// which `status` is the largest.
const COMPAT_SIZE: usize = size_of::<u32>() + size_of::<Status>();

/// `event_channel_op_compat`: sub-operation and arguments in one structure, for the sub-operations
/// that existed at the time.
///
/// # Errors
/// As [`event_channel_op`].
pub(crate) fn event_channel_op_compat(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let structure: [u8; COMPAT_SIZE] = caller.cpu.read(argument)?;
    let Some(operation) = structure.first_chunk().copied().map(u32::from_ne_bytes) else {
        return Err(Errno::EFAULT.into());
    };
    if operation > op::UNMASK {
        return Err(Errno::ENOSYS.into());
    }
    event_channel_op(caller, operation, argument.offset(size_of::<u32>() as u64))
}

/// Writes a new port's number to the guest. Closes the port if that fails.
fn hand_out<T>(caller: &Caller<'_>, argument: GuestVirt, arguments: &T, port: Port) -> CallResult
where
    T: zerocopy::IntoBytes + zerocopy::Immutable,
{
    if caller.cpu.write(argument, arguments).is_err() {
        // The guest does not know the port, so a concurrent change by its peer does not matter.
        let _ = close_port(caller.domain, port);
        return Err(CallError::Errno(Errno::EFAULT));
    }
    Ok(0)
}
