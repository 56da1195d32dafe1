//! `status`: the binding of a port.

use abi::event_channel::{Status, status as code};
use abi::xen::DomainId;
use machine::addr::GuestVirt;

use crate::call::{CallResult, Caller};
use crate::domain::Port;
use crate::event_channel::ports::State;

/// The domain reported as the peer if it is Paravane: the control domain, as under Xen.
const CONTROL_DOMAIN: DomainId = DomainId(0);

pub(super) fn status(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut arguments: Status = caller.cpu.read(argument)?;
    let domain = caller.target(arguments.domain)?;
    let table = domain.events.lock();
    let channel = table.channel(Port::new(arguments.port))?;
    arguments.vcpu = channel.vcpu.get();
    arguments.status = match &channel.state {
        State::Free | State::Reserved => code::CLOSED,
        State::Unbound(remote) => {
            arguments.bound_to = u32::from(remote.0);
            code::UNBOUND
        }
        State::Interdomain(peer) => {
            arguments.bound_to = u32::from(peer.id.0);
            arguments.remote_port = peer.port.get();
            code::INTERDOMAIN
        }
        State::Paravane(_) => {
            arguments.bound_to = u32::from(CONTROL_DOMAIN.0);
            arguments.remote_port = 0;
            code::INTERDOMAIN
        }
        State::Virq(number) => {
            arguments.bound_to = *number;
            code::VIRQ
        }
        State::Pirq(number) => {
            arguments.bound_to = *number;
            code::PIRQ
        }
        State::Ipi => code::IPI,
    };
    drop(table);
    caller.cpu.write(argument, &arguments)?;
    Ok(0)
}
