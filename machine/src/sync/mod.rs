//! Locks. Interrupts are off whenever Paravane runs (see `docs/design.md`), so one type of lock is
//! sufficient. A CPU that waits for a lock serves TLB shootdowns requested by others, so waiting
//! cannot deadlock with them.

mod level;
mod spin;

pub use crate::once::Once;
pub use level::Level;
pub use spin::{SpinLock, SpinLockGuard};
