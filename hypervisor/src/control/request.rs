//! A control call as it was read from its caller, and the way back for an answer.

use abi::domctl::Domctl;
use abi::errno::Errno;
use abi::sysctl::Sysctl;
use abi::xen::DomainId;
use machine::addr::GuestVirt;
use machine::guest_memory::Fault;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::call::{CallError, Caller, ControlPrivilege};

/// Bytes of the part of a request whose layout depends on the operation.
const ARGUMENT_SIZE: usize = 128;

/// A request that its caller may make, of a version that is spoken here; copied in once.
pub(crate) struct Request {
    /// Which operation.
    pub command: u32,
    /// The domain that it is about; `domctl` only.
    pub domain: DomainId,
    argument: [u8; ARGUMENT_SIZE],
    /// Where the request stands in the caller's memory, and the argument in it.
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

    /// The argument, as the operation has it.
    pub(crate) fn argument<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= ARGUMENT_SIZE) };
        let mut value = T::new_zeroed();
        value.as_mut_bytes().iter_mut().zip(&self.argument).for_each(|(to, from)| *to = *from);
        value
    }

    /// Puts the number of a domain into the request's: that of a new one, or of one that was found.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn answer_domain(&self, caller: &mut Caller<'_>, domain: DomainId) -> Result<(), Fault> {
        caller.cpu.write(self.address.offset(core::mem::offset_of!(Domctl, domain) as u64), &domain)
    }

    /// Puts an answer into the argument's place.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn answer<T: IntoBytes + Immutable>(&self, caller: &mut Caller<'_>, answer: &T) -> Result<(), Fault> {
        const { assert!(size_of::<T>() <= ARGUMENT_SIZE) };
        caller.cpu.write(self.place, answer)
    }
}
