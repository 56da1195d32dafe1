//! `stack_switch`: the stack on which the kernel is entered from user mode.

use crate::call::{CallResult, Caller};

/// Sets the stack pointer. The selector is ignored: 64-bit kernels are entered with the flat one.
pub(crate) fn stack_switch(caller: &mut Caller<'_>, _selector: u64, pointer: u64) -> CallResult {
    caller.cpu.set_kernel_stack(pointer);
    Ok(0)
}
