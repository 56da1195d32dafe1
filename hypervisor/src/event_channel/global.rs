//! Virtual interrupts of the host, and the domains that receive them. The default is the control
//! domain.

use alloc::sync::{Arc, Weak};

use abi::errno::Errno;
use abi::xen::virq;
use machine::speculation::MaskedIndex;
use machine::sync::{Level, SpinLock};

use super::ports::{State, VIRQS, is_global};
use super::{deliver, raise_global_virq};
use crate::domain::{self, Domain};

/// Domains that receive an interrupt instead of the control domain.
static HANDLERS: SpinLock<[Option<Weak<Domain>>; VIRQS]> = SpinLock::new(Level::DomainRecord, [const { None }; VIRQS]);

/// Directs a virtual interrupt of the host to `domain`.
///
/// # Errors
/// `EINVAL` if the interrupt does not exist or is per-vCPU.
pub(crate) fn set_global_handler(domain: &Arc<Domain>, number: u32) -> Result<(), Errno> {
    if !is_global(number) {
        return Err(Errno::EINVAL);
    }
    let mut handlers = HANDLERS.lock();
    let handler = usize::try_from(number).ok().and_then(|index| handlers.masked_mut(index)).ok_or(Errno::EINVAL)?;
    let former = handler.replace(Arc::downgrade(domain));
    drop(handlers);
    drop(former);
    Ok(())
}

/// Makes a virtual interrupt of the host pending in the domain that receives it.
pub(crate) fn raise_for_control(number: u32) {
    let handlers = HANDLERS.lock();
    let handler = usize::try_from(number).ok().and_then(|index| handlers.masked(index)).cloned().flatten();
    drop(handlers);
    let handler = handler.and_then(|handler| handler.upgrade()).filter(|handler| !handler.is_dying());
    if let Some(domain) = handler.or_else(domain::control_domain) {
        raise_global_virq(&domain, number);
    }
}

/// Reports that a domain has ended. If it has suspended itself, the event is sent on its suspend
/// port, if it has one; otherwise `VIRQ_DOM_EXC` is raised.
pub(crate) fn report_end(ended: &Arc<Domain>, suspended: bool) {
    if suspended && let Some(port) = ended.control.suspend_port() {
        let table = ended.events.lock();
        if let Ok(channel) = table.channel(port)
            && let State::Interdomain(peer) = &channel.state
        {
            let (remote, remote_port) = (peer.domain.upgrade(), peer.port);
            drop(table);
            if let Some(remote) = remote {
                deliver(&remote, remote_port, ended.id(), port);
            }
            return;
        }
    }
    raise_for_control(virq::DOM_EXC);
}
