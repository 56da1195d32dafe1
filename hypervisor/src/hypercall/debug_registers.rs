//! `set_debugreg` and `get_debugreg`.

use crate::call::{CallResult, Caller};
use crate::trap::debug_registers;

/// Sets a debug register.
pub(crate) fn set_debugreg(caller: &mut Caller<'_>, register: u32, value: u64) -> CallResult {
    debug_registers::set(caller.cpu, register, value)?;
    Ok(0)
}

/// Reads a debug register.
pub(crate) fn get_debugreg(caller: &mut Caller<'_>, register: u32) -> CallResult {
    Ok(debug_registers::get(caller.cpu, register)?)
}
