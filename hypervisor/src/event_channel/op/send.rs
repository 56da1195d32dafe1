//! `send` and `unmask`.

use abi::errno::Errno;
use abi::event_channel::{Send, Unmask};
use machine::addr::GuestVirt;

use crate::call::{CallResult, Caller};
use crate::domain::Port;
use crate::event_channel::deliver;
use crate::event_channel::ports::State;

/// Cost of serving a ring, in units of the budget.
const COST_OF_SERVICE: u32 = 4096;

pub(super) fn send(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let Send { port } = caller.cpu.read(argument)?;
    let port = Port::new(port);
    let domain = caller.domain;
    let mut table = domain.events.lock();
    match &table.channel(port)?.state {
        State::Ipi => {
            let raised = table.raise(domain, port);
            drop(table);
            caller.budget.spend(raised.act(domain));
        }
        State::Interdomain(peer) => {
            let (remote, remote_port) = (peer.domain.upgrade(), peer.port);
            drop(table);
            if let Some(remote) = remote {
                caller.budget.spend(deliver(&remote, remote_port, domain.id(), port));
            }
        }
        // There is no receiver.
        State::Unbound(_) => {}
        State::Paravane(consumer) => {
            let consumer = *consumer;
            drop(table);
            caller.budget.spend(COST_OF_SERVICE);
            (consumer.notified)(domain);
        }
        State::Free | State::Reserved | State::Virq(_) | State::Pirq(_) => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

pub(super) fn unmask(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let Unmask { port } = caller.cpu.read(argument)?;
    let raised = caller.domain.events.lock().unmask(caller.domain, Port::new(port))?;
    caller.budget.spend(raised.act(caller.domain));
    Ok(0)
}
