//! `fpu_taskswitch`: CR0.TS, with which a guest learns of the next use of extended state.

use crate::call::{CallResult, Caller};

/// Sets CR0.TS, or clears it for zero.
pub(crate) fn fpu_taskswitch(caller: &mut Caller<'_>, set: u32) -> CallResult {
    caller.cpu.set_task_switched(set != 0);
    Ok(0)
}
