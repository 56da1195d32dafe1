//! The hosted processor uses what its TLB has, and finds what its TLB must not have.

mod dirty_log;

use std::boxed::Box;
use std::sync::mpsc::{TryRecvError, channel};
use std::vec::Vec;

use abi::errno::Errno;
use abi::xen::DomainId;

use super::mmu::{self, Access};
use crate::addr::{GuestVirt, Mfn};
use crate::context::{Active, DomainDefences, GuestContext, roots};
use crate::frames::{
    self, AcquireError, Admission, Budget, Entry, FrameRef, L1, L2, L4, NoEntries, SharedPage, TypedRef, Writable,
};
use crate::guest_memory::Fault;
use crate::pte::RawEntry;
use crate::tlb::{self, clock, simulated};

const OWNER: DomainId = DomainId(3);
const MAPPER: DomainId = DomainId(4);
const MAPPED: u64 = 0x67;
const READ_ONLY: u64 = 0x65;
const NOT_DIRTY: u64 = 0x27;

/// Admits frames of any owner.
struct Everything;

impl Admission for Everything {
    fn leaf(&mut self, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        let frame = FrameRef::get_any(raw.frame()).ok_or(Errno::EINVAL)?;
        if !raw.is_writable() {
            return Ok(Entry::read_only(frame, raw));
        }
        TypedRef::<Writable>::acquire(frame, &mut NoEntries, budget).map(|page| Entry::writable(page, raw))
    }

    fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno> {
        FrameRef::get_any(mfn).ok_or(Errno::EINVAL)
    }

    fn absent_naming_memory(&mut self, _: RawEntry) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}

fn frame(owner: DomainId) -> FrameRef {
    frames::allocate(owner).expect("a free frame").into_reference()
}

fn table<K: frames::Level>(frame: &FrameRef) -> TypedRef<K> {
    TypedRef::acquire(frame.again(), &mut Everything, &mut Budget::new(10_000)).expect("valid tables")
}

/// Stores an entry in a table's memory, as no code of Paravane does.
fn store(table: &FrameRef, index: usize, mfn: Mfn, flags: u64) {
    mmu::entry(table.mfn(), index).store(mfn.address().get() | flags, core::sync::atomic::Ordering::SeqCst);
}

/// A loaded vCPU whose tables map two pages.
struct Guest {
    cpu: Active,
    pages: [FrameRef; 2],
    tables: [FrameRef; 4],
}

impl Guest {
    fn new(leaf: u64) -> Self {
        Self::of(OWNER, leaf)
    }

    fn of(owner: DomainId, leaf: u64) -> Self {
        let (tables, pages) = build(owner, leaf);
        Self { cpu: load(table(&tables[0]), false), pages, tables }
    }

    fn l1(&self) -> TypedRef<L1> {
        table(&self.tables[3])
    }

    fn write(&mut self, page: u64) -> Result<(), Fault> {
        self.cpu.write(address(page), &0_u64)
    }

    fn can_read(&self, page: u64) -> bool {
        self.cpu.read::<u64>(address(page)).is_ok()
    }

    fn map(&self, page: u16, frame: &FrameRef, flags: u64) {
        let raw = RawEntry::new(frame.mfn().address().get() | flags);
        let entry = Entry::<L1>::admit(raw, &mut Everything, &mut Budget::new(100)).expect("everything is admitted");
        drop(self.l1().replace(page, entry).expect("a slot of the guest's"));
    }

    /// Removes the entry of a page. The frame is idle afterwards.
    fn unmap(&self, page: u16) {
        drop(self.l1().replace(page, Entry::empty()).expect("a slot of the guest's"));
    }
}

/// Fills four tables, from the root down, which map two pages.
fn build(owner: DomainId, leaf: u64) -> ([FrameRef; 4], [FrameRef; 2]) {
    let (tables, pages) = ([(); 4].map(|()| frame(owner)), [(); 2].map(|()| frame(owner)));
    for [upper, lower] in tables.array_windows() {
        store(upper, 0, lower.mfn(), MAPPED);
    }
    for (index, page) in pages.iter().enumerate() {
        store(&tables[3], index, page.mfn(), leaf);
    }
    (tables, pages)
}

fn load(root: TypedRef<L4>, split_roots: bool) -> Active {
    let info = TypedRef::acquire(frame(root.frame().owner()), &mut NoEntries, &mut Budget::new(1)).expect("fresh");
    let mut context: Box<GuestContext> = GuestContext::new();
    context.set_roots(Some(root), None);
    context.set_vcpu_info(SharedPage::new(info), 0);
    context.set_defences(DomainDefences { split_roots, ..crate::cpu::domain_defences(false) });
    context.activate().ok().expect("it is complete")
}

const fn address(page: u64) -> GuestVirt {
    GuestVirt::new(page << 12)
}

#[test]
fn a_translation_is_used_until_it_is_flushed() {
    crate::hosted::start(64);
    for flush in [|guest: &mut Guest| guest.cpu.flush(), |guest: &mut Guest| guest.cpu.flush_page(address(0))] {
        let mut guest = Guest::new(MAPPED);
        assert_eq!(guest.write(0), Ok(()));
        guest.unmap(0);
        assert_eq!(guest.write(0), Ok(()), "it is cached");
        flush(&mut guest);
        assert_eq!(guest.write(0), Err(Fault));
        assert_eq!(guest.write(1), Ok(()));
    }
}

#[test]
fn a_link_is_used_until_it_is_flushed() {
    crate::hosted::start(64);
    let mut guest = Guest::new(MAPPED);
    assert!(guest.can_read(0));
    drop(table::<L2>(&guest.tables[2]).replace(0, Entry::empty()));
    assert!(guest.can_read(1), "the link to its table is cached");
    guest.cpu.flush_page(address(77));
    assert!(guest.can_read(0), "its translation is cached, without the links");
    guest.cpu.flush();
    assert!(!guest.can_read(0) && !guest.can_read(1));
}

#[test]
fn each_mode_has_the_translations_of_its_own_root() {
    crate::hosted::start(64);
    let mut guest = Guest::new(MAPPED);
    let kernel = guest.pages[0].mfn();
    let [(tables, [page, _second]), (other_tables, [other, _other_second])] = [(); 2].map(|()| build(OWNER, MAPPED));
    assert!(guest.can_read(0) && has_translation(kernel));
    drop(guest.cpu.set_user_root(Some(table(&tables[0]))));
    assert!(guest.can_read(0) && has_translation(kernel));
    assert!(guest.cpu.enter_user());
    assert!(guest.can_read(0) && has_translation(page.mfn()) && !has_translation(kernel));
    drop(guest.cpu.set_user_root(Some(table(&other_tables[0]))));
    assert!(guest.can_read(0) && has_translation(other.mfn()) && !has_translation(page.mfn()));
    guest.cpu.enter_kernel();
    assert!(guest.can_read(0) && has_translation(kernel) && !has_translation(other.mfn()));
    drop(guest.cpu.set_kernel_root(table(&tables[0])));
    assert!(guest.can_read(0) && has_translation(page.mfn()) && !has_translation(kernel));
}

#[test]
fn the_first_write_through_a_translation_is_a_walk() {
    crate::hosted::start(64);
    let mut guest = Guest::new(NOT_DIRTY);
    assert!(guest.can_read(0) && guest.can_read(1));
    assert_eq!(guest.write(0), Ok(()));
    assert_eq!(guest.l1().entry(0).get() & 0x40, 0x40, "the walk sets the dirty bit");
    for page in [0, 1] {
        let entry = guest.l1().entry(page);
        guest.l1().change_flags(page, entry, RawEntry::new(entry.get() & !2)).expect("it is current");
    }
    assert_eq!(guest.write(0), Ok(()), "the translation that permits writes is cached");
    assert_eq!(guest.write(1), Err(Fault));
}

#[test]
fn translations_of_a_frame_that_had_no_use_are_flushed_before_it_gets_an_owner() {
    crate::hosted::start(64);
    let guest = Guest::new(MAPPED);
    let page = frame(OWNER);
    let mfn = page.mfn();
    guest.map(5, &page, READ_ONLY);
    assert!(guest.can_read(5));
    guest.unmap(5);
    drop(page);
    assert!(has_translation(mfn));
    let all: Vec<_> = core::iter::from_fn(|| frames::allocate(OWNER)).collect();
    assert!(!has_translation(mfn) && all.iter().any(|frame| frame.mfn() == mfn));
}

#[test]
fn links_to_a_table_are_flushed_before_it_becomes_memory() {
    crate::hosted::start(64);
    let guest = Guest::new(MAPPED);
    let l1 = guest.tables[3].again();
    assert!(guest.can_read(0) && simulated::has_link(l1.mfn()));
    drop(table::<L2>(&guest.tables[2]).replace(0, Entry::empty()));
    assert!(simulated::has_link(l1.mfn()));
    let page = TypedRef::<Writable>::acquire(l1.again(), &mut NoEntries, &mut Budget::new(10_000));
    assert!(page.is_ok() && !simulated::has_link(l1.mfn()));
}

#[test]
fn a_store_to_a_root_table_flushes_what_was_walked_through_a_copy() {
    crate::hosted::start(64);
    let guest = Guest::new(MAPPED);
    let (root, mfn) = (table::<L4>(&guest.tables[0]), guest.pages[0].mfn());
    let another = root.again();
    while_another_cpu_runs(
        move || {
            let cpu = load(another, true);
            roots::refresh(cpu.context());
            mmu::load_restricted(cpu.context());
            assert!(mmu::access(address(0), Access::Read, |_| ()));
            cpu
        },
        || {
            assert!(has_translation(mfn));
            drop(root.replace(0, Entry::empty()).expect("a slot of the guest's"));
            assert!(!has_translation(mfn));
        },
    );
}

#[test]
fn a_frame_that_becomes_a_root_again_is_copied_again() {
    crate::hosted::start(64);
    let [(tables, _pages), (other_tables, _other_pages)] = [(); 2].map(|()| build(OWNER, MAPPED));
    let mut cpu = load(table(&tables[0]), true);
    cpu.run();
    drop(cpu.set_kernel_root(table(&other_tables[0])));
    let waiting = frames::Teardown::of(OWNER).expect("a domain's number");
    assert!(waiting.advance(&mut Budget::new(10_000)));
    store(&tables[0], 1, tables[1].mfn(), MAPPED);
    drop(cpu.set_kernel_root(table(&tables[0])));
    // The hosted processor compares the copy with the root table.
    cpu.run();
    assert!(cpu.read::<u64>(GuestVirt::new(1 << 39)).is_ok());
}

/// A guest with a cached translation of its page 0, which is not mapped any more.
fn guest_with_stale_translation() -> Guest {
    crate::hosted::start(64);
    let mut guest = Guest::new(MAPPED);
    assert_eq!(guest.write(0), Ok(()));
    guest.unmap(0);
    guest
}

/// Makes this CPU claim a flush that it has not made.
fn claim_flush() {
    clock::advance();
    clock::around_flush(|| ());
}

/// Runs `act` while another CPU, with its interrupts off, has cached what `prepare` has made it
/// cache. It serves flush requests.
fn while_another_cpu_runs<T>(prepare: impl FnOnce() -> T + Send, act: impl FnOnce()) {
    let (prepared, is_prepared) = channel();
    let (over, is_over) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            tlb::with_interrupts_off(|| {
                let guest = prepare();
                prepared.send(()).expect("the test waits");
                while is_over.try_recv() == Err(TryRecvError::Empty) {
                    tlb::serve();
                }
                drop(guest);
            });
        });
        is_prepared.recv().expect("the guest runs");
        act();
        drop(over);
    });
}

/// A guest of another domain that has a translation of `page`, which it does not map any more.
fn mapper_of(page: &FrameRef, flags: u64) -> Guest {
    let mut guest = Guest::of(MAPPER, MAPPED);
    guest.map(5, page, flags);
    assert!(guest.can_read(5));
    assert_eq!(guest.write(5).is_ok(), flags == MAPPED);
    guest.unmap(5);
    // What it has mapped is not forgotten with one of its frames.
    drop(frame(MAPPER));
    guest
}

fn has_translation(mfn: Mfn) -> bool {
    simulated::translations().iter().any(|translation| translation.frame == mfn)
}

#[test]
fn writable_translations_of_other_domains_are_flushed_before_a_change_of_kind() {
    crate::hosted::start(64);
    let page = frame(OWNER);
    while_another_cpu_runs(
        || mapper_of(&page, MAPPED),
        || {
            assert!(has_translation(page.mfn()));
            table::<L2>(&page);
            assert!(!has_translation(page.mfn()));
        },
    );
}

#[test]
fn readable_translations_of_other_domains_outlast_a_change_of_kind_but_not_of_owner() {
    crate::hosted::start(64);
    let page = frame(OWNER);
    let mfn = page.mfn();
    while_another_cpu_runs(
        || mapper_of(&page, READ_ONLY),
        || {
            drop(TypedRef::<Writable>::acquire(page.again(), &mut NoEntries, &mut Budget::new(100)));
            table::<L2>(&page);
            assert!(has_translation(mfn));
        },
    );
    let page = frame(OWNER);
    let (mfn, another) = (page.mfn(), page.again());
    while_another_cpu_runs(
        move || mapper_of(&another, READ_ONLY),
        || {
            drop(page);
            assert!(has_translation(mfn));
            let all: Vec<_> = core::iter::from_fn(|| frames::allocate(OWNER)).collect();
            assert!(!has_translation(mfn) && all.iter().any(|frame| frame.mfn() == mfn));
        },
    );
}

#[test]
#[should_panic(expected = "Writable left after the flush for a new use: CPU 0")]
fn a_missing_flush_before_a_change_of_kind_is_found() {
    let guest = guest_with_stale_translation();
    claim_flush();
    table::<L2>(&guest.pages[0]);
}

#[test]
#[should_panic(expected = "Any left after the flush for a new use: CPU 0")]
fn a_missing_flush_before_a_change_of_owner_is_found() {
    let Guest { cpu: _cpu, pages: [page, _other], .. } = guest_with_stale_translation();
    drop(page);
    claim_flush();
    let _all: Vec<_> = core::iter::from_fn(|| frames::allocate(DomainId(9))).collect();
}

#[test]
#[should_panic(expected = "Table left after the flush for a new use: CPU 0")]
fn a_missing_flush_before_a_table_becomes_memory_is_found() {
    crate::hosted::start(64);
    let mut guest = Guest::new(MAPPED);
    assert_eq!(guest.write(0), Ok(()));
    drop(table::<L2>(&guest.tables[2]).replace(0, Entry::empty()));
    claim_flush();
    drop(TypedRef::<Writable>::acquire(guest.tables[3].again(), &mut NoEntries, &mut Budget::new(10_000)));
}

#[test]
#[should_panic(expected = "Write access to a frame that is not writable memory")]
fn a_write_to_a_page_table_is_found() {
    crate::hosted::start(64);
    let mut guest = Guest::new(MAPPED);
    store(&guest.tables[3], 5, guest.tables[2].mfn(), MAPPED);
    let _ = guest.write(5);
}

#[test]
#[should_panic(expected = "Read access to a frame that belongs to another domain and is not marked as shared")]
fn an_access_to_a_frame_of_another_domain_is_found() {
    crate::hosted::start(64);
    let guest = Guest::new(MAPPED);
    let foreign = frames::allocate(DomainId(9)).expect("a free frame");
    store(&guest.tables[3], 5, foreign.mfn(), MAPPED);
    guest.can_read(5);
}

#[test]
#[should_panic(expected = "walk of a frame that is no table of this level")]
fn a_walk_of_memory_is_found() {
    crate::hosted::start(64);
    let guest = Guest::new(MAPPED);
    store(&guest.tables[2], 3, guest.pages[1].mfn(), MAPPED);
    guest.can_read(3 << 9);
}

#[test]
#[should_panic(expected = "the root of the loaded vCPU was set but not loaded")]
fn a_root_that_is_set_but_not_loaded_is_found() {
    crate::hosted::start(64);
    let mut guest = Guest::new(MAPPED);
    guest.cpu.context_mut().full_roots[crate::context::KERNEL] += 4096;
    guest.can_read(0);
}
