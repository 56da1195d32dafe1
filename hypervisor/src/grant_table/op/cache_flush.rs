//! `cache_flush`. Caches are coherent on this architecture and guests map memory write-back only, so when the caller
//! has been found to have a right to the frame there is nothing to do.

use abi::errno::Errno;
use abi::grant_table::{CacheFlush, cache_flush as operation};
use machine::addr::{MachineAddr, Mfn, PAGE_SIZE};

use crate::hypercall::{CallError, Caller};

const COST_PER_CHUNK: u32 = 128;

pub(super) fn cache_flush(caller: &mut Caller<'_>, element: &mut CacheFlush) -> Result<(), CallError> {
    let (offset, length) = (usize::from(element.offset), usize::from(element.length));
    if offset >= PAGE_SIZE || length > PAGE_SIZE - offset {
        return Err(Errno::EINVAL.into());
    }
    if length == 0 || element.operation == 0 {
        return Ok(());
    }
    if element.operation & operation::SOURCE_GREF != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if element.operation & !(operation::CLEAN | operation::INVAL) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mfn = Mfn::containing(MachineAddr::new(element.address_or_reference));
    if caller.domain.frame(mfn).is_some() || has_mapped(caller, mfn) {
        return Ok(());
    }
    Err(Errno::EINVAL.into())
}

/// Whether the caller has mapped a grant of the frame.
fn has_mapped(caller: &mut Caller<'_>, mfn: Mfn) -> bool {
    for chunk in 0.. {
        caller.budget.spend(COST_PER_CHUNK);
        // The lock is let go between two chunks.
        match caller.domain.grants.maptrack().chunk_has(chunk, mfn) {
            Some(false) => {}
            Some(true) => return true,
            None => return false,
        }
    }
    false
}
