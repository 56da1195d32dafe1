//! `set_segment_base`: FS and GS bases, and the GS selector of processes.

use abi::arch_x86_64::segment_base;
use abi::errno::Errno;

use crate::call::{CallResult, Caller};
use crate::trap;

/// Sets one of the bases, or loads the GS selector of processes; a selector that cannot be loaded becomes null.
pub(crate) fn set_segment_base(caller: &mut Caller<'_>, which: u32, value: u64) -> CallResult {
    let is_set = match which {
        segment_base::FS => caller.cpu.set_fs_base(value),
        segment_base::GS_USER => caller.cpu.set_user_gs_base(value),
        segment_base::GS_KERNEL => caller.cpu.set_kernel_gs_base(value),
        segment_base::GS_USER_SEL => {
            let selector = (value & 0xffff) as u16;
            if !caller.cpu.load_user_gs_selector(selector) {
                trap::show_ldt_page_of(caller.cpu, caller.domain, selector);
                caller.cpu.load_user_gs_selector(selector);
            }
            true
        }
        _ => false,
    };
    if is_set { Ok(0) } else { Err(Errno::EINVAL.into()) }
}
