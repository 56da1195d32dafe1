//! The entry points that a guest has set: its trap table and callbacks.

/// An entry point of a guest.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Handler {
    /// Address of the handler; zero if there is none.
    pub address: u64,
    /// Code segment selector.
    pub cs: u16,
    /// Non-zero if events are masked on entry.
    pub mask_events: u8,
    /// For the trap table: the privilege level from which `int n` may reach the handler.
    pub privilege: u8,
    _pad: u32,
}

impl Handler {
    /// A handler at `address`.
    pub const fn new(address: u64, cs: u16, mask_events: bool, privilege: u8) -> Self {
        Self { address, cs, mask_events: mask_events as u8, privilege, _pad: 0 }
    }

    /// Whether the guest has set one.
    pub const fn is_set(&self) -> bool {
        self.address != 0
    }
}

/// All entry points of a guest.
#[derive(Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the interface's callbacks")]
pub struct Handlers {
    pub traps: [Handler; 256],
    pub event: Handler,
    pub failsafe: Handler,
    pub syscall: Handler,
    pub syscall32: Handler,
    pub sysenter: Handler,
    pub nmi: Handler,
}

impl Handlers {
    /// The handler of a trap.
    #[expect(clippy::indexing_slicing, reason = "there is a handler for each vector")]
    pub fn trap(&self, vector: u8) -> Handler {
        self.traps[usize::from(vector)]
    }
}
