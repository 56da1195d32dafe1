//! The log of dirty pages, and the mirrors that the hosted processor walks meanwhile.

use std::vec::Vec;

use super::{Everything, Guest, MAPPED, NOT_DIRTY, OWNER, READ_ONLY, address, build, frame, load, store, table};
use crate::addr::{Mfn, Pfn};
use crate::context::Active;
use crate::frames::dirty_log::{self, DirtyLog, Harvest};
use crate::frames::{
    Budget, Descriptor, Entry, FrameRef, L1, L2, NoEntries, SharedPage, TypedRef, Writable, free_frames,
};
use crate::guest_memory::Fault;
use crate::pte::RawEntry;

/// Page numbers: those of the mapped pages, of the tables from the root down, and of others.
const PAGES: [u64; 2] = [0, 1];
const TABLES: [u64; 4] = [64, 65, 66, 67];
const OTHER: u64 = 130;
/// Page numbers that a log covers.
const COVERED: u64 = 192;

/// Frames that a small pool has: more than the mirrors of one vCPU's way to a page.
const SMALL: u32 = 8;

fn begin(frames: u32) {
    let mut log = DirtyLog::new(OWNER, COVERED, 2);
    while !log.grow(frames, &mut Budget::new(100)).expect("free frames") {}
    dirty_log::begin(log).ok().expect("there is no log yet");
}

fn end() {
    let mut log = dirty_log::end(OWNER).expect("a log");
    while !log.shrink(&mut Budget::new(100)) {}
}

/// A guest that runs on mirrors.
fn logged(leaf: u64, frames: u32, split_roots: bool) -> Guest {
    let (tables, pages) = build(OWNER, leaf);
    for (frame, number) in tables.iter().zip(TABLES).chain(pages.iter().zip(PAGES)) {
        dirty_log::set_number(frame.mfn(), Pfn::new(number));
    }
    let root = table(&tables[0]);
    begin(frames);
    Guest { cpu: load(root, split_roots), pages, tables }
}

/// Page numbers that are marked, by a harvest of the current round.
fn harvested(held: bool) -> Vec<u64> {
    assert!(dirty_log::start_round(OWNER).is_some());
    taken(Harvest::Take, held)
}

fn taken(how: Harvest, held: bool) -> Vec<u64> {
    let mut words = [0; 4];
    assert!(dirty_log::harvest(OWNER, how, held, 0, &mut words));
    (0..256).filter(|page| words[*page as usize / 64] >> (page % 64) & 1 != 0).collect()
}

fn faults() -> u32 {
    dirty_log::state(OWNER).expect("a log").faults
}

fn finish(guest: Guest) {
    drop(guest.cpu);
    end();
}

#[test]
fn the_first_write_of_a_round_marks_the_page() {
    crate::hosted::start(256);
    for split_roots in [false, true] {
        let mut guest = logged(MAPPED, SMALL, split_roots);
        harvested(false);
        for round in 0..3 {
            assert!(guest.can_read(0) && guest.can_read(1));
            assert!(taken(Harvest::Peek, false).is_empty(), "round {round}");
            assert_eq!(guest.write(1), Ok(()));
            let before = faults();
            assert_eq!(guest.write(1), Ok(()));
            assert_eq!(faults(), before, "the second write does not fault");
            guest.cpu.run();
            assert_eq!(taken(Harvest::Peek, false), [1]);
            assert_eq!(harvested(false), [1]);
        }
        finish(guest);
    }
}

#[test]
fn a_read_of_one_page_maps_its_neighbours() {
    crate::hosted::start(256);
    let guest = logged(MAPPED, SMALL, false);
    assert!(guest.can_read(0));
    let before = faults();
    assert!(guest.can_read(1));
    assert_eq!(faults(), before);
    finish(guest);
}

#[test]
fn accessed_and_dirty_bits_are_set_in_the_guests_table() {
    crate::hosted::start(256);
    let mut guest = logged(0x7, SMALL, false);
    harvested(false);
    let bits = |guest: &Guest, page| guest.l1().entry(page).get() & 0x60;
    assert!(guest.can_read(0));
    assert_eq!((bits(&guest, 0), bits(&guest, 1)), (0x20, 0));
    assert_eq!(harvested(false), [TABLES[3]], "the table has changed");
    assert_eq!(guest.write(1), Ok(()));
    assert_eq!((bits(&guest, 0), bits(&guest, 1)), (0x20, 0x60));
    assert_eq!(harvested(false), [1, TABLES[3]]);
    finish(guest);
}

#[test]
fn a_page_that_is_not_dirty_yet_faults_at_its_first_write() {
    crate::hosted::start(256);
    let mut guest = logged(NOT_DIRTY, SMALL, false);
    assert!(guest.can_read(0));
    assert_eq!(guest.write(0), Ok(()));
    assert!(harvested(false).contains(&0));
    finish(guest);
}

#[test]
fn an_access_that_the_guests_tables_refuse_gives_their_error_code() {
    const WRITE: u32 = 2;
    const PRESENT: u32 = 1;
    crate::hosted::start(256);
    let mut guest = logged(READ_ONLY, SMALL, false);
    assert!(guest.write(0) == Err(Fault) && guest.can_read(0) && !guest.can_read(2));
    // The mirror is absent where the guest's table has a read-only page, and the other way round.
    for hardware in [WRITE, WRITE | PRESENT] {
        assert_eq!(guest.cpu.resolve_fault(address(0), hardware), Some(WRITE | PRESENT));
        assert_eq!(guest.cpu.resolve_fault(address(2), hardware), Some(WRITE));
    }
    assert_eq!(guest.cpu.resolve_fault(address(0), PRESENT), None, "it may be read");
    finish(guest);
}

#[test]
fn a_change_of_an_entry_reaches_its_mirror() {
    crate::hosted::start(256);
    for split_roots in [false, true] {
        let mut guest = logged(MAPPED, SMALL, split_roots);
        let other = frame(OWNER);
        dirty_log::set_number(other.mfn(), Pfn::new(OTHER));
        assert_eq!(guest.write(0), Ok(()));
        guest.unmap(0);
        guest.cpu.flush();
        assert!(!guest.can_read(0));
        guest.map(0, &other, MAPPED);
        harvested(false);
        assert_eq!(guest.write(0), Ok(()));
        assert_eq!(harvested(false), [OTHER]);
        // Without the right to write, through another path of the code.
        let found = guest.l1().entry(0);
        guest.l1().change_flags(0, found, RawEntry::new(found.get() & !2)).expect("no other code changes it");
        guest.cpu.flush();
        assert_eq!(guest.write(0), Err(Fault));
        assert!(guest.can_read(0));
        guest.unmap(0);
        guest.cpu.run();
        finish(guest);
    }
}

#[test]
fn a_table_that_is_unlinked_is_no_longer_reached() {
    crate::hosted::start(256);
    for level in 0..3 {
        let mut guest = logged(MAPPED, SMALL, level == 1);
        assert_eq!(guest.write(0), Ok(()));
        let (upper, lower) = (&guest.tables[level], guest.tables[level + 1].again());
        let link = RawEntry::new(lower.mfn().address().get() | MAPPED);
        let budget = &mut Budget::new(1000);
        match level {
            0 => drop(table::<crate::frames::L4>(upper).replace(0, Entry::empty()).expect("the guest's slot")),
            1 => drop(table::<crate::frames::L3>(upper).replace(0, Entry::empty()).expect("the guest's slot")),
            _ => drop(table::<L2>(upper).replace(0, Entry::empty()).expect("the guest's slot")),
        }
        guest.cpu.flush();
        assert!(!guest.can_read(0), "level {level}");
        // All below is torn down, and linked and validated again.
        while !crate::frames::Teardown::of(OWNER).expect("a domain").advance(budget) {}
        match level {
            0 => {
                let entry = Entry::<crate::frames::L4>::admit(link, &mut Everything, budget).expect("valid");
                drop(table::<crate::frames::L4>(upper).replace(0, entry).expect("the guest's slot"));
            }
            1 => {
                let entry = Entry::<crate::frames::L3>::admit(link, &mut Everything, budget).expect("valid");
                drop(table::<crate::frames::L3>(upper).replace(0, entry).expect("the guest's slot"));
            }
            _ => {
                let entry = Entry::<L2>::admit(link, &mut Everything, budget).expect("valid");
                drop(table::<L2>(upper).replace(0, entry).expect("the guest's slot"));
            }
        }
        assert_eq!(guest.write(1), Ok(()), "level {level}");
        guest.cpu.run();
        drop(lower);
        finish(guest);
    }
}

#[test]
fn a_guest_goes_on_when_the_pool_is_used_up() {
    crate::hosted::start(512);
    for split_roots in [false, true] {
        let mut guest = logged(MAPPED, SMALL, split_roots);
        // Many L1 tables that map the same page.
        let l2 = table::<L2>(&guest.tables[2]);
        for index in 1..40 {
            let lower = frame(OWNER);
            store(&lower, 0, guest.pages[0].mfn(), MAPPED);
            let link = RawEntry::new(lower.mfn().address().get() | MAPPED);
            let entry = Entry::<L2>::admit(link, &mut Everything, &mut Budget::new(1000)).expect("valid");
            drop(l2.replace(index, entry).expect("the guest's slot"));
        }
        harvested(false);
        for page in (0..40).chain((0..40).rev()) {
            assert_eq!(guest.write(page * 512), Ok(()));
            guest.cpu.run();
        }
        assert_eq!(harvested(false), [0]);
        assert!(dirty_log::state(OWNER).is_some_and(|state| state.frames == u64::from(SMALL)));
        for index in 1..40 {
            drop(l2.replace(index, Entry::empty()).expect("the guest's slot"));
        }
        drop(l2);
        finish(guest);
        while !crate::frames::Teardown::of(OWNER).expect("a domain").advance(&mut Budget::new(10_000)) {}
    }
}

#[test]
fn other_root_tables_are_mirrored_when_they_are_loaded() {
    crate::hosted::start(256);
    for split_roots in [false, true] {
        let mut guest = logged(MAPPED, SMALL, split_roots);
        let (tables, pages) = build(OWNER, MAPPED);
        dirty_log::set_number(pages[0].mfn(), Pfn::new(OTHER));
        assert_eq!(guest.write(0), Ok(()));
        let former = guest.cpu.set_kernel_root(table(&tables[0]));
        harvested(false);
        assert_eq!(guest.write(0), Ok(()));
        assert_eq!(harvested(false), [OTHER]);
        drop(guest.cpu.set_user_root(former));
        assert!(guest.cpu.enter_user());
        assert_eq!(guest.write(0), Ok(()));
        assert_eq!(harvested(false), [0]);
        guest.cpu.run();
        guest.cpu.enter_kernel();
        drop(guest.cpu.set_user_root(None));
        drop((tables, pages));
        finish(guest);
    }
}

#[test]
fn a_log_begins_and_ends_between_two_runs_of_a_vcpu() {
    crate::hosted::start(256);
    let guest = Guest::new(MAPPED);
    let pages = guest.pages;
    dirty_log::set_number(pages[0].mfn(), Pfn::new(0));
    let mut context = guest.cpu.deactivate();
    let free = free_frames();
    for _ in 0..3 {
        begin(SMALL);
        let cpu: Active = context.activate().ok().expect("it is complete");
        assert_eq!(cpu.write(address(0), &7_u64), Ok(()));
        context = cpu.deactivate();
        assert_eq!(harvested(false), [0]);
        end();
        assert_eq!(free_frames(), free);
        let cpu: Active = context.activate().ok().expect("it is complete");
        assert_eq!(cpu.write(address(0), &8_u64), Ok(()));
        assert!(dirty_log::state(OWNER).is_none());
        context = cpu.deactivate();
    }
}

#[test]
fn marks_that_were_not_harvested_are_not_lost() {
    crate::hosted::start(256);
    let mut guest = logged(MAPPED, SMALL, false);
    harvested(false);
    assert_eq!(guest.write(0), Ok(()));
    assert_eq!(guest.write(1), Ok(()));
    dirty_log::start_round(OWNER).expect("a log");
    let mut word = [0];
    assert!(dirty_log::harvest(OWNER, Harvest::Take, false, 0, &mut word));
    assert_eq!(word, [3]);
    dirty_log::put_back(OWNER, 0, &word);
    assert_eq!(harvested(false), [0, 1]);
    assert_eq!(guest.write(1), Ok(()));
    dirty_log::start_round(OWNER).expect("a log");
    let mut first = 0;
    while !dirty_log::put_back_rest(OWNER, &mut first, &mut Budget::new(1)) {}
    assert_eq!(harvested(false), [1]);
    finish(guest);
}

/// Runs `act` with a frame of the logged guest that has the number `OTHER`, and returns the pages
/// that are marked afterwards.
fn marked_by(act: impl FnOnce(&FrameRef), held: bool) -> Vec<u64> {
    let guest = logged(MAPPED, SMALL, false);
    let other = frame(OWNER);
    dirty_log::set_number(other.mfn(), Pfn::new(OTHER));
    harvested(false);
    act(&other);
    let marked = harvested(held);
    drop(other);
    finish(guest);
    while !crate::frames::Teardown::of(OWNER).expect("a domain").advance(&mut Budget::new(10_000)) {}
    marked
}

fn page(frame: &FrameRef) -> TypedRef<Writable> {
    TypedRef::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1000)).expect("memory")
}

macro_rules! writers {
    ($($name:ident($frame:ident) $act:block)*) => {$(
        #[test]
        fn $name() {
            crate::hosted::start(256);
            let marked = marked_by(|$frame| { $act; }, false);
            assert_eq!(marked, [OTHER]);
        }
    )*};
}

writers! {
    bytes_that_are_copied_in_mark_the_page(frame) { page(frame).copy_in(7, b"seven") }
    a_page_that_is_copied_marks_its_target(frame) { page(frame).copy_frame(&super::frame(OWNER)) }
    a_page_that_is_cleared_is_marked(frame) { page(frame).clear() }
    a_word_that_is_written_marks_the_page(frame) { page(frame).write_u64(3, 9) }
    a_page_that_becomes_a_table_is_marked(frame) { table::<L1>(frame).pin().expect("not pinned") }
    a_frame_that_gets_a_number_marks_that_page(frame) { dirty_log::set_number(frame.mfn(), Pfn::new(OTHER)) }
    descriptors_that_are_validated_mark_their_page(frame) {
        TypedRef::<Descriptor>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1000)).expect("empty")
    }
}

/// Marks by an operation on a table that the guest has in use before.
fn marked_of_table(act: impl FnOnce(&TypedRef<L1>)) -> Vec<u64> {
    let mut marked = Vec::new();
    marked_by(
        |frame| {
            let l1 = table::<L1>(frame);
            harvested(false);
            act(&l1);
            marked = harvested(false);
        },
        false,
    );
    marked
}

#[test]
fn a_store_to_a_table_marks_it() {
    crate::hosted::start(256);
    let absent = || Entry::<L1>::absent(RawEntry::new(0x400), &mut Everything).expect("names no memory");
    assert_eq!(marked_of_table(|l1| drop(l1.replace(3, absent()))), [OTHER]);
    assert_eq!(marked_of_table(|l1| drop(l1.exchange(3, RawEntry::new(0), absent()))), [OTHER]);
}

#[test]
fn pinning_and_unpinning_mark_the_table() {
    crate::hosted::start(256);
    let both = marked_of_table(|l1| {
        l1.again().pin().expect("not pinned");
        assert_eq!(harvested(false), [OTHER]);
        drop(TypedRef::<L1>::unpin(l1.frame()));
    });
    assert_eq!(both, [OTHER]);
}

#[test]
fn the_end_of_the_last_use_of_a_table_marks_it() {
    crate::hosted::start(256);
    let marked = marked_by(
        |frame| {
            let l1 = table::<L1>(frame);
            harvested(false);
            drop(l1);
        },
        false,
    );
    assert_eq!(marked, [OTHER]);
}

#[test]
fn a_page_that_others_write_counts_as_dirty_in_the_last_harvest() {
    crate::hosted::start(256);
    let share = |frame: &FrameRef| drop(SharedPage::new(page(frame)));
    assert_eq!(marked_by(share, true), [OTHER]);
    assert!(marked_by(share, false).is_empty());
    let map_elsewhere = |frame: &FrameRef| {
        let l1 = table::<L1>(&super::frame(super::MAPPER));
        let entry = Entry::writable(page(frame), RawEntry::new(frame.mfn().address().get() | MAPPED));
        drop(l1.replace(0, entry).expect("the guest's slot"));
        drop(l1.replace(0, Entry::empty()).expect("the guest's slot"));
    };
    assert_eq!(marked_by(map_elsewhere, true), [OTHER]);
    let descriptors = |frame: &FrameRef| {
        drop(TypedRef::<Descriptor>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1000)));
    };
    assert_eq!(marked_by(descriptors, true), [OTHER]);
}

#[test]
fn pages_that_others_write_already_are_found_when_the_log_begins() {
    crate::hosted::start(256);
    let list = crate::frames::FrameList::new(OWNER);
    let frames: Vec<FrameRef> = (0..12)
        .map(|number| {
            let allocation = crate::frames::allocate(OWNER).expect("a free frame");
            let frame = allocation.reference();
            dirty_log::set_number(frame.mfn(), Pfn::new(number));
            list.push(allocation);
            frame
        })
        .collect();
    let shared = SharedPage::new(page(&frames[3]));
    let loaded = TypedRef::<Descriptor>::acquire(frames[5].again(), &mut NoEntries, &mut Budget::new(1000));
    let l1 = table::<L1>(&frame(super::MAPPER));
    let entry = Entry::writable(page(&frames[7]), RawEntry::new(frames[7].mfn().address().get() | MAPPED));
    drop(l1.replace(0, entry).expect("the guest's slot"));
    begin(SMALL);
    let mut cursor: Option<Mfn> = None;
    let mut steps = 1;
    while !dirty_log::hold_shared(&list, OWNER, &mut cursor, &mut Budget::new(2)) {
        steps += 1;
    }
    assert!(steps >= 6, "{steps}");
    assert_eq!(harvested(true), [3, 5, 7]);
    end();
    drop(l1.replace(0, Entry::empty()));
    drop((shared, loaded, frames));
    while list.pop().is_some() {}
}

#[test]
fn rounds_of_another_thread_lose_no_write() {
    crate::hosted::start(256);
    for split_roots in [false, true] {
        let guest = logged(MAPPED, SMALL, split_roots);
        let Guest { mut cpu, pages, tables } = guest;
        let mut seen = 0;
        let done = core::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (done, pages) = (&done, &pages);
            let harvester = scope.spawn(move || {
                // The value of the page when it was last found dirty.
                let mut copy = 0;
                loop {
                    let last = done.load(core::sync::atomic::Ordering::SeqCst);
                    if harvested(false).contains(&0) {
                        copy = pages[0].read_u64(0);
                    }
                    if last {
                        return copy;
                    }
                }
            });
            for number in 1..4000_u64 {
                cpu.write(address(0), &number).expect("it is mapped");
                if number % 16 == 0 {
                    cpu.run();
                }
                seen = number;
            }
            done.store(true, core::sync::atomic::Ordering::SeqCst);
            assert_eq!(harvester.join().expect("no violation"), seen);
        });
        finish(Guest { cpu, pages, tables });
    }
}
