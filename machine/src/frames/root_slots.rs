//! The slots of a root table that belong to Paravane. They are written when a table becomes a root;
//! guests cannot update them.

use crate::addr::{END_HYPERVISOR_SLOTS, FIRST_HYPERVISOR_SLOT};
use crate::ram;

/// The root-table slot of the M2P.
pub(super) const M2P_SLOT: u16 = FIRST_HYPERVISOR_SLOT;

/// Whether a root-table slot belongs to Paravane.
pub(super) const fn is_hypervisor_slot(index: u16) -> bool {
    index >= FIRST_HYPERVISOR_SLOT && index < END_HYPERVISOR_SLOTS
}

/// Paravane's root-table slots with their entries.
pub(super) fn hypervisor_entries() -> impl Iterator<Item = (u16, u64)> {
    (FIRST_HYPERVISOR_SLOT..END_HYPERVISOR_SLOTS).map(|index| (index, hypervisor_entry(index)))
}

/// The entry in one of Paravane's root-table slots.
pub(super) fn hypervisor_entry(index: u16) -> u64 {
    ram::root_entry(usize::from(index - FIRST_HYPERVISOR_SLOT))
}
