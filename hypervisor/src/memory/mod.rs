//! What a guest may do to its memory: which frames it may map and how, page-table updates, reservations.

pub mod admission;
pub mod claim;
pub mod flush;
pub mod memory_op;
pub mod mmu_update;
pub mod mmuext;
pub mod update;
pub mod update_va_mapping;
pub mod walk;

#[cfg(test)]
mod tests;
