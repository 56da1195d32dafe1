//! What a guest may do to its memory: which frames it may map and how, page-table updates, reservations.

pub(crate) mod admission;
pub(crate) mod claim;
pub(crate) mod flush;
mod list_call;
pub(crate) mod memory_op;
pub(crate) mod mmu_update;
pub(crate) mod mmuext;
pub(crate) mod update;
pub(crate) mod update_va_mapping;
pub(crate) mod walk;

#[cfg(test)]
mod tests;
