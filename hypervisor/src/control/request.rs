//! A control call as read from its caller, with the addresses for its answer.

use abi::domctl::Domctl;
use abi::errno::Errno;
use abi::sysctl::Sysctl;
use abi::xen::DomainId;
use machine::addr::GuestVirt;
use machine::guest_memory::Fault;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::call::{CallError, Caller, ControlPrivilege};

/// Size of the operation-specific part of a request.
const ARGUMENT_SIZE: usize = 128;

/// A request whose caller is privileged and whose version is supported. It is copied in once.
pub(crate) struct Request {
    /// The operation.
    pub command: u32,
    /// The domain that it names; `domctl` only.
    pub domain: DomainId,
    argument: [u8; ARGUMENT_SIZE],
    /// The addresses of the request and of its argument in the caller's memory.
    address: GuestVirt,
    place: GuestVirt,
}

impl Request {
    /// Reads a `domctl`.
    ///
    /// # Errors
    /// `EFAULT`, `EACCES`, in this order.
    pub(super) fn domctl(caller: &Caller<'_>, _: ControlPrivilege, address: GuestVirt) -> Result<Self, CallError> {
        let Domctl { command, interface_version, domain, argument, .. } = caller.cpu.read(address)?;
        let place = address.offset(core::mem::offset_of!(Domctl, argument) as u64);
        Self { command, domain, argument, address, place }
            .of_version(interface_version, abi::domctl::interface::VERSION)
    }

    /// Reads a `sysctl`.
    ///
    /// # Errors
    /// `EFAULT`, `EACCES`, in this order.
    pub(super) fn sysctl(caller: &Caller<'_>, _: ControlPrivilege, address: GuestVirt) -> Result<Self, CallError> {
        let Sysctl { command, interface_version, argument } = caller.cpu.read(address)?;
        let place = address.offset(core::mem::offset_of!(Sysctl, argument) as u64);
        let domain = DomainId::INVALID;
        Self { command, domain, argument, address, place }
            .of_version(interface_version, abi::sysctl::interface::VERSION)
    }

    fn of_version(self, found: u32, spoken: u32) -> Result<Self, CallError> {
        if found == spoken { Ok(self) } else { Err(Errno::EACCES.into()) }
    }

    /// The argument, as the type that the operation uses.
    pub(crate) fn argument<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= ARGUMENT_SIZE) };
        let mut value = T::new_zeroed();
        value.as_mut_bytes().iter_mut().zip(&self.argument).for_each(|(to, from)| *to = *from);
        value
    }

    /// Writes a domain id to the request: that of a new domain, or of one that was found.
    ///
    /// # Errors
    /// If the request cannot be written.
    pub(crate) fn answer_domain(&self, caller: &mut Caller<'_>, domain: DomainId) -> Result<(), Fault> {
        caller.cpu.write(self.address.offset(core::mem::offset_of!(Domctl, domain) as u64), &domain)
    }

    /// Writes an answer to the argument.
    ///
    /// # Errors
    /// If the request cannot be written.
    pub(crate) fn answer<T: IntoBytes + Immutable>(&self, caller: &mut Caller<'_>, answer: &T) -> Result<(), Fault> {
        const { assert!(size_of::<T>() <= ARGUMENT_SIZE) };
        caller.cpu.write(self.place, answer)
    }
}
