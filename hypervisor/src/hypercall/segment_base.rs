//! `set_segment_base`: FS and GS bases, and the GS selector of user mode.

use abi::arch_x86_64::segment_base;
use abi::errno::Errno;

use machine::integers::low_u16;

use crate::call::{CallResult, Caller, operations};
use crate::trap;

operations! {
    /// Sets one of the bases, or loads the GS selector of user mode.
    pub(crate) fn set_segment_base(caller: &mut Caller<'_>, which: u32, value: u64) -> CallResult;
    names: segment_base::NAMES;
    unknown: Errno::EINVAL;
    segment_base::FS => checked(caller.cpu.set_fs_base(value));
    segment_base::GS_USER => checked(caller.cpu.set_user_gs_base(value));
    segment_base::GS_KERNEL => checked(caller.cpu.set_kernel_gs_base(value));
    segment_base::GS_USER_SEL => load_user_gs_selector(caller, low_u16(value));
}

/// Converts the result of setting a base: one that is not canonical is refused.
fn checked(is_set: bool) -> CallResult {
    if is_set { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

/// Loads the user GS selector. One that cannot be loaded becomes null.
fn load_user_gs_selector(caller: &mut Caller<'_>, selector: u16) -> CallResult {
    if !caller.cpu.load_user_gs_selector(selector) {
        trap::show_ldt_page_of(caller.cpu, caller.domain, selector);
        caller.cpu.load_user_gs_selector(selector);
    }
    Ok(0)
}
