//! `getpageframeinfo3`: reports which of a domain's frames are page tables, their level, and
//! whether they are pinned.

use abi::domctl::{GetPageFrameInfo, page_frame_info as kind};
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::addr::{GuestVirt, Mfn};
use machine::frames::KindCode;

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::Domain;

/// Maximum number of frames per call.
const MOST: u32 = 1024;
/// Cost of reporting a frame, in units of the budget.
const COST_OF_FRAME: u32 = 8;

/// Replaces each frame number in the list by the frame's kind.
pub(super) fn get_page_frame_info(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let GetPageFrameInfo { count, array } = request.argument();
    let count = u32::try_from(count).ok().filter(|&count| count <= MOST).ok_or(Errno::E2BIG)?;
    // The list is replaced in place, so the call cannot be restarted in the middle.
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
        // A table without a use is plain memory.
        _ if uses == 0 => kind::NOTAB,
        KindCode::L1 => kind::L1TAB,
        KindCode::L2 => kind::L2TAB,
        KindCode::L3 => kind::L3TAB,
        KindCode::L4 => kind::L4TAB,
        KindCode::None | KindCode::Writable | KindCode::Descriptor | KindCode::SharedReadOnly => kind::NOTAB,
    };
    if table != kind::NOTAB && frame.is_pinned() { table | kind::LPINTAB } else { table }
}
