//! The fast path: operations that the entry code completes for a vCPU without Rust, with counters.

use super::{GuestContext, Handler, is_canonical};
use crate::addr::HYPERVISOR_END;
use crate::vectors;

/// Parameters of the fast path; zero where the entry code must take the slow path. Derived from the
/// handlers and the kernel stack before the guest runs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct FastPath {
    /// The kernel stack, aligned, if system calls of processes may be bounced to it without further
    /// checks.
    pub(crate) syscall_stack: u64,
    /// The same for page faults of processes.
    pub(crate) bounce_stack: u64,
    /// The page fault handler, if the fast path can enter it.
    pub(crate) fault_handler: u64,
    /// The handler of system calls, if `syscall_stack` is not zero.
    pub(crate) syscall_handler: u64,
    /// Whether the fast path of the `iret` hypercall is enabled.
    pub(crate) irets: u64,
}

/// Fast path counts since they were last published.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub(crate) struct FastPathCounts {
    pub(crate) system_calls: u64,
    pub(crate) returns: u64,
    pub(crate) kernel_returns: u64,
    pub(crate) faults: u64,
    pub(crate) kernel_faults: u64,
    pub(crate) page_flushes: u64,
    pub(crate) stack_switches: u64,
    pub(crate) segment_bases: u64,
    /// Switches between full and restricted roots.
    pub(crate) root_switches: u64,
    /// Overwritten return stack buffers.
    pub(crate) return_stacks: u64,
    /// Barriers for branch predictions at exits.
    pub(crate) barriers: u64,
    /// Histories of branches cleared at exits.
    pub(crate) history_clears: u64,
    /// Writes of SPEC_CTRL at exits to Rust code and entries from it.
    pub(crate) spec_ctrl_writes: u64,
    /// VERW instructions before entries from Rust code.
    pub(crate) buffer_clears: u64,
}

/// Size of the largest frame that the entry code builds, in bytes.
pub(crate) const FRAME_ROOM: u64 = 64;

impl GuestContext {
    /// Sets the stack on which the kernel is entered from a process.
    pub const fn set_kernel_stack(&mut self, stack: u64) {
        self.kernel_stack = stack;
        // Linux does this at each switch between threads, so only the fields that depend on it are
        // updated.
        let stack = self.fast_path_stack();
        if self.fast_path.syscall_stack == 0 || self.fast_path.bounce_stack == 0 || stack == 0 {
            self.fast_path_stale = true;
        } else {
            (self.fast_path.syscall_stack, self.fast_path.bounce_stack) = (stack, stack);
        }
    }

    /// The kernel stack as used by the fast path; zero if it is unsuitable.
    const fn fast_path_stack(&self) -> u64 {
        let stack = self.kernel_stack & !15;
        if stack > HYPERVISOR_END + FRAME_ROOM { stack } else { 0 }
    }

    /// Derives the parameters of the fast path. It is enabled for handlers that mask events (so
    /// that no event is due on entry) at canonical addresses, and a stack in the guest's upper
    /// half.
    pub(crate) fn derive_fast_path(&mut self) {
        self.fast_path_stale = false;
        self.fast_path = FastPath::default();
        if !self.fast_path_allowed {
            return;
        }
        let plain = |handler: &Handler| handler.is_set() && handler.mask_events != 0 && is_canonical(handler.address);
        let stack = self.fast_path_stack();
        let fault = self.handlers.trap(vectors::PAGE_FAULT);
        self.fast_path = FastPath {
            syscall_stack: if plain(&self.handlers.syscall) { stack } else { 0 },
            bounce_stack: stack,
            syscall_handler: self.handlers.syscall.address,
            // A fault of a mirror is not the guest's.
            fault_handler: if plain(&fault) && !self.mirrored { fault.address } else { 0 },
            irets: 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kernel_stack_changes_the_fast_path_as_deriving_it_would() {
        let mut context = GuestContext::new();
        let low = [0, 1, 0x7fff_0000, HYPERVISOR_END - 8];
        let stacks = low.into_iter().chain([0, 16, 64, 72, 80, 4096 + 8].map(|above| HYPERVISOR_END + above));
        for (allowed, address) in [(true, 1 << 47), (true, 0x1000), (false, 0x1000), (true, 0)] {
            context.fast_path_allowed = allowed;
            context.handlers_mut().syscall = Handler::new(address, 0, true, 0);
            for (before, after) in stacks.clone().flat_map(|before| stacks.clone().map(move |after| (before, after))) {
                context.set_kernel_stack(before);
                context.derive_fast_path();
                context.set_kernel_stack(after);
                if context.fast_path_stale {
                    context.derive_fast_path();
                }
                let found = context.fast_path;
                context.derive_fast_path();
                assert_eq!(found, context.fast_path, "{before:#x}, {after:#x}");
            }
        }
    }
}
