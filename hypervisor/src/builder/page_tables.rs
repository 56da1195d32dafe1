//! The initial page tables of a domain.
//!
//! They are written as plain data and then promoted like a guest's own tables, so they pass the
//! same validation.

use alloc::sync::Arc;

use machine::frames::{AcquireError, Budget, L4, TypedRef};
use machine::paging::LeafFlags;

use super::layout::Layout;
use super::memory::Memory;
use crate::domain::Domain;
use crate::memory::admission::GuestAdmission;

const LINK: LeafFlags = LeafFlags::PRESENT
    .union(LeafFlags::WRITABLE)
    .union(LeafFlags::USER)
    .union(LeafFlags::ACCESSED)
    .union(LeafFlags::DIRTY);

/// Writes the tables of a layout and promotes them. Returns the root, which is also pinned.
pub(super) fn build(domain: &Arc<Domain>, memory: &Memory<'_>, layout: &Layout) -> Result<TypedRef<L4>, AcquireError> {
    for (level, start, frame) in layout.all_tables() {
        let table = memory.writable(frame);
        for index in 0..512u16 {
            let address = start + (u64::from(index) << (12 + 9 * (level - 1)));
            let entry = if level == 1 {
                layout.page(address).map(|(frame, writable)| {
                    (frame, if writable { LINK } else { LINK.difference(LeafFlags::WRITABLE) })
                })
            } else {
                layout.table(level - 1, address).map(|frame| (frame, LINK))
            };
            if let Some((frame, flags)) = entry {
                table.write_u64(index, memory.mfn(frame).address().get() | flags.bits());
            }
        }
    }
    let root = memory.mfn(layout.tables.start);
    let root = domain.frame(root).ok_or(AcquireError::Conflict)?;
    let root = TypedRef::<L4>::acquire(root, &mut GuestAdmission::of(domain), &mut Budget::new(u32::MAX))?;
    root.again().pin().map_err(|_| AcquireError::Conflict)?;
    Ok(root)
}
