//! EFI's runtime services (UEFI 2.10, chapter 8), for the hardware domain. The firmware runs in
//! ring 0 and is trusted as the hardware is. This module ensures that it gets pointers only to the
//! buffers of a call, that calls are made one at a time, and that no guest can have changed its
//! code.
//!
//! The duration of a call is not bounded (writing flash memory takes milliseconds and more).
//! Interrupts are enabled during the call, so other pCPUs do not wait for this one. Other work of
//! this pCPU waits.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

use core::sync::atomic::{AtomicBool, Ordering};

use crate::context::Active;
use crate::hardware::Hardware;
use crate::speculation::MaskedIndex;

#[cfg(target_os = "none")]
pub(crate) use backend::init;
#[cfg(not(target_os = "none"))]
pub use backend::install;

/// Sixteen bytes: `EFI_TIME`, or a GUID.
pub type Bytes16 = [u8; 16];

/// Capabilities of the clock, returned by `GetTime`: `EFI_TIME_CAPABILITIES`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct TimeCapabilities {
    /// Ticks per second.
    pub resolution: u32,
    /// Error rate in units of 10^-12.
    pub accuracy: u32,
    /// Whether setting the time clears the part below the resolution.
    pub sets_to_zero: u8,
}

/// EFI status codes that are used here.
pub mod status {
    /// `EFI_SUCCESS`.
    pub const SUCCESS: u64 = 0;
    /// `EFI_UNSUPPORTED`.
    pub const UNSUPPORTED: u64 = 1 << 63 | 3;
    /// `EFI_BUFFER_TOO_SMALL`.
    pub const BUFFER_TOO_SMALL: u64 = 1 << 63 | 5;
    /// `EFI_NOT_FOUND`.
    pub const NOT_FOUND: u64 = 1 << 63 | 14;
}

/// A variable's name, terminated by its only zero.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a>(&'a [u16]);

impl<'a> Name<'a> {
    /// The name, up to its first zero; `None` if there is none.
    pub fn new(characters: &'a [u16]) -> Option<Self> {
        let end = characters.iter().position(|&character| character == 0)?;
        characters.part(..=end).map(Self)
    }

    /// The characters, including the zero.
    pub const fn characters(self) -> &'a [u16] {
        self.0
    }
}

/// A service with its arguments.
#[derive(Debug)]
#[expect(missing_docs, reason = "the arguments have UEFI's names")]
pub enum Service<'a> {
    GetTime { time: &'a mut Bytes16, capabilities: &'a mut TimeCapabilities },
    SetTime { time: &'a Bytes16 },
    GetWakeupTime { enabled: &'a mut u8, pending: &'a mut u8, time: &'a mut Bytes16 },
    SetWakeupTime { enable: bool, time: Option<&'a Bytes16> },
    GetVariable { name: Name<'a>, vendor: &'a Bytes16, attributes: &'a mut u32, size: &'a mut u64, data: &'a mut [u8] },
    GetNextVariableName { size: &'a mut u64, name: &'a mut [u16], vendor: &'a mut Bytes16 },
    SetVariable { name: Name<'a>, vendor: &'a Bytes16, attributes: u32, data: &'a [u8] },
    GetNextHighMonotonicCount { count: &'a mut u32 },
    QueryVariableInfo { attributes: u32, maximum: &'a mut u64, remaining: &'a mut u64, largest: &'a mut u64 },
}

impl Service<'_> {
    /// Sets the size arguments to the sizes of the buffers. Returns `None` if an argument is
    /// invalid.
    fn with_sizes(self) -> Option<Self> {
        match self {
            Self::GetVariable { name, vendor, attributes, size, data } => {
                *size = data.len() as u64;
                Some(Self::GetVariable { name, vendor, attributes, size, data })
            }
            Self::GetNextVariableName { size, name, vendor } => {
                *size = size_of_val(name) as u64;
                Name::new(name)?;
                Some(Self::GetNextVariableName { size, name, vendor })
            }
            other => Some(other),
        }
    }
}

/// Set during a call: calls must not overlap (UEFI 2.10, 8.1).
static BUSY: AtomicBool = AtomicBool::new(false);

/// The reason why a service was not called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotCalled {
    /// There are no runtime services, or they are disabled.
    None,
    /// A call is in progress on another CPU.
    Busy,
    /// A name is not terminated.
    BadName,
}

impl Hardware {
    /// The version of the runtime services, if they can be called.
    pub fn runtime_services(&self) -> Option<u32> {
        backend::revision()
    }

    /// Calls a service and returns EFI's status. `cpu`, the vCPU on whose behalf it is called, is
    /// unloaded from this pCPU during the call.
    ///
    /// # Errors
    /// If it was not called.
    pub fn call_firmware(&self, cpu: &mut Active, service: Service<'_>) -> Result<u64, NotCalled> {
        self.runtime_services().ok_or(NotCalled::None)?;
        let service = service.with_sizes().ok_or(NotCalled::BadName)?;
        if BUSY.swap(true, Ordering::Acquire) {
            return Err(NotCalled::Busy);
        }
        let mut status = status::UNSUPPORTED;
        cpu.set_aside_for(|| status = backend::call(service));
        BUSY.store(false, Ordering::Release);
        Ok(status)
    }
}
