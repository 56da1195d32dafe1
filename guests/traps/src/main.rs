//! Every trap that a guest can raise, with its frame; see README.md.
#![no_std]
#![no_main]

mod callbacks;
mod debug;
mod from_kernel;
mod from_user;
mod user_code;

use kernel::trap::{SS, Trap};
use kernel::{check, check_eq};

kernel::guest!(main);

fn main() {
    from_kernel::all();
    debug::all();
    from_user::all();
    callbacks::all();
}

/// The expected properties of a trap from kernel mode.
struct Due {
    vector: u64,
    error: u64,
    /// Bytes from the frame's RIP to the end of the attempt: the instruction's length for a fault,
    /// 0 for a trap.
    back: u64,
    /// Event mask before the trap.
    mask: u8,
    /// Event mask in the handler.
    masked: u8,
}

impl Due {
    fn fault(vector: u64, error: u64, back: u64) -> Self {
        Self { vector, error, back, mask: 1, masked: 1 }
    }

    /// Checks a trap in kernel mode.
    fn check(&self, what: &str, trap: Option<Trap>) {
        let Some(trap) = trap else {
            check!(false, "{what}: no trap");
            return;
        };
        let frame = &trap.frame;
        check_eq!(frame.vector, self.vector, "{what}: vector");
        check_eq!(frame.error, self.error, "{what}: error code");
        check_eq!(frame.rip, trap.resume - self.back, "{what}: RIP");
        // The kernel's CS has RPL 0; the saved mask is in the upper half.
        check_eq!(frame.cs, u64::from(self.mask) << 32 | 0xe030, "{what}: CS");
        check_eq!(frame.ss, SS, "{what}: SS");
        check_eq!(frame.rflags >> 9 & 1, u64::from(1 - self.mask), "{what}: IF is the inverse of the mask");
        check_eq!(frame.rflags >> 12 & 3, 0, "{what}: IOPL");
        check_eq!(trap.mask, self.masked, "{what}: mask in the handler");
        check_eq!(trap.top, frame.rsp & !15, "{what}: the frame is below RSP, aligned");
    }
}
