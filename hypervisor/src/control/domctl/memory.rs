//! A domain's memory limit, and its hypercall page.

use abi::domctl::{HypercallInit, MaxMemory};
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
