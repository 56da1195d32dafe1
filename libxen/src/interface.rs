//! An open control interface, and the calls on one domain.
#![expect(unsafe_code, reason = "calls of a C library")]

use std::ffi::{c_int, c_ulong};
use std::io;
use std::ptr::{NonNull, null_mut};

use abi::domctl::{GetDomainInfo, info_flags};
use zerocopy::FromZeros;

use crate::declarations::Handle;
use crate::error::Error;
use crate::library::{Control, Guest};

/// Why a domain shut down: `SHUTDOWN_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It powered off.
    PowerOff,
    /// It wants to be started again.
    Reboot,
    /// It is suspended.
    Suspend,
    /// It crashed.
    Crash,
    /// Another reason, by number.
    Other(u32),
}

/// Whether the domain has shut down, and why.
pub fn state(info: &GetDomainInfo) -> Option<Shutdown> {
    (info.flags & info_flags::SHUTDOWN != 0).then_some({
        match (info.flags >> info_flags::SHUTDOWNSHIFT) & info_flags::SHUTDOWNMASK {
            0 => Shutdown::PowerOff,
            1 => Shutdown::Reboot,
            2 => Shutdown::Suspend,
            3 => Shutdown::Crash,
            other => Shutdown::Other(other),
        }
    })
}

/// An open control interface of the hypervisor.
pub struct Interface {
    handle: NonNull<Handle>,
    control: Control,
    pub(crate) guest: Guest,
}

impl Interface {
    /// Opens the libraries and the interface, which only root in the control domain may do.
    pub fn open() -> Result<Self, Error> {
        let (control, guest) = (Control::load()?, Guest::load()?);
        // SAFETY: LX-1; null loggers are allowed and mean standard error.
        let handle = unsafe { (control.open)(null_mut(), null_mut(), 0) };
        let handle = NonNull::new(handle).ok_or_else(|| last("xc_interface_open"))?;
        Ok(Self { handle, control, guest })
    }

    /// The handle for a call (LX-2).
    pub(crate) fn handle(&self) -> *mut Handle {
        self.handle.as_ptr()
    }

    /// The domain with this id, or `None` if there is none.
    pub fn domain(&self, id: u32) -> Result<Option<GetDomainInfo>, Error> {
        let mut info = GetDomainInfo::new_zeroed();
        // SAFETY: LX-1, LX-2; there is space for the one entry that is asked for.
        let count = unsafe { (self.control.get_info_list)(self.handle(), id, 1, &raw mut info) };
        if count < 0 {
            return Err(last("xc_domain_getinfolist"));
        }
        // The entry is the first domain whose id is not smaller.
        Ok((count == 1 && u32::from(info.domain.0) == id).then_some(info))
    }

    /// Pauses the domain.
    pub fn pause(&self, id: u32) -> Result<(), Error> {
        // SAFETY: LX-1, LX-2.
        checked("xc_domain_pause", unsafe { (self.control.pause)(self.handle(), id) })
    }

    /// Lets the domain run that was paused, for example when it was restored.
    pub fn unpause(&self, id: u32) -> Result<(), Error> {
        // SAFETY: LX-1, LX-2.
        checked("xc_domain_unpause", unsafe { (self.control.unpause)(self.handle(), id) })
    }

    /// Reserves free memory for the domain until it has this many pages; zero ends it.
    pub fn claim(&self, id: u32, pages: u64) -> Result<(), Error> {
        let pages: c_ulong = pages;
        // SAFETY: LX-1, LX-2.
        checked("xc_domain_claim_pages", unsafe { (self.control.claim_pages)(self.handle(), id, pages) })
    }

    /// Lets a suspended domain continue where it is. Its kernel learns that it was not moved.
    pub fn resume(&self, id: u32) -> Result<(), Error> {
        // SAFETY: LX-1, LX-2.
        checked("xc_domain_resume", unsafe { (self.guest.resume)(self.handle(), id, 1) })
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // SAFETY: LX-2; this is the only place that closes it.
        unsafe { (self.control.close)(self.handle()) };
    }
}

/// An error of the call that has just failed.
pub(crate) fn last(call: &'static str) -> Error {
    Error::Call(call, io::Error::last_os_error())
}

pub(crate) fn checked(call: &'static str, status: c_int) -> Result<(), Error> {
    if status == 0 { Ok(()) } else { Err(last(call)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_shutdown_is_read() {
        let mut info = GetDomainInfo::new_zeroed();
        assert_eq!(state(&info), None);
        info.flags = info_flags::SHUTDOWN | 2 << info_flags::SHUTDOWNSHIFT;
        assert_eq!(state(&info), Some(Shutdown::Suspend));
        info.flags = info_flags::SHUTDOWN | 9 << info_flags::SHUTDOWNSHIFT;
        assert_eq!(state(&info), Some(Shutdown::Other(9)));
    }
}
