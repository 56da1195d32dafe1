//! The reasons for which a vCPU stops running.

use crate::addr::GuestVirt;

/// Why a guest stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The guest's kernel made a hypercall; `rax` has its number.
    Hypercall,
    /// One of the guest's processes made a 64-bit system call.
    Syscall,
    /// A system call from 32-bit code.
    Syscall32,
    /// SYSENTER.
    Sysenter,
    /// The guest's instruction raised an exception or software interrupt.
    Trap {
        /// Exception number.
        vector: u8,
        /// Error code; zero if the exception has none.
        error_code: u32,
        /// The address for page faults; zero otherwise.
        address: GuestVirt,
    },
    /// An interrupt of the pCPU arrived and has been recorded (see `cpu::take_pending`).
    Interrupt,
    /// Not all data segments could be loaded when the vCPU was activated on this pCPU; those are
    /// null.
    BadSelectors,
}
