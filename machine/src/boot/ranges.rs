//! Small sets of physical byte ranges without a heap, for the free memory during boot.

use core::ops::Range;

use arrayvec::ArrayVec;

/// The maximum number of separate ranges of a set.
pub const MAX_RANGES: usize = 256;

const PAGE: u64 = 4096;

/// Disjoint, sorted, page-aligned ranges.
#[derive(Default, Clone, Debug)]
pub(crate) struct RangeSet {
    ranges: ArrayVec<Range<u64>, MAX_RANGES>,
}

impl RangeSet {
    /// The members in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().cloned()
    }

    /// Total size in bytes.
    pub(crate) fn total(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Adds the whole pages inside a range. Ranges that do not fit are dropped; the only effect is
    /// that their memory is not used.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        let (start, end) = (start.saturating_add(PAGE - 1) / PAGE * PAGE, end / PAGE * PAGE);
        if start >= end {
            return;
        }
        self.remove(start, end);
        let at = self.ranges.partition_point(|range| range.end < start);
        match self.ranges.get_mut(at) {
            Some(next) if next.start <= end && next.end >= start => {
                next.start = next.start.min(start);
                next.end = next.end.max(end);
                let end = next.end;
                if let Some(after) = self.ranges.get(at + 1).filter(|after| after.start == end).cloned() {
                    self.ranges.remove(at + 1);
                    if let Some(joined) = self.ranges.get_mut(at) {
                        joined.end = after.end;
                    }
                }
            }
            _ => {
                let _ = self.ranges.try_insert(at, start..end);
            }
        }
    }

    /// Removes every page that a range touches.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        let (start, end) = (start / PAGE * PAGE, end.saturating_add(PAGE - 1) / PAGE * PAGE);
        if start >= end {
            return;
        }
        let mut at = 0;
        while let Some(range) = self.ranges.get(at).cloned() {
            if range.end <= start || range.start >= end {
                at += 1;
                continue;
            }
            self.ranges.remove(at);
            for part in [range.start..start.max(range.start), end.min(range.end)..range.end] {
                if part.start < part.end && self.ranges.try_insert(at, part).is_ok() {
                    at += 1;
                }
            }
        }
    }

    /// Takes `size` bytes, aligned to `align` (a power of two), from the highest range below
    /// `limit` that has room.
    pub(crate) fn take(&mut self, size: u64, align: u64, limit: u64) -> Option<u64> {
        let found = self.ranges.iter().rev().find_map(|range| {
            let start = range.end.min(limit).checked_sub(size)? & !(align - 1);
            (start >= range.start).then_some(start)
        })?;
        self.remove(found, found + size);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::RangeSet;
    use std::vec::Vec;

    fn set(parts: &[(u64, u64)]) -> RangeSet {
        let mut set = RangeSet::default();
        for &(start, end) in parts {
            set.add(start, end);
        }
        set
    }

    fn parts(set: &RangeSet) -> Vec<(u64, u64)> {
        set.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn neighbours_merge_and_partial_pages_are_left_out() {
        let set = set(&[(0x1001, 0x3fff), (0x3000, 0x5000), (0x8000, 0x9000), (0x5000, 0x8000)]);
        assert_eq!(parts(&set), [(0x2000, 0x9000)]);
    }

    #[test]
    fn removing_splits_and_rounds_outwards() {
        let mut set = set(&[(0x1000, 0x9000)]);
        set.remove(0x3fff, 0x4001);
        assert_eq!(parts(&set), [(0x1000, 0x3000), (0x5000, 0x9000)]);
        set.remove(0, u64::MAX);
        assert_eq!(set.total(), 0);
    }

    #[test]
    fn taking_prefers_high_memory_below_the_limit() {
        let mut set = set(&[(0x1000, 0x9000), (0x10000, 0x20000)]);
        assert_eq!(set.take(0x1000, 0x4000, 0x18000), Some(0x14000));
        assert_eq!(set.take(0x8000, 0x1000, 0x10000), Some(0x1000));
        assert_eq!(set.take(0x8000, 0x1000, 0x10000), None);
    }

    #[test]
    fn agrees_with_a_page_by_page_model() {
        let mut seed = 1u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        let mut model = [false; 64];
        let mut set = RangeSet::default();
        for _ in 0..if cfg!(miri) { 50 } else { 5000 } {
            let (a, b) = (next() % 64, next() % 64);
            let (start, end) = (a.min(b), a.max(b));
            let add = next() % 2 == 0;
            if add {
                set.add(start * 4096, end * 4096);
            } else {
                set.remove(start * 4096, end * 4096);
            }
            model[start as usize..end as usize].fill(add);
            let mut seen = [false; 64];
            let mut last = 0;
            for range in set.iter() {
                assert!(range.start < range.end && (range.start > last || last == 0));
                last = range.end;
                seen[(range.start / 4096) as usize..(range.end / 4096) as usize].fill(true);
            }
            assert_eq!(seen, model);
        }
    }
}
