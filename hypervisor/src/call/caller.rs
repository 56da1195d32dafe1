//! Who makes a hypercall: everything that a handler may use.

use alloc::sync::Arc;

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::context::Active;
use machine::frames::{self, Budget};
use machine::hardware::Hardware;

use crate::domain::{self, Domain, Vcpu};
use crate::hardware;

/// The number of the domain that controls the others, on a host that has one.
const CONTROL_DOMAIN: DomainId = DomainId(0);

/// The vCPU that makes a hypercall, with its memory within reach.
pub struct Caller<'a> {
    /// The calling domain.
    pub domain: &'a Arc<Domain>,
    /// The calling vCPU.
    pub vcpu: &'a Arc<Vcpu>,
    /// Its state in the processor, and the way to its memory (`cpu.read`, `cpu.write`).
    pub cpu: &'a mut Active,
    /// Work that this call may still do before it must give way.
    pub budget: Budget,
}

/// Proof that a call comes from the control domain. A function that takes one cannot be reached by
/// any other domain.
#[derive(Clone, Copy, Debug)]
pub struct ControlPrivilege(());

/// Whose frames a call about page tables means.
pub enum PageOwner {
    /// A domain's.
    Domain(Arc<Domain>),
    /// The machine's, by the number that stands for a kind of them.
    Machine(DomainId),
}

impl PageOwner {
    /// The owner's number.
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
    /// Tears down the tables that earlier steps of the same call have left behind, as far as the
    /// budget goes; also those of `foreign`, the other domain whose tables the call concerns, if
    /// that is at rest and cannot do it itself. `false` if the call has to give way before its next
    /// step, which may depend on it (TD-2).
    #[inline]
    pub fn finish_teardown(&mut self, foreign: Option<&Domain>) -> bool {
        (!frames::left_tables() || self.tear_down())
            && foreign.is_none_or(|target| !target.is_paused() || target.teardown.advance(&mut self.budget))
    }

    #[inline(never)]
    fn tear_down(&mut self) -> bool {
        let done = self.domain.teardown.advance(&mut self.budget);
        if done {
            frames::note_torn_down();
        }
        done
    }

    /// The control domain's privilege.
    ///
    /// # Errors
    /// `EPERM` for any other domain.
    pub fn control(&self) -> Result<ControlPrivilege, Errno> {
        if self.domain.is_privileged() { Ok(ControlPrivilege(())) } else { Err(Errno::EPERM) }
    }

    /// The machine's devices, for the domain that has them.
    ///
    /// # Errors
    /// `EPERM` for any other domain.
    pub fn hardware(&self) -> Result<&'static Hardware, Errno> {
        hardware::of(self.domain).ok_or(Errno::EPERM)
    }

    /// Whose frames a call about page tables means: as `target`, but the machine's own frames (`DOMID_IO`, `DOMID_XEN`) have an owner
    /// too, with which an unprivileged domain may not deal.
    ///
    /// # Errors
    /// `ESRCH` if there is no such domain, `EPERM` if the caller may not deal with it.
    pub fn page_owner(&self, id: DomainId) -> Result<PageOwner, Errno> {
        if !matches!(id, DomainId::IO | DomainId::XEN) {
            return self.target(id).map(PageOwner::Domain);
        }
        self.control().map(|_| PageOwner::Machine(id))
    }

    /// The domain that `id` names: `SELF`, the caller's own number, or another domain if the caller is privileged.
    ///
    /// # Errors
    /// `ESRCH` if there is no such domain, `EPERM` if the caller may not deal with it.
    pub fn target(&self, id: DomainId) -> Result<Arc<Domain>, Errno> {
        if id == DomainId::SELF || id == self.domain.id() {
            return Ok(Arc::clone(self.domain));
        }
        let found = domain::by_id(id);
        if self.domain.is_privileged() {
            return found.ok_or(Errno::ESRCH);
        }
        // That there is a control domain is what every guest assumes.
        Err(if found.is_some() || id == CONTROL_DOMAIN { Errno::EPERM } else { Errno::ESRCH })
    }
}
