//! A domain's memory limit, its hypercall page, and shadow paging, which is not supported.

use abi::domctl::{HypercallInit, MaxMemory, ShadowOp, shadow_op as operation};
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::addr::Mfn;
use machine::frames::{TypedRef, Writable};
use machine::paging::NoEntries;

use crate::builder::hypercall_page;
use crate::call::{CallResult, Caller};
use crate::control::Request;
use crate::domain::Domain;

/// log2 of the KiB in a frame.
const KIB_SHIFT: u32 = 2;

/// Sets the maximum number of frames. The domain may own more already.
pub(super) fn max_memory(request: &Request, target: &Arc<Domain>) -> CallResult {
    let MaxMemory { kibibytes } = request.argument();
    target.set_max_frames(u32::try_from(kibibytes >> KIB_SHIFT).unwrap_or(u32::MAX));
    Ok(0)
}

/// Fills a frame of the domain with the hypercall page.
pub(super) fn hypercall_init(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let HypercallInit { gmfn } = request.argument();
    let frame = target.frame(Mfn::new(gmfn)).ok_or(Errno::EACCES)?;
    let page: TypedRef<Writable> = TypedRef::acquire(frame, &mut NoEntries, &mut caller.budget)?;
    page.copy_in(0, &hypercall_page::contents());
    Ok(0)
}

/// Shadow paging is not implemented: it reports zero memory, and can only be turned off.
pub(super) fn shadow_op(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: ShadowOp = request.argument();
    match argument.operation {
        operation::OFF => Ok(0),
        operation::GET_ALLOCATION => {
            argument.megabytes = 0;
            request.answer(caller, &argument)?;
            Ok(0)
        }
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}
