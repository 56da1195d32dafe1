//! `bind_vcpu`: selects the vCPU that a port notifies.

use abi::errno::Errno;
use abi::event_channel::BindVcpu;
use machine::addr::GuestVirt;

use crate::call::{CallResult, Caller};
use crate::domain::{Port, VcpuId};
use crate::event_channel::ports::{State, is_global};
use crate::hardware;

pub(super) fn bind_vcpu(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let arguments: BindVcpu = caller.cpu.read(argument)?;
    let (port, vcpu) = (Port::new(arguments.port), VcpuId::new(arguments.vcpu));
    caller.domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let mut table = caller.domain.events.lock();
    let channel = table.channel_mut(port)?;
    let movable = match channel.state {
        State::Unbound(_) | State::Interdomain(_) | State::Paravane(_) | State::Pirq(_) => true,
        State::Virq(number) => is_global(number),
        State::Free | State::Reserved | State::Ipi => false,
    };
    if !movable {
        return Err(Errno::EINVAL.into());
    }
    channel.vcpu = vcpu;
    let pirq = if let State::Pirq(number) = channel.state { Some(number) } else { None };
    drop(table);
    if let Some((number, hardware)) = pirq.zip(hardware::of(caller.domain)) {
        hardware::interrupts::notify(hardware, number, port, vcpu);
    }
    Ok(0)
}
