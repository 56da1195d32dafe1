//! How long hypercalls hold a pCPU: per hypercall, how often it was made or continued and the longest that one go took. The budget of
//! a call is meant to keep that below a millisecond.

use core::sync::atomic::{AtomicU64, Ordering};

use super::table::ROWS;

/// Numbers of hypercalls in the table are below this.
const NUMBERS: usize = 64;

struct Counter {
    goes: AtomicU64,
    continued: AtomicU64,
    longest: AtomicU64,
}

static COUNTERS: [Counter; NUMBERS] =
    [const { Counter { goes: AtomicU64::new(0), continued: AtomicU64::new(0), longest: AtomicU64::new(0) } }; NUMBERS];

/// Notes one go of hypercall `number`, which took `ticks` of the time-stamp counter.
pub(super) fn note(number: u64, ticks: u64, continued: bool) {
    let Some(counter) = usize::try_from(number).ok().and_then(|index| COUNTERS.get(index)) else { return };
    counter.goes.fetch_add(1, Ordering::Relaxed);
    if continued {
        counter.continued.fetch_add(1, Ordering::Relaxed);
    }
    if ticks > counter.longest.load(Ordering::Relaxed) {
        counter.longest.fetch_max(ticks, Ordering::Relaxed);
    }
}

/// What has been counted for one hypercall.
#[derive(Clone, Copy, Debug)]
pub struct Longest {
    /// Its name.
    pub name: &'static str,
    /// How often a guest has made or continued it.
    pub goes: u64,
    /// How often its budget ran out.
    pub continued: u64,
    /// The longest go, in nanoseconds.
    pub nanoseconds: u64,
}

/// The counters of all hypercalls that have been made.
pub fn longest() -> impl Iterator<Item = Longest> {
    ROWS.iter().filter_map(|row| {
        let counter = COUNTERS.get(usize::try_from(row.number).ok()?)?;
        let goes = counter.goes.load(Ordering::Relaxed);
        (goes != 0).then(|| Longest {
            name: row.name,
            goes,
            continued: counter.continued.load(Ordering::Relaxed),
            nanoseconds: machine::time::scale().nanoseconds(counter.longest.load(Ordering::Relaxed)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_go_is_kept_and_every_row_has_a_counter() {
        assert!(ROWS.iter().all(|row| (row.number as usize) < NUMBERS));
        machine::hosted::start(64);
        let number = u64::from(ROWS[0].number);
        note(number, 700, false);
        note(number, 300, true);
        note(u64::MAX, 1, false);
        let seen = longest().find(|row| row.name == ROWS[0].name).map(|row| (row.goes, row.continued));
        assert_eq!(seen, Some((2, 1)));
    }
}
