//! From a guest address to the page-table entry that maps it, by the guest kernel's tables.

use abi::xen::DomainId;
use machine::addr::{GuestVirt, Mfn};
use machine::context::Active;
use machine::frames::{FrameRef, L1, Leaf, TypedRef};

/// Where `address` is mapped in the guest kernel's address space, as far as anyone can tell without holding a table.
pub(crate) fn look_up(cpu: &Active, address: GuestVirt) -> Option<Leaf> {
    if !address.is_guest() {
        return None;
    }
    cpu.context().kernel_root()?.look_up(address)
}

/// The L1 table and the index in it that map `address` in the guest kernel's address space. Another vCPU may change the way there meanwhile, and the
/// frames on it be anything by then, tables of another domain's even: so what is found at its end has to be an L1 table of the same domain's.
pub(crate) fn leaf(cpu: &Active, address: GuestVirt) -> Option<(TypedRef<L1>, u16)> {
    let owner = cpu.context().kernel_root()?.frame().owner();
    let leaf = look_up(cpu, address)?;
    Some((table(leaf.table, owner)?, leaf.index))
}

/// The L1 table of `owner`'s that a frame seen a moment ago is.
fn table(mfn: Mfn, owner: DomainId) -> Option<TypedRef<L1>> {
    TypedRef::existing(FrameRef::get(mfn, owner)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn a_table_that_has_become_another_domains_is_not_taken() {
        let (guest, other) = (Guest::new(1, 2), Guest::new(2, 2));
        let frame = |guest: &Guest| Mfn::new(guest.entry_address(0) >> 12);
        assert!(table(frame(&guest), guest.domain.id()).is_some());
        assert!(table(frame(&other), guest.domain.id()).is_none());
    }
}
