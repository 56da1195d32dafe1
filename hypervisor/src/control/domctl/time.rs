//! Wall clock and time-stamp counter of a domain.

use abi::domctl::{SetTimeOffset, TscInfo};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use machine::time;

use crate::call::{CallResult, Caller};
use crate::control::Request;
use crate::domain::Domain;

/// Values of `tsc_mode`: emulation if needed, always, never. No domain needs emulation, and it is
/// not implemented.
const DEFAULT: u32 = 0;
const ALWAYS_EMULATED: u32 = 1;
const NEVER_EMULATED: u32 = 2;

/// Sets the offset of the domain's wall clock from the host's.
pub(super) fn set_time_offset(request: &Request, target: &Arc<Domain>) -> CallResult {
    let SetTimeOffset { seconds } = request.argument();
    target.control.time_offset.store(seconds, Ordering::Relaxed);
    crate::time::show_wall_clock(target);
    Ok(0)
}

/// Returns the mode and frequency of the time-stamp counter.
pub(super) fn get_tsc_info(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let info = TscInfo {
        tsc_mode: target.control.tsc_mode.load(Ordering::Relaxed),
        guest_tsc_khz: u32::try_from(time::scale().frequency() / 1000).unwrap_or(0),
        incarnation: target.control.incarnation.load(Ordering::Relaxed),
        _pad: 0,
        elapsed_nanoseconds: time::now(),
    };
    request.answer(caller, &info)?;
    Ok(0)
}

/// Sets the mode of the time-stamp counter. The guest reads the processor's counter, so a domain
/// that comes from another host sees both the counter and the clock jump. It gets new values of
/// both.
pub(super) fn set_tsc_info(request: &Request, target: &Arc<Domain>) -> CallResult {
    let TscInfo { tsc_mode, incarnation, .. } = request.argument();
    match tsc_mode {
        DEFAULT | NEVER_EMULATED => {
            target.control.tsc_mode.store(tsc_mode, Ordering::Relaxed);
            target.control.incarnation.store(incarnation, Ordering::Relaxed);
            Ok(0)
        }
        ALWAYS_EMULATED => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}
