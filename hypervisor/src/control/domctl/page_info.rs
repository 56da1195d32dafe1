//! `getpageframeinfo3`: which of a domain's frames are page tables, of which level, and pinned.

use abi::domctl::{GetPageFrameInfo, page_frame_info as kind};
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::addr::{GuestVirt, Mfn};
use machine::frames::KindCode;

use crate::control::Request;
use crate::domain::Domain;
use crate::hypercall::{CallResult, Caller};

/// The most frames that one call may ask about, which is well within what may be done at once.
const MOST: u64 = 1024;
/// What it costs, in units of the budget, to tell what a frame is.
const COST_OF_FRAME: u32 = 8;

/// Replaces each frame number in the list by what the frame is.
pub(super) fn get_page_frame_info(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let GetPageFrameInfo { count, array } = request.argument();
    if count > MOST {
        return Err(Errno::E2BIG.into());
    }
    // At most `MOST`.
    caller.budget.spend(count as u32 * COST_OF_FRAME);
    let list = GuestVirt::new(array);
    for index in 0..count {
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
