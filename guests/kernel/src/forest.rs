//! A tree of page tables as large as the guest's memory allows, with every entry used: the maximum
//! validation and teardown work for the hypervisor.

use crate::memory::{PAGE, mfn_of, p2m, page, peek, poke, total_pages};
use crate::start::VIRT_BASE;
use crate::tables::{self, PRESENT, READABLE, TABLE, mmuext};
use crate::{check, check_eq};

/// Number of entries of a page table.
const ENTRIES: u64 = 512;
/// `UVMF_INVLPG | UVMF_LOCAL`.
const FLUSH_PAGE: u64 = 2;

/// A tree in memory, pinned or not.
#[derive(Clone, Copy, Debug)]
pub struct Forest {
    /// Machine frame of its root.
    pub root: u64,
    /// How many tables of level 1 it has.
    pub l1_count: u64,
}

/// Fills frames through a page whose mapping is changed.
struct Window(u64);

impl Window {
    /// Writes the entries of a future table in frame `mfn`; those from `count` on are empty.
    fn fill(&self, mfn: u64, count: u64, entry: impl Fn(u64) -> u64) {
        let map = |entry| check_eq!(tables::update_va(self.0, entry, FLUSH_PAGE), 0, "the window shows frame {mfn:#x}");
        map((mfn * PAGE) | TABLE);
        for index in 0..ENTRIES {
            poke(self.0 + index * 8, if index < count { entry(index) } else { 0 });
        }
        map(0);
    }
}

/// The first frame after those mapped at the start.
fn first_free() -> u64 {
    let is_mapped = |pfn: &u64| {
        let slot = tables::entry_in(tables::root(), VIRT_BASE + pfn * PAGE, 1);
        slot.is_some_and(|slot| peek::<u64>(slot) & PRESENT != 0)
    };
    (0..total_pages()).find(|pfn| !is_mapped(pfn)).unwrap_or(total_pages())
}

impl Forest {
    /// Builds a tree of all frames that are not mapped at the start, except the last `spare` ones.
    #[must_use]
    pub fn grow(spare: u64) -> Self {
        let window = Window(page());
        let target = (mfn_of(page()) * PAGE) | READABLE;
        let first = first_free();
        let free = total_pages() - first - spare;
        let l1_count = (free - 2) * ENTRIES / (ENTRIES + 1) - 1;
        let l2_count = l1_count.div_ceil(ENTRIES);
        check!(l2_count <= ENTRIES, "one table of level 3 is enough");
        let (root, l3, l2, l1) = (first, first + 1, first + 2, first + 2 + l2_count);
        let lower = |pfn: u64| move |index: u64| (p2m(pfn + index) * PAGE) | TABLE;
        for number in 0..l1_count {
            window.fill(p2m(l1 + number), ENTRIES, |_| target);
        }
        for number in 0..l2_count {
            let done = number * ENTRIES;
            window.fill(p2m(l2 + number), (l1_count - done).min(ENTRIES), lower(l1 + done));
        }
        window.fill(p2m(l3), l2_count, lower(l2));
        window.fill(p2m(root), 1, lower(l3));
        Self { root: p2m(root), l1_count }
    }

    /// Pins the root; the result of the hypercall.
    #[must_use]
    pub fn pin(&self) -> i64 {
        tables::extended(mmuext::PIN_L4_TABLE, self.root, 0)
    }

    /// Unpins the root; the result of the hypercall.
    #[must_use]
    pub fn unpin(&self) -> i64 {
        tables::extended(mmuext::UNPIN_TABLE, self.root, 0)
    }
}
