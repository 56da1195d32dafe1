//! Calls on a list that report how many elements are done: `mmu_update` and `mmuext_op`.

use machine::addr::GuestVirt;
use machine::guest_memory::Fault;

use crate::call::{CallResult, Caller};

/// Set in the count of a restarted call, which adds to the number that was reported before.
const CONTINUED: u32 = 1 << 31;

/// One such call.
pub(super) struct ListCall {
    list: GuestVirt,
    count: u32,
    done: GuestVirt,
    done_before: u32,
}

impl ListCall {
    /// The call with these arguments; `done` is where the number is reported, or null.
    ///
    /// # Errors
    /// If the number that was reported before cannot be read.
    pub(super) fn begin(caller: &Caller<'_>, list: GuestVirt, count: u32, done: GuestVirt) -> Result<Self, Fault> {
        let is_restart = count & CONTINUED != 0 && done.get() != 0;
        let done_before = if is_restart { caller.cpu.read(done)? } else { 0 };
        Ok(Self { list, count: count & !CONTINUED, done, done_before })
    }

    /// The number of elements that are left.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Reports that `completed` elements are done. If the outcome is a restart, it is of the rest.
    pub(super) fn end<T>(&self, caller: &Caller<'_>, completed: u32, outcome: CallResult) -> CallResult {
        if self.done.get() != 0 {
            caller.cpu.write(self.done, &self.done_before.wrapping_add(completed))?;
        }
        outcome.map_err(|error| error.with_rest::<T>(0, self.list, self.count, completed, CONTINUED))
    }
}
