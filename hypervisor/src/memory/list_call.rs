//! List calls that report the number of completed elements: `mmu_update` and `mmuext_op`.

use machine::addr::GuestVirt;
use machine::guest_memory::Fault;

use crate::call::{CallResult, Caller};

/// Set in the count of a restarted call, which adds to the number that was reported before.
const CONTINUED: u32 = 1 << 31;

/// A list call.
pub(super) struct ListCall {
    list: GuestVirt,
    count: u32,
    done: GuestVirt,
    done_before: u32,
}

impl ListCall {
    /// Starts the call with these arguments. `done` is the address for the number of completed
    /// elements, or null.
    ///
    /// # Errors
    /// If the previously reported number cannot be read.
    pub(super) fn begin(caller: &Caller<'_>, list: GuestVirt, count: u32, done: GuestVirt) -> Result<Self, Fault> {
        let is_restart = count & CONTINUED != 0 && done.get() != 0;
        let done_before = if is_restart { caller.cpu.read(done)? } else { 0 };
        Ok(Self { list, count: count & !CONTINUED, done, done_before })
    }

    /// The number of remaining elements.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Reports that `completed` elements are done. If the outcome is a continuation, it covers the
    /// remaining elements.
    pub(super) fn end<T>(&self, caller: &Caller<'_>, completed: u32, outcome: CallResult) -> CallResult {
        if self.done.get() != 0 {
            caller.cpu.write(self.done, &self.done_before.wrapping_add(completed))?;
        }
        outcome.map_err(|error| error.with_rest::<T>(0, self.list, self.count, completed, CONTINUED))
    }
}
