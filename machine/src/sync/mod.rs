//! Locks. Interrupts are off whenever Paravane runs (see `docs/design.md`), so one kind of lock
//! serves everywhere; a CPU that waits for one serves the TLB shoot-downs that others have
//! requested, so waiting cannot deadlock with them.

mod level;
mod spin;

pub use crate::once::Once;
pub use level::Level;
pub use spin::{SpinLock, SpinLockGuard};
