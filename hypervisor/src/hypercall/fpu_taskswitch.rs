//! `fpu_taskswitch`: CR0.TS, which makes the next use of x87 or SSE trap.

use crate::call::{CallResult, Caller};

/// Sets CR0.TS, or clears it if `set` is zero.
pub(crate) fn fpu_taskswitch(caller: &mut Caller<'_>, set: u32) -> CallResult {
    caller.cpu.set_task_switched(set != 0);
    Ok(0)
}
