//! Why a domain is killed: what it did that cannot be continued.

use core::fmt;

/// Why a domain is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillReason {
    /// A vCPU was started without a root table.
    NoRootTable,
    /// `SCHEDOP_shutdown` gave a reason that the interface does not have.
    UnknownShutdownReason(u32),
    /// The frame of an `iret` cannot be read from the kernel's stack.
    UnreadableIretFrame,
    /// An `iret` to user mode, for which there is no root table.
    NoUserRoot,
    /// The kernel cannot be entered.
    Entry {
        /// What it was to be entered for.
        entry: KernelEntry,
        /// Why that failed.
        failure: EntryFailure,
    },
}

/// What a guest's kernel is entered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelEntry {
    /// An exception or software interrupt.
    Trap {
        /// Its number.
        number: u8,
        /// Its error code, if it has one.
        error_code: Option<u32>,
        /// Whether it came from the kernel.
        from_kernel: bool,
        /// The instruction.
        rip: u64,
    },
    /// A 64-bit system call.
    SystemCall,
    /// A 32-bit system call.
    CompatSystemCall,
    /// A data segment that cannot be loaded.
    BadSelector,
    /// An event.
    Event,
    /// An NMI.
    Nmi,
}

/// Why a guest's kernel cannot be entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryFailure {
    /// It has set no handler.
    NoHandler,
    /// Its stack cannot be written at this address.
    UnwritableStack(u64),
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRootTable => f.write_str("a vCPU without root table was started"),
            Self::UnknownShutdownReason(code) => write!(f, "shut down with the unknown reason {code}"),
            Self::UnreadableIretFrame => f.write_str("the frame of its iret cannot be read"),
            Self::NoUserRoot => f.write_str("iret to user mode without a user root table"),
            Self::Entry { entry, failure } => write!(f, "{entry}: {failure}"),
        }
    }
}

impl fmt::Display for KernelEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap { number, error_code, from_kernel, rip } => {
                let mode = if *from_kernel { "kernel" } else { "user" };
                write!(f, "trap {number} (error code {error_code:x?}) in {mode} mode at {rip:#x}")
            }
            Self::SystemCall => f.write_str("system call"),
            Self::CompatSystemCall => f.write_str("32-bit system call"),
            Self::BadSelector => f.write_str("a segment that cannot be loaded"),
            Self::Event => f.write_str("event callback"),
            Self::Nmi => f.write_str("NMI callback"),
        }
    }
}

impl fmt::Display for EntryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHandler => f.write_str("no handler is set"),
            Self::UnwritableStack(address) => write!(f, "the kernel stack at {address:#x} cannot be written"),
        }
    }
}
