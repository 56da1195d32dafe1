//! Many timers that are due at once.

use super::*;

#[test]
fn run_due_serves_a_bounded_number_of_timers() {
    machine::hosted::start(64);
    let now = time::now();
    (0..3 * MAX_AT_ONCE).for_each(|_| interrupt_at(now));
    let waiting = || TIMERS[cpu::current()].lock().queue.len();
    for left in [2, 1, 0] {
        run_due();
        assert_eq!(waiting(), left * MAX_AT_ONCE);
        assert_eq!(cpu::take_pending().contains(cpu::Pending::TIMER), left != 0, "the next is reported at once");
    }
}
