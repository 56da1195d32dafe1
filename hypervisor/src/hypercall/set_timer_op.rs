//! `set_timer_op`: the vCPU's single-shot timer, in the older form of `vcpu_op`.

use machine::time;

use crate::call::{CallResult, Caller};

/// Deadlines that are at least this far away result from a wrapped counter (2^50 ns are 13 days).
const FARTHEST: u64 = 1 << 50;
/// Delay that is used instead, in nanoseconds.
const SOON: u64 = 100_000_000;

/// Sets the timer to `deadline`, system time in nanoseconds; zero stops it. A deadline that is
/// negative or too far away results from a wrapped counter in the guest and is replaced by one in
/// the near future.
///
/// # Errors
/// None.
pub(crate) fn set_timer_op(caller: &mut Caller<'_>, deadline: u64) -> CallResult {
    let vcpu = caller.vcpu;
    if deadline == 0 {
        vcpu.time.stop_single_shot();
        return Ok(0);
    }
    vcpu.time.set_single_shot(vcpu, sensible(deadline, time::now()));
    Ok(0)
}

const fn sensible(deadline: u64, now: u64) -> u64 {
    let negative = deadline.cast_signed() < 0;
    if negative || deadline.saturating_sub(now) >= FARTHEST { now.saturating_add(SOON) } else { deadline }
}

#[cfg(test)]
mod tests {
    use super::{FARTHEST, SOON, sensible};

    #[test]
    fn wrapped_deadlines_become_near_ones() {
        let now = 5_000_000_000;
        assert_eq!(sensible(now + 1, now), now + 1);
        assert_eq!(sensible(1, now), 1);
        assert_eq!(sensible(now + FARTHEST - 1, now), now + FARTHEST - 1);
        assert_eq!(sensible(now + FARTHEST, now), now + SOON);
        assert_eq!(sensible(u64::MAX, now), now + SOON);
    }
}
