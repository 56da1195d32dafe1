//! From a guest address to the page-table entry that maps it, by the guest kernel's tables.

use machine::addr::GuestVirt;
use machine::context::Active;
use machine::frames::{FrameRef, L1, L2, L3, L4, Level, TypedRef};

/// The table of level `Lower` that an entry of `table` links. Another vCPU may replace the entry meanwhile; then the frame it names is either still
/// a table of that level, or there is none.
fn lower<Upper: Level, Lower: Level>(table: &TypedRef<Upper>, address: GuestVirt) -> Option<TypedRef<Lower>> {
    let entry = table.entry(index_of::<Upper>(address));
    if !entry.is_present() {
        return None;
    }
    TypedRef::existing(FrameRef::get_any(entry.frame())?).ok()
}

fn index_of<K: Level>(address: GuestVirt) -> u16 {
    // Nine bits fit.
    address.index(u32::from(K::LEVEL)) as u16
}

/// The L1 table and the index in it that map `address` in the guest kernel's address space.
pub fn leaf(cpu: &Active, address: GuestVirt) -> Option<(TypedRef<L1>, u16)> {
    if !address.is_guest() {
        return None;
    }
    let root: &TypedRef<L4> = cpu.context().kernel_root()?;
    let l3: TypedRef<L3> = lower(root, address)?;
    let l2: TypedRef<L2> = lower(&l3, address)?;
    let l1: TypedRef<L1> = lower(&l2, address)?;
    Some((l1, index_of::<L1>(address)))
}
