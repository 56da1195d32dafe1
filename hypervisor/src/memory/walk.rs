//! From a guest address to the page-table entry that maps it, by the guest kernel's tables.

use abi::xen::DomainId;
use machine::addr::GuestVirt;
use machine::context::Active;
use machine::frames::{FrameRef, L1, L2, L3, L4, Level, TypedRef};
use machine::paging::RawEntry;

/// The table of level `Lower` that an entry of `table` links. Another vCPU may replace the entry meanwhile, and the frame that it named be anything by
/// then, a table of another domain's even: so it has to be one of the same domain's. If it is a table of that level still, nothing is lost.
fn lower<Upper: Level, Lower: Level>(table: &TypedRef<Upper>, address: GuestVirt) -> Option<TypedRef<Lower>> {
    linked(table.entry(index_of::<Upper>(address)), table.frame().owner())
}

/// The table of level `K` of `owner`'s that an entry seen a moment ago links.
fn linked<K: Level>(entry: RawEntry, owner: DomainId) -> Option<TypedRef<K>> {
    if !entry.is_present() {
        return None;
    }
    TypedRef::existing(FrameRef::get(entry.frame(), owner)?).ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn a_table_that_has_become_another_domains_is_not_walked() {
        let (guest, other) = (Guest::new(1, 2), Guest::new(2, 2));
        let table = |guest: &Guest| RawEntry::new(guest.entry_address(0) & !0xfff | 1);
        assert!(linked::<L1>(table(&guest), guest.domain.id()).is_some());
        assert!(linked::<L1>(table(&other), guest.domain.id()).is_none());
        assert!(linked::<L2>(table(&guest), guest.domain.id()).is_none());
    }
}
