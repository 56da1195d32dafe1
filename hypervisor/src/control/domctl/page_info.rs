//! `getpageframeinfo3`: which of a domain's frames are page tables, of which level, and pinned.

use abi::domctl::{GetPageFrameInfo, page_frame_info as kind};
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::addr::{GuestVirt, Mfn};
use machine::frames::KindCode;

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::Domain;

/// The most frames that one call may ask about.
const MOST: u32 = 1024;
/// What it costs, in units of the budget, to tell what a frame is.
const COST_OF_FRAME: u32 = 8;

/// Replaces each frame number in the list by what the frame is.
pub(super) fn get_page_frame_info(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let GetPageFrameInfo { count, array } = request.argument();
    let count = u32::try_from(count).ok().filter(|&count| count <= MOST).ok_or(Errno::E2BIG)?;
    // The list is asked about in place, so it is done as a whole.
    if !caller.budget.has_room(count * COST_OF_FRAME) {
        return Err(CallError::again());
    }
    caller.budget.spend(count * COST_OF_FRAME);
    let list = GuestVirt::new(array);
    for index in 0..u64::from(count) {
        let mfn: u64 = caller.cpu.read_element(list, index)?;
        caller.cpu.write_element(list, index, &u64::from(kind_of(target, Mfn::new(mfn))))?;
    }
    Ok(0)
}

fn kind_of(target: &Domain, mfn: Mfn) -> u32 {
    let Some(frame) = target.frame(mfn) else { return kind::XTAB };
    let (code, uses) = frame.current_kind();
    let table = match code {
        // A table that nobody uses is memory again.
        _ if uses == 0 => kind::NOTAB,
        KindCode::L1 => kind::L1TAB,
        KindCode::L2 => kind::L2TAB,
        KindCode::L3 => kind::L3TAB,
        KindCode::L4 => kind::L4TAB,
        KindCode::None | KindCode::Writable | KindCode::Descriptor | KindCode::SharedReadOnly => kind::NOTAB,
    };
    if table != kind::NOTAB && frame.is_pinned() { table | kind::LPINTAB } else { table }
}
