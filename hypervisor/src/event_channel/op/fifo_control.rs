//! `init_control`, `expand_array` and `set_priority`: the sub-operations of the FIFO ABI.

use abi::errno::Errno;
use abi::event_channel::{ExpandArray, FifoControlBlock, InitControl, SetPriority, fifo};
use machine::addr::{GuestVirt, Mfn, PAGE_SIZE};
use machine::frames::{SharedPage, TypedRef};
use machine::integers::low_u8;
use machine::paging::NoEntries;

use crate::call::{CallError, CallResult, Caller};
use crate::domain::{Port, VcpuId};
use crate::event_channel::fifo::Fifo;
use crate::event_channel::ports::State;

/// A frame of the caller that the guest and Paravane write.
fn shared_page(caller: &mut Caller<'_>, frame: u64) -> Result<SharedPage, CallError> {
    let frame = caller.domain.frame(Mfn::new(frame)).ok_or(Errno::EINVAL)?;
    let page = TypedRef::acquire(frame, &mut NoEntries, &mut caller.budget)?;
    Ok(SharedPage::new(page))
}

/// Sets a vCPU's control block. The first one switches the domain to the FIFO ABI.
pub(super) fn init_control(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut arguments: InitControl = caller.cpu.read(argument)?;
    let domain = caller.domain;
    let vcpu = VcpuId::new(arguments.vcpu);
    domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let offset = usize::try_from(arguments.offset).map_err(|_| Errno::EINVAL)?;
    if offset > PAGE_SIZE - size_of::<FifoControlBlock>() || !offset.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let page = shared_page(caller, arguments.control_gfn)?;
    let has_fifo = domain.events.lock().fifo.is_some();
    let first = if has_fifo { None } else { Some(Fifo::new(domain.vcpus().len())?) };
    let mut table = domain.events.lock();
    if table.fifo.is_none() {
        table.fifo = first;
    }
    // Another vCPU may have returned to the 2-level ABI in the meantime.
    table.fifo.as_mut().ok_or_else(CallError::again)?.set_control(vcpu, page, offset)?;
    drop(table);
    arguments.link_bits = low_u8(fifo::LINK_BITS.into());
    caller.cpu.write(argument, &arguments)?;
    Ok(0)
}

/// Adds a page of event words, and delivers events that became pending without a word.
pub(super) fn expand_array(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let arguments: ExpandArray = caller.cpu.read(argument)?;
    let domain = caller.domain;
    if domain.events.lock().fifo.is_none() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let page = shared_page(caller, arguments.array_gfn)?;
    let mut table = domain.events.lock();
    let covered = table.fifo.as_mut().ok_or(Errno::EOPNOTSUPP)?.add_page(page)?;
    let end = table.end().min(covered.end);
    drop(table);
    for port in covered.start.until(end) {
        caller.budget.spend(1);
        let raised = domain.events.lock().raise_remembered(domain, port);
        caller.budget.spend(raised.act(domain));
    }
    Ok(0)
}

pub(super) fn set_priority(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let arguments: SetPriority = caller.cpu.read(argument)?;
    let mut table = caller.domain.events.lock();
    let has_priorities = table.fifo.is_some();
    let channel = table.channel_mut(Port::new(arguments.port))?;
    if !has_priorities {
        return Err(Errno::ENOSYS.into());
    }
    if matches!(channel.state, State::Free | State::Reserved) {
        return Err(Errno::EACCES.into());
    }
    channel.fifo.set_priority(arguments.priority)?;
    Ok(0)
}
