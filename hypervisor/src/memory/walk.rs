//! Walks the guest kernel's page tables to the entry that maps an address.

use abi::xen::DomainId;
use machine::addr::{GuestVirt, Mfn};
use machine::context::Active;
use machine::frames::{FrameRef, L1, Leaf, TypedRef};

/// Looks up `address` in the guest kernel's address space. The result is a hint, since no table is
/// held.
pub(crate) fn look_up(cpu: &Active, address: GuestVirt) -> Option<Leaf> {
    if !address.is_guest() {
        return None;
    }
    cpu.context().kernel_root()?.look_up(address)
}

/// The L1 table that maps `address` in the guest kernel's address space, and the index in it.
/// Another vCPU may change the tables during the walk, so that it passes through frames of any
/// kind, even tables of another domain. The result must therefore be an L1 table of the same
/// domain.
pub(crate) fn leaf(cpu: &Active, address: GuestVirt) -> Option<(TypedRef<L1>, u16)> {
    let owner = cpu.context().kernel_root()?.frame().owner();
    let leaf = look_up(cpu, address)?;
    Some((table(leaf.table, owner)?, leaf.index))
}

/// Takes a frame from a hint as an L1 table of `owner`.
fn table(mfn: Mfn, owner: DomainId) -> Option<TypedRef<L1>> {
    TypedRef::existing(FrameRef::get(mfn, owner)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn a_walk_that_ends_in_another_domains_table_fails() {
        let (guest, other) = (Guest::new(1, 2), Guest::new(2, 2));
        let frame = |guest: &Guest| Mfn::new(guest.entry_address(0) >> 12);
        assert!(table(frame(&guest), guest.domain.id()).is_some());
        assert!(table(frame(&other), guest.domain.id()).is_none());
    }
}
