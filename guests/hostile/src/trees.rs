//! Pages full of half-valid entries, which are pinned, unpinned, linked into each other and into
//! the live tables, updated and written.

use kernel::memory::{machine_of, mfn_of, page, poke};
use kernel::tables::{self, ADDRESS, TABLE, WRITABLE, mmuext};
use kernel::{attempt, say};

use crate::random::Random;

const PAGES: usize = 24;

pub(crate) fn all(random: &mut Random) {
    let pages: [u64; PAGES] = core::array::from_fn(|_| page());
    let frame = |random: &mut Random| match random.below(12) {
        0 => random.nasty() & ADDRESS,
        1 => machine_of(tables::root()),
        2 => 0xfee0_0000,
        _ => mfn_of(pages[random.below(PAGES as u64) as usize]) << 12,
    };
    let entry = |random: &mut Random| {
        let flags = match random.below(6) {
            0 => random.next() & 0xfff,
            1 => 0,
            2 => WRITABLE,
            3 => TABLE | 1 << random.below(12),
            _ => 0x25,
        };
        frame(random) | flags
    };
    let mut done = [0u32; 2];
    for round in 0..30_000u64 {
        let target = pages[random.below(PAGES as u64) as usize];
        let mfn = mfn_of(target);
        let offset = random.below(512) * 8;
        let result = match random.below(12) {
            0 => {
                let value = entry(random);
                i64::from(
                    attempt!("mov [{at}], {value}"; at = in(reg) target + offset, value = in(reg) value).is_some(),
                )
            }
            1 => {
                // A whole page of entries, as far as it is writable.
                let mut failed = 0;
                for index in 0..512u64 {
                    let value = if random.below(16) == 0 { entry(random) } else { 0 };
                    let at = target + index * 8;
                    if attempt!("mov [{at}], {value}"; at = in(reg) at, value = in(reg) value).is_some() {
                        failed = 1;
                        break;
                    }
                }
                failed
            }
            2 => tables::update_va(target, tables::entry_for(target, WRITABLE), random.below(8) & 7),
            3 | 4 => tables::update_va(target, tables::entry_for(target, tables::READABLE), 2),
            5 | 6 => tables::extended(random.below(4) as u32, mfn, 0),
            7 => tables::extended(mmuext::UNPIN_TABLE, mfn, 0),
            8 | 9 => tables::update((machine_of(target) + offset) | random.below(4) & !1, entry(random)),
            10 => {
                // Into an unused slot of the live root.
                let slot = machine_of(tables::root()) + (300 + random.below(8)) * 8;
                tables::update(slot, entry(random))
            }
            _ => tables::extended(
                [mmuext::CLEAR_PAGE, mmuext::COPY_PAGE, mmuext::NEW_USER_BASEPTR][random.below(3) as usize],
                mfn,
                mfn_of(pages[0]),
            ),
        };
        done[usize::from(result != 0)] += 1;
        if round % 97 == 0 {
            let _ = tables::extended(mmuext::TLB_FLUSH_LOCAL, 0, 0);
        }
    }
    // Removes all entries and makes each page ordinary again.
    for slot in 300..308u64 {
        let _ = tables::update(machine_of(tables::root()) + slot * 8, 0);
    }
    let _ = tables::extended(mmuext::NEW_USER_BASEPTR, 0, 0);
    for _ in 0..2 {
        for page in pages {
            let _ = tables::extended(mmuext::UNPIN_TABLE, mfn_of(page), 0);
        }
    }
    let mut stuck = 0;
    for _ in 0..8 {
        stuck = 0;
        for page in pages {
            if tables::update_va(page, tables::entry_for(page, WRITABLE), 2) != 0 {
                stuck += 1;
            } else {
                poke(page, [0u64; 512]);
            }
        }
    }
    say!("page tables: {} done, {} refused, {stuck} pages stuck", done[0], done[1]);
    kernel::check_eq!(stuck, 0, "pages that cannot be made ordinary again");
}
