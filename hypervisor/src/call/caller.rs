//! The caller of a hypercall, and what its handler may use.

use alloc::sync::Arc;

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::context::Active;
use machine::frames::{self, Budget};
use machine::hardware::Hardware;
use machine::speculation;

use crate::domain::{self, Domain, Vcpu};
use crate::hardware;

/// Id of the control domain, on a host that has one.
const CONTROL_DOMAIN: DomainId = DomainId(0);

/// The vCPU that makes a hypercall, with access to its memory.
pub struct Caller<'a> {
    /// The calling domain.
    pub domain: &'a Arc<Domain>,
    /// The calling vCPU.
    pub vcpu: &'a Arc<Vcpu>,
    /// Its loaded state, which also gives access to its memory (`cpu.read`, `cpu.write`).
    pub cpu: &'a mut Active,
    /// The work that this call may still do before it must return a continuation.
    pub budget: Budget,
}

/// Proof that a call comes from the control domain. A function that takes one cannot be reached
/// from any other domain.
#[derive(Clone, Copy, Debug)]
pub struct ControlPrivilege(());

/// The owner of the frames that a call about page tables names.
pub enum PageOwner {
    /// A domain.
    Domain(Arc<Domain>),
    /// The machine, by the reserved domain id for this kind of frames.
    Machine(DomainId),
}

impl PageOwner {
    /// The owner's domain id.
    pub fn id(&self) -> DomainId {
        match self {
            Self::Domain(domain) => domain.id(),
            Self::Machine(id) => *id,
        }
    }

    /// The owner, if it is a domain.
    ///
    /// # Errors
    /// `ESRCH` if it is not.
    pub fn domain(&self) -> Result<&Arc<Domain>, Errno> {
        match self {
            Self::Domain(domain) => Ok(domain),
            Self::Machine(_) => Err(Errno::ESRCH),
        }
    }
}

impl Caller<'_> {
    /// Tears down the tables that earlier steps of the same call left, as far as the budget allows.
    /// Tables of `foreign`, the other domain whose page tables the call changes, are torn down as
    /// well if that domain is paused and so cannot do it itself.
    ///
    /// Returns `false` if the call must return a continuation before its next step, which may
    /// depend on the teardown (TD-2).
    #[inline]
    pub fn finish_teardown(&mut self, foreign: Option<&Domain>) -> bool {
        (!frames::left_tables() || self.advance_teardown())
            && foreign.is_none_or(|target| !target.is_paused() || target.teardown.advance(&mut self.budget))
    }

    #[inline(never)]
    fn advance_teardown(&mut self) -> bool {
        let done = self.domain.teardown.advance(&mut self.budget);
        if done {
            frames::note_torn_down();
        }
        done
    }

    /// Returns the privilege of the control domain.
    ///
    /// # Errors
    /// `EPERM` for any other domain.
    pub fn control(&self) -> Result<ControlPrivilege, Errno> {
        if !self.domain.is_privileged() {
            return Err(Errno::EPERM);
        }
        // No handler runs ahead for a caller that turns out to have no privilege.
        speculation::fence();
        Ok(ControlPrivilege(()))
    }

    /// Returns the machine's devices, if the domain owns them.
    ///
    /// # Errors
    /// `EPERM` for any other domain.
    pub fn hardware(&self) -> Result<&'static Hardware, Errno> {
        hardware::of(self.domain).ok_or(Errno::EPERM)
    }

    /// Resolves the owner of the frames that a call about page tables names. It accepts the ids of
    /// [`target`](Self::target), and from the control domain also those of the machine's own frames
    /// (`DOMID_IO`, `DOMID_XEN`).
    ///
    /// # Errors
    /// `ESRCH` if there is no such domain, `EPERM` if the caller may not act on it.
    pub fn page_owner(&self, id: DomainId) -> Result<PageOwner, Errno> {
        if !matches!(id, DomainId::IO | DomainId::XEN) {
            return self.target(id).map(PageOwner::Domain);
        }
        self.control().map(|_| PageOwner::Machine(id))
    }

    /// Resolves a domain id: `DOMID_SELF`, the caller's own id, or another domain if the caller is
    /// privileged.
    ///
    /// # Errors
    /// `ESRCH` if there is no such domain, `EPERM` if the caller may not act on it.
    pub fn target(&self, id: DomainId) -> Result<Arc<Domain>, Errno> {
        if id == DomainId::SELF || id == self.domain.id() {
            return Ok(Arc::clone(self.domain));
        }
        let found = domain::by_id(id);
        if self.domain.is_privileged() {
            let found = found.ok_or(Errno::ESRCH)?;
            speculation::fence();
            return Ok(found);
        }
        // Guests assume that a control domain exists, also on a host without one.
        Err(if found.is_some() || id == CONTROL_DOMAIN { Errno::EPERM } else { Errno::ESRCH })
    }
}
