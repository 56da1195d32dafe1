//! `alloc_unbound` and `bind_interdomain`: channels between domains.

use abi::errno::Errno;
use abi::event_channel::{AllocUnbound, BindInterdomain};
use abi::xen::DomainId;
use machine::addr::GuestVirt;

use super::hand_out;
use crate::call::{CallResult, Caller};
use crate::domain::{self, Port, VcpuId};
use crate::event_channel::ports::{Peer, State};
use crate::event_channel::{allocate, close, note_refusal, with_both};

fn resolve(caller: &Caller<'_>, id: DomainId) -> DomainId {
    if id == DomainId::SELF { caller.domain.id() } else { id }
}

pub(super) fn alloc_unbound(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut arguments: AllocUnbound = caller.cpu.read(argument)?;
    let domain = caller.target(arguments.domain)?;
    let remote = resolve(caller, arguments.remote_domain);
    let port = allocate(&domain, State::Unbound(remote), VcpuId::BOOT)?;
    arguments.port = port.get();
    if caller.cpu.write(argument, &arguments).is_err() {
        // The remote domain may have bound the port already. If closing fails, the port remains
        // allocated.
        let _ = close(&domain, port);
        return Err(Errno::EFAULT.into());
    }
    Ok(0)
}

pub(super) fn bind_interdomain(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut arguments: BindInterdomain = caller.cpu.read(argument)?;
    let domain = caller.domain;
    let remote = domain::by_id(resolve(caller, arguments.remote_domain)).ok_or(Errno::ESRCH)?;
    let remote_port = Port::new(arguments.remote_port);
    domain.events.make_room()?;
    let bound = with_both(domain, &remote, |local, other| {
        let port = local.find_free(domain)?;
        let accepts = |state: &State| matches!(state, State::Unbound(id) if *id == domain.id());
        let theirs = match other {
            Some(table) => table.channel_mut(remote_port)?,
            None => local.channel_mut(remote_port)?,
        };
        if !accepts(&theirs.state) {
            return Err(Errno::EINVAL.into());
        }
        theirs.state = State::Interdomain(Peer::new(domain, port));
        local.occupy(port, State::Interdomain(Peer::new(&remote, remote_port)), VcpuId::BOOT)?;
        // Earlier events from the peer were dropped, so the guest must check its state.
        Ok((port, local.raise(domain, port)))
    });
    note_refusal(domain, &bound);
    let (port, raised) = bound?;
    caller.budget.spend(raised.act(domain));
    arguments.local_port = port.get();
    hand_out(caller, argument, &arguments, port)
}
