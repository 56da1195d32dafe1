//! Guest memory: admission of page-table entries, page-table updates, TLB flushes, claims and
//! reservations.

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
