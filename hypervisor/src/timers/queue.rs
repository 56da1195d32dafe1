//! A set of timers in order of their deadlines.
//!
//! A pCPU has few timers, and the ones added and removed most often are the next that are due. They
//! are therefore in a sorted list with the earliest at its end.

use alloc::vec::Vec;

/// Deadline and number of a timer.
type Key = (u64, u64);

/// Timers with their actions.
pub(super) struct TimerQueue<A> {
    /// Sorted, the latest deadline first.
    entries: Vec<(Key, A)>,
    sequence: u64,
}

impl<A> TimerQueue<A> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), sequence: 0 }
    }

    /// Adds a timer. Its key identifies it until it is removed or due. Keys are never reused.
    pub(super) fn insert(&mut self, deadline: u64, action: A) -> Key {
        self.sequence += 1;
        let key = (deadline, self.sequence);
        let place = self.entries.partition_point(|(other, _)| *other > key);
        self.entries.insert(place, (key, action));
        key
    }

    /// Removes a timer. Returns `None` if it has become due or has already been removed.
    #[expect(clippy::disallowed_methods, reason = "the index is the result of a search")]
    pub(super) fn remove(&mut self, key: Key) -> Option<A> {
        let place = self.entries.binary_search_by(|(other, _)| key.cmp(other)).ok()?;
        Some(self.entries.remove(place).1)
    }

    /// The number of timers.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<u64> {
        self.entries.last().map(|((deadline, _), _)| *deadline)
    }

    /// Removes the earliest timer if it is due.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<(Key, A)> {
        if self.next()? > now { None } else { self.entries.pop() }
    }
}

#[cfg(test)]
mod tests {
    use super::TimerQueue;
    use std::vec::Vec;

    #[test]
    fn timers_are_due_in_order_of_deadline_then_of_age() {
        let mut queue = TimerQueue::new();
        for (deadline, name) in [(30, 'd'), (10, 'a'), (20, 'b'), (20, 'c'), (40, 'e')] {
            queue.insert(deadline, name);
        }
        assert_eq!(queue.next(), Some(10));
        let mut due = Vec::new();
        while let Some((_, name)) = queue.pop_due(30) {
            due.push(name);
        }
        assert_eq!(due, ['a', 'b', 'c', 'd']);
        assert_eq!(queue.next(), Some(40));
        assert!(queue.pop_due(39).is_none());
    }

    #[test]
    fn a_removed_timer_does_not_fire_and_its_key_is_never_used_again() {
        let mut queue = TimerQueue::new();
        let first = queue.insert(5, 1);
        assert_eq!(queue.remove(first), Some(1));
        let second = queue.insert(5, 2);
        assert_ne!(first, second);
        assert_eq!(queue.remove(first), None);
        assert_eq!(queue.pop_due(5), Some((second, 2)));
        assert_eq!(queue.remove(second), None);
    }

    #[test]
    fn random_operations_agree_with_a_sorted_list() {
        let mut queue = TimerQueue::new();
        let mut model: Vec<((u64, u64), u32)> = Vec::new();
        let mut random = 7u64;
        let mut now = 0;
        for step in 0..crate::testing::rounds(20_000) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = random >> 33;
            match pick % 4 {
                0 | 1 => {
                    let key = queue.insert(now + pick % 1000, step);
                    model.push((key, step));
                }
                2 if !model.is_empty() => {
                    let (key, value) = model.swap_remove(pick as usize % model.len());
                    assert_eq!(queue.remove(key), Some(value));
                }
                _ => {
                    now += pick % 300;
                    model.sort_unstable();
                    let due = model.iter().take_while(|((deadline, _), _)| *deadline <= now).count();
                    for expected in model.drain(..due) {
                        assert_eq!(queue.pop_due(now), Some(expected));
                    }
                    assert!(queue.pop_due(now).is_none());
                }
            }
        }
    }
}
