//! Hypercalls: the call itself through the hypercall page, and the few that the shared kernel
//! needs.

use core::arch::asm;

pub use abi::xen::hypercall as number;

/// The guest's own domain id in calls with a domain argument.
pub const DOMID_SELF: u64 = abi::xen::domid::SELF as u64;

/// Error numbers as hypercalls return them: negative.
pub mod error {
    use abi::errno::Errno;

    macro_rules! negative {
        ($($name:ident)*) => { $(
            #[doc = concat!("The return value for `", stringify!($name), "`.")]
            pub const $name: i64 = -(Errno::$name as i64);
        )* };
    }
    negative!(EPERM ENOENT ESRCH ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST ENODEV EINVAL ENOSPC
        ERANGE ENOSYS ENODATA ETIME EOPNOTSUPP);
}

/// Issues hypercall `op` with `arguments` in the interface's registers. Returns RAX.
pub fn raw(op: u32, arguments: [u64; 5]) -> i64 {
    let result: i64;
    let [a, b, c, d, e] = arguments;
    // SAFETY: the hypercall page's entry `op` preserves all registers except RAX and the argument
    // registers. The check that makes the call is responsible for its effect on memory (see the
    // crate's documentation).
    unsafe {
        asm!(
            "shl eax, 5",
            "lea r9, [rip + hypercall_page]",
            "add rax, r9",
            "call rax",
            inlateout("rax") u64::from(op) => result,
            inlateout("rdi") a => _,
            inlateout("rsi") b => _,
            inlateout("rdx") c => _,
            inlateout("r10") d => _,
            inlateout("r8") e => _,
            lateout("r9") _,
        );
    }
    result
}

/// A value that can be an argument of a hypercall.
pub trait Argument {
    /// The register's content.
    fn word(self) -> u64;
}

macro_rules! arguments {
    ($($type:ty),*) => { $(impl Argument for $type {
        fn word(self) -> u64 { self as u64 }
    })* };
}
arguments!(u8, u16, u32, u64, usize, i32, i64);

impl<T> Argument for &T {
    fn word(self) -> u64 {
        core::ptr::from_ref(self) as u64
    }
}

impl<T> Argument for &mut T {
    fn word(self) -> u64 {
        core::ptr::from_mut(self) as u64
    }
}

/// `call!(number, argument…)`: a hypercall with up to five arguments, integers or references to
/// structures.
#[macro_export]
macro_rules! call {
    ($op:expr $(, $argument:expr)* $(,)?) => {
        // A match, so that temporaries among the arguments live until the call has returned.
        match [$($crate::call::Argument::word($argument)),*] {
            given => {
                let mut all = [0u64; 5];
                all[..given.len()].copy_from_slice(&given);
                $crate::call::raw($op, all)
            }
        }
    };
}

/// Sets the stack for traps from user mode.
pub fn stack_switch(top: u64) {
    let result = call!(number::STACK_SWITCH, 0xe02bu64, top);
    assert_eq!(result, 0, "stack_switch");
}

/// Ends the domain: SCHEDOP_shutdown with `reason` (0 is power-off).
pub fn shutdown(reason: u32) -> ! {
    loop {
        let _ = call!(number::SCHED_OP, 2u32, &reason);
    }
}

/// Yields the CPU.
pub fn yield_now() {
    let _ = call!(number::SCHED_OP, 0u32, 0u32);
}
