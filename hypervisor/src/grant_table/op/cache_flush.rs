//! `cache_flush`. Caches are coherent on this architecture and guests map memory write-back only.
//! The operation therefore only checks that the caller has a right to the frame.
//!
//! A caller may have mapped millions of grants, so the search for a frame is preemptible. The chunk
//! of mappings at which it continues is in the upper bits of the command, as under Xen. A guest
//! that passes another number there only has a valid request refused or a search prolonged.

use abi::errno::Errno;
use abi::grant_table::{CacheFlush, cache_flush as operation, op};
use machine::addr::{GuestVirt, MachineAddr, Mfn, PAGE_SIZE};
use machine::boot::MAX_MAPTRACK_FRAMES;

use super::batch;
use crate::call::{CallError, CallResult, Caller};

const COST_PER_CHUNK: u32 = 128;
/// Position of the chunk's number in a command.
const CHUNK_SHIFT: u32 = 12;
// One number more than there are chunks: the search ends after the last one.
const _: () = assert!(MAX_MAPTRACK_FRAMES < 1 << (u32::BITS - CHUNK_SHIFT));

/// The operation of a command. A cache flush has its progress in the upper bits.
pub(super) const fn operation_of(command: u32) -> u32 {
    let operation = command & ((1 << CHUNK_SHIFT) - 1);
    if operation == op::CACHE_FLUSH { operation } else { command }
}

pub(super) fn cache_flush(caller: &mut Caller<'_>, command: u32, array: GuestVirt, count: u32) -> CallResult {
    let mut chunk = command >> CHUNK_SHIFT;
    let result = batch::each(caller, array, count, |caller, element| flush_one(caller, element, &mut chunk));
    result.map_err(|error| error.with_argument(0, u64::from(op::CACHE_FLUSH | chunk << CHUNK_SHIFT)))
}

/// Performs one element. The search begins at `chunk`, which is zero again when the element is
/// done.
fn flush_one(caller: &mut Caller<'_>, element: &CacheFlush, chunk: &mut u32) -> Result<(), CallError> {
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
    let has_right = caller.domain.frame(mfn).is_some() || has_mapped(caller, mfn, chunk)?;
    *chunk = 0;
    if has_right { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

/// Whether the caller has mapped a grant of the frame, in the chunks from `chunk` on. At least one
/// chunk is searched, so that the smallest budget makes progress.
fn has_mapped(caller: &mut Caller<'_>, mfn: Mfn, chunk: &mut u32) -> Result<bool, CallError> {
    loop {
        caller.budget.spend(COST_PER_CHUNK);
        // The lock is released between chunks.
        match caller.domain.grants.maptrack().chunk_has(*chunk as usize, mfn) {
            Some(false) => *chunk += 1,
            Some(true) => return Ok(true),
            None => return Ok(false),
        }
        if caller.budget.is_exhausted() {
            return Err(CallError::again());
        }
    }
}
