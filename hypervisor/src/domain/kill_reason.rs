//! Reasons for killing a domain.

use core::fmt;

/// The reason for which a domain is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillReason {
    /// A vCPU was started without a root table.
    NoRootTable,
    /// `SCHEDOP_shutdown` with a reason that the interface does not define.
    UnknownShutdownReason(u32),
    /// The frame of an `iret` cannot be read from the kernel's stack.
    UnreadableIretFrame,
    /// An `iret` to user mode without a user root table.
    NoUserRoot,
    /// It wrote a page-table entry that is not present but names memory (L1TF).
    AbsentEntryNamesMemory(u64),
    /// The guest kernel cannot be entered.
    Entry {
        /// The event that it should have been entered for.
        entry: KernelEntry,
        /// The reason of the failure.
        failure: EntryFailure,
    },
}

/// An event for which a guest kernel is entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelEntry {
    /// An exception or software interrupt.
    Trap {
        /// Its vector.
        number: u8,
        /// Its error code, if it has one.
        error_code: Option<u32>,
        /// Whether it was raised in kernel mode.
        from_kernel: bool,
        /// The address of the instruction.
        rip: u64,
    },
    /// A 64-bit system call.
    SystemCall,
    /// A 32-bit system call.
    CompatSystemCall,
    /// A data segment selector that cannot be loaded.
    BadSelector,
    /// The event callback.
    Event,
    /// An NMI.
    Nmi,
}

/// The reason why a guest kernel cannot be entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryFailure {
    /// The guest has not registered a handler.
    NoHandler,
    /// The kernel stack cannot be written at this address.
    UnwritableStack(u64),
}

impl fmt::Display for KillReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRootTable => f.write_str("a vCPU without root table was started"),
            Self::UnknownShutdownReason(code) => write!(f, "shut down with the unknown reason {code}"),
            Self::UnreadableIretFrame => f.write_str("the frame of its iret cannot be read"),
            Self::NoUserRoot => f.write_str("iret to user mode without a user root table"),
            Self::AbsentEntryNamesMemory(entry) => {
                write!(f, "it wrote the page-table entry {entry:#x}, which is not present but names memory (L1TF)")
            }
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
