//! Random use of the frame table: by one thread with a recount after every step, and by several
//! threads that race on the same frames. Each thread has a vCPU loaded, which accesses memory
//! through its simulated TLB.

#![allow(clippy::disallowed_methods, reason = "tests need no masked indices")]

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::addr::Mfn;
use machine::context::{Active, DomainDefences, GuestContext};
use machine::frames::audit::{self, Held};
use machine::frames::{
    self, AcquireError, Budget, Descriptor, FrameList, FrameRef, Kind, L1, L2, L3, L4, Promotion, SharedPage, Teardown,
    TypedRef, Writable,
};
use machine::hosted::tlb::with_interrupts_off;
use machine::paging::{Admission, Entry, NoEntries, RawEntry};
use proptest::prelude::*;
use std::sync::Once;

const GUEST: DomainId = DomainId(7);
const OTHER: DomainId = DomainId(8);
const FRAMES: u64 = 48;

/// Admits the guest's own frames.
struct Own;

impl Admission for Own {
    fn leaf(&mut self, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        if !raw.is_present() {
            return Ok(Entry::absent(raw, self)?);
        }
        let frame = FrameRef::get(raw.frame(), GUEST).ok_or(Errno::EINVAL)?;
        if !raw.is_writable() {
            return Ok(Entry::read_only(frame, raw));
        }
        TypedRef::<Writable>::acquire(frame, &mut NoEntries, budget).map(|frame| Entry::writable(frame, raw))
    }

    fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno> {
        FrameRef::get(mfn, GUEST).ok_or(Errno::EINVAL)
    }

    fn absent_naming_memory(&mut self, _: RawEntry) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}

enum Value {
    Plain(FrameRef),
    Writable(TypedRef<Writable>),
    Descriptor(TypedRef<Descriptor>),
    L1(TypedRef<L1>),
    L2(TypedRef<L2>),
    L3(TypedRef<L3>),
    L4(TypedRef<L4>),
    Promotion(Promotion),
}

impl Value {
    fn held(&self, mfn: Mfn) -> Held {
        let typed = |at: Mfn| Held { references: u32::from(at == mfn), uses: u32::from(at == mfn) };
        match self {
            Self::Plain(frame) => Held { references: u32::from(frame.mfn() == mfn), uses: 0 },
            Self::Writable(page) => typed(page.mfn()),
            Self::Descriptor(page) => typed(page.mfn()),
            Self::L1(table) => typed(table.mfn()),
            Self::L2(table) => typed(table.mfn()),
            Self::L3(table) => typed(table.mfn()),
            Self::L4(table) => typed(table.mfn()),
            Self::Promotion(promotion) => {
                Held { references: promotion.frames().filter(|frame| *frame == mfn).count() as u32, uses: 0 }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate,
    GiveUp(u64),
    Refer(u64),
    Acquire(u8, u64, u32),
    Drop(usize),
    Pin(usize),
    Unpin(u64),
    Poke(u64, u16, u64),
    Replace(usize, u16, u64),
    TearDown(u32),
    /// Removes a page from the tables of the vCPU.
    Unmap(u16),
    /// The same, and acquires the page as another kind.
    UnmapAndAcquire(u16, u8),
    /// The same, and gives the page up. The next allocation may return its frame.
    UnmapAndGiveUp(u16),
    /// Maps a page in the tables of the vCPU.
    Map(u16, u64),
    Run,
    LoadRoot(usize),
}

/// Number of pages that the tables of the vCPU map at first.
const PAGES: u16 = 8;

fn raw_entry() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0u64),
        6 => (0..FRAMES, prop_oneof![Just(1u64), Just(3), Just(7), Just(0x67), Just(5), Just(0x65), Just(0x167)]).prop_map(|(frame, flags)| frame << 12 | flags),
        1 => any::<u64>(),
    ]
}

fn index() -> impl Strategy<Value = u16> {
    prop_oneof![0..4u16, 254..258u16, 508..512u16]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Allocate),
        1 => (0..FRAMES).prop_map(Step::GiveUp),
        1 => (0..FRAMES).prop_map(Step::Refer),
        6 => (0..6u8, 0..FRAMES, prop_oneof![Just(1u32), Just(600), Just(100_000)]).prop_map(|(kind, frame, budget)| Step::Acquire(kind, frame, budget)),
        4 => any::<usize>().prop_map(Step::Drop),
        2 => any::<usize>().prop_map(Step::Pin),
        2 => (0..FRAMES).prop_map(Step::Unpin),
        6 => (0..FRAMES, index(), raw_entry()).prop_map(|(frame, index, raw)| Step::Poke(frame, index, raw)),
        4 => (any::<usize>(), index(), raw_entry()).prop_map(|(table, index, raw)| Step::Replace(table, index, raw)),
        2 => prop_oneof![Just(1u32), Just(300), Just(100_000)].prop_map(Step::TearDown),
        1 => (0..PAGES).prop_map(Step::Unmap),
        2 => (0..PAGES, 0..6u8).prop_map(|(page, kind)| Step::UnmapAndAcquire(page, kind)),
        2 => (0..PAGES).prop_map(Step::UnmapAndGiveUp),
        4 => (0..PAGES, raw_entry()).prop_map(|(page, raw)| Step::Map(page, raw)),
        6 => Just(Step::Run),
        1 => any::<usize>().prop_map(Step::LoadRoot),
    ]
}

struct World {
    list: FrameList,
    held: Vec<Value>,
    vcpu: Option<Active>,
    /// The L1 table with the vCPU's pages.
    l1: Option<FrameRef>,
}

impl World {
    fn new() -> Self {
        static START: Once = Once::new();
        START.call_once(|| machine::hosted::start(FRAMES));
        Self { list: FrameList::new(GUEST), held: Vec::new(), vcpu: None, l1: None }
    }

    /// Builds page tables that map `PAGES` frames of the guest, and returns their root.
    fn build_tables(&mut self) -> TypedRef<L4> {
        let tables = [(); 4].map(|()| self.frame());
        for [upper, lower] in tables.array_windows() {
            put(upper, 0, lower);
        }
        for index in 0..PAGES {
            put(&tables[3], index, &self.frame());
        }
        let [root, _, _, l1] = tables;
        self.l1 = Some(l1);
        TypedRef::acquire(root, &mut Own, &mut Budget::new(100_000)).expect("valid tables")
    }

    /// A frame that the guest may write.
    fn page(&self) -> TypedRef<Writable> {
        TypedRef::acquire(self.frame(), &mut NoEntries, &mut Budget::new(1)).expect("fresh")
    }

    /// Loads a vCPU with this root on this thread. Without split roots it keeps its translations
    /// while steps are made.
    fn load_vcpu(&mut self, root: TypedRef<L4>, info: TypedRef<Writable>, split_roots: bool) {
        let mut context = GuestContext::new();
        context.set_roots(Some(root), None);
        context.set_vcpu_info(SharedPage::new(info), 0);
        context.set_defences(DomainDefences { split_roots, ..machine::cpu::domain_defences(false) });
        self.vcpu = context.activate().ok();
    }

    /// Stores an entry for one of the vCPU's pages, and returns the frame that was mapped.
    fn map(&self, page: u16, raw: RawEntry) -> Option<u64> {
        let table = TypedRef::<L1>::existing(self.l1.as_ref()?.again()).ok()?;
        let entry = Entry::<L1>::admit(raw, &mut Own, &mut Budget::new(100_000)).ok()?;
        let former = table.replace(page, entry).ok()?.raw();
        former.is_present().then(|| former.frame().get())
    }

    fn acquire_as(&mut self, kind: u8, frame: u64, budget: u32) {
        match kind {
            0 => self.acquire(frame, budget, Value::Writable),
            1 => self.acquire(frame, budget, Value::Descriptor),
            2 => self.acquire(frame, budget, Value::L1),
            3 => self.acquire(frame, budget, Value::L2),
            4 => self.acquire(frame, budget, Value::L3),
            _ => self.acquire(frame, budget, Value::L4),
        }
    }

    fn give_up(&self, frame: u64) {
        drop(FrameRef::get(Mfn::new(frame), GUEST).and_then(|frame| self.list.remove(&frame)));
    }

    fn acquire<K: Kind>(&mut self, frame: u64, budget: u32, wrap: fn(TypedRef<K>) -> Value) {
        let Some(frame) = FrameRef::get(Mfn::new(frame), GUEST) else { return };
        match TypedRef::acquire(frame, &mut Own, &mut Budget::new(budget)) {
            Ok(table) => self.held.push(wrap(table)),
            Err(AcquireError::Preempted(promotion)) => self.held.push(Value::Promotion(promotion)),
            Err(AcquireError::Conflict | AcquireError::Refused(_)) => {}
        }
    }

    fn take(&mut self, number: usize) -> Option<Value> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(number % self.held.len()))
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Allocate => {
                if let Some(allocation) = frames::allocate(GUEST) {
                    self.list.push(allocation);
                }
            }
            Step::GiveUp(frame) => self.give_up(frame),
            Step::Refer(frame) => self.held.extend(FrameRef::get(Mfn::new(frame), GUEST).map(Value::Plain)),
            Step::Acquire(kind, frame, budget) => self.acquire_as(kind, frame, budget),
            Step::Drop(number) => drop(self.take(number)),
            Step::Pin(number) => {
                let back = match self.take(number) {
                    Some(Value::L1(table)) => table.pin().err().map(Value::L1),
                    Some(Value::L2(table)) => table.pin().err().map(Value::L2),
                    Some(Value::L3(table)) => table.pin().err().map(Value::L3),
                    Some(Value::L4(table)) => table.pin().err().map(Value::L4),
                    other => other,
                };
                self.held.extend(back);
            }
            Step::Unpin(frame) => {
                if let Some(frame) = FrameRef::get(Mfn::new(frame), GUEST) {
                    unpin(&frame);
                }
            }
            Step::Poke(frame, index, raw) => {
                let Some(frame) = FrameRef::get(Mfn::new(frame), GUEST) else { return };
                if let Ok(page) = TypedRef::<Writable>::acquire(frame, &mut NoEntries, &mut Budget::new(4096)) {
                    page.write_u64(index, raw);
                }
            }
            Step::Replace(number, index, raw) => self.replace(number, index, RawEntry::new(raw)),
            Step::TearDown(budget) => {
                tables_of(GUEST).advance(&mut Budget::new(budget));
            }
            Step::Unmap(page) => drop(self.map(page, RawEntry::new(0))),
            Step::UnmapAndAcquire(page, kind) => {
                if let Some(frame) = self.map(page, RawEntry::new(0)) {
                    self.acquire_as(kind, frame, 100_000);
                }
            }
            Step::UnmapAndGiveUp(page) => {
                if let Some(frame) = self.map(page, RawEntry::new(0)) {
                    self.give_up(frame);
                }
            }
            Step::Map(page, raw) => drop(self.map(page, RawEntry::new(raw))),
            Step::Run => {
                if let Some(vcpu) = &mut self.vcpu {
                    vcpu.run();
                }
            }
            Step::LoadRoot(number) => {
                let taken = self.take(number);
                self.held.extend(match (taken, &mut self.vcpu) {
                    (Some(Value::L4(root)), Some(vcpu)) => vcpu.set_kernel_root(root).map(Value::L4),
                    (taken, _) => taken,
                });
            }
        }
    }

    fn replace(&mut self, number: usize, index: u16, raw: RawEntry) {
        if self.held.is_empty() {
            return;
        }
        let number = number % self.held.len();
        let budget = &mut Budget::new(100_000);
        match &self.held[number] {
            Value::L1(table) => {
                drop(Entry::<L1>::admit(raw, &mut Own, budget).map(|entry| table.replace(index, entry)))
            }
            Value::L2(table) => {
                drop(Entry::<L2>::admit(raw, &mut Own, budget).map(|entry| table.replace(index, entry)))
            }
            Value::L3(table) => {
                drop(Entry::<L3>::admit(raw, &mut Own, budget).map(|entry| table.replace(index, entry)))
            }
            Value::L4(table) => {
                drop(Entry::<L4>::admit(raw, &mut Own, budget).map(|entry| table.replace(index, entry)))
            }
            _ => {}
        }
    }

    /// Allocates another frame of the guest and lists it.
    fn frame(&self) -> FrameRef {
        let allocation = frames::allocate(GUEST).expect("a frame");
        let frame = allocation.reference();
        self.list.push(allocation);
        frame
    }

    fn check(&self) -> Result<(), String> {
        let l1 = self.l1.as_ref().map(FrameRef::mfn);
        let context = self.vcpu.as_ref().map(Active::context);
        let root = context.and_then(GuestContext::kernel_root).map(TypedRef::mfn);
        let info = context.and_then(GuestContext::vcpu_info).map(|(page, _)| page.frame().mfn());
        audit::recount(|mfn| {
            let of_vcpu = [root, info].iter().filter(|held| **held == Some(mfn)).count() as u32;
            let references = of_vcpu + u32::from(l1 == Some(mfn));
            self.held.iter().fold(Held { references, uses: of_vcpu }, |sum, value| {
                let more = value.held(mfn);
                Held { references: sum.references + more.references, uses: sum.uses + more.uses }
            })
        })
    }

    /// Releases everything; every frame must become free.
    fn end(mut self) {
        (self.vcpu, self.l1) = (None, None);
        self.held.clear();
        while let Some(allocation) = self.list.pop() {
            drop(allocation);
        }
        // A frame that was released while pinned is on no list.
        for number in 0..FRAMES {
            if let Some(frame) = FrameRef::get(Mfn::new(number), GUEST) {
                unpin(&frame);
            }
        }
        while !tables_of(GUEST).advance(&mut Budget::new(1000)) {}
        assert_eq!(audit::recount(|_| Held::default()), Ok(()));
        assert_eq!(frames::free_frames(), FRAMES);
        assert_eq!(frames::owned_by(GUEST), 0);
    }
}

/// Writes an entry that maps or links `lower` into a frame that is to become a table.
fn put(table: &FrameRef, index: u16, lower: &FrameRef) {
    let page = TypedRef::<Writable>::acquire(table.again(), &mut NoEntries, &mut Budget::new(1)).expect("fresh");
    page.write_u64(index, lower.mfn().address().get() | 0x67);
}

fn tables_of(domain: DomainId) -> Teardown {
    Teardown::of(domain).expect("a domain's number")
}

fn unpin(frame: &FrameRef) {
    drop(TypedRef::<L1>::unpin(frame));
    drop(TypedRef::<L2>::unpin(frame));
    drop(TypedRef::<L3>::unpin(frame));
    drop(TypedRef::<L4>::unpin(frame));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 96 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_right_after_every_step(
        steps in prop::collection::vec(step(), 1..if cfg!(miri) { 20 } else { 160 }),
        split_roots in any::<bool>(),
    ) {
        machine::hosted::tlb::seed(steps.len() as u64);
        let mut world = World::new();
        let root = world.build_tables();
        let info = world.page();
        world.load_vcpu(root, info, split_roots);
        for step in &steps {
            world.apply(step);
            let checked = world.check();
            prop_assert!(checked.is_ok(), "after {step:?}:\n{}", checked.unwrap_err());
        }
        world.end();
    }
}

#[test]
fn threads_race_on_the_same_frames_and_nothing_is_lost() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut world = World::new();
    let root = world.build_tables();
    for _ in 0..FRAMES / 4 {
        world.list.push(frames::allocate(GUEST).expect("frames are free"));
    }
    let rounds = if cfg!(miri) { 10 } else { 3000 };
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (root, info, l1) = (root.again(), world.page(), world.l1.as_ref().map(FrameRef::again));
            scope.spawn(move || {
                let mut runner = TestRunner::deterministic();
                let mut own = World { list: FrameList::new(OTHER), held: Vec::new(), vcpu: None, l1 };
                own.load_vcpu(root, info, number == 0);
                for _ in 0..rounds {
                    let step = step().new_tree(&mut runner).expect("a step").current();
                    if !matches!(step, Step::Allocate | Step::GiveUp(_) | Step::UnmapAndGiveUp(_)) {
                        with_interrupts_off(|| own.apply(&step));
                    }
                    if own.held.len() > 12 {
                        own.held.clear();
                    }
                }
                (own.vcpu, own.l1) = (None, None);
                own.held.clear();
                while !tables_of(GUEST).advance(&mut Budget::new(100_000)) {}
            });
        }
    });
    drop(root);
    assert_eq!(world.check(), Ok(()));
    world.end();
}

#[test]
fn a_page_table_has_no_writable_mapping_and_a_mapped_page_becomes_no_table() {
    let world = World::new();
    let frame = |allocation: frames::Allocation| {
        let frame = allocation.reference();
        world.list.push(allocation);
        frame
    };
    let page = frame(frames::allocate(GUEST).expect("a frame"));
    let budget = &mut Budget::new(100_000);
    let writable = TypedRef::<Writable>::acquire(page.again(), &mut NoEntries, budget).expect("a fresh frame");
    let refused = TypedRef::<L1>::acquire(page.again(), &mut Own, budget);
    assert!(matches!(refused, Err(AcquireError::Conflict)));
    drop(writable);
    let table = TypedRef::<L1>::acquire(page.again(), &mut Own, budget).expect("no writable mapping is left");
    let refused = TypedRef::<Writable>::acquire(page.again(), &mut NoEntries, budget);
    assert!(matches!(refused, Err(AcquireError::Conflict)));
    drop((table, page));
    world.end();
}

#[test]
fn a_mapping_may_be_removed_while_it_becomes_read_only() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let world = World::new();
    let budget = &mut Budget::new(u32::MAX);
    let table = frames::allocate(GUEST).expect("a frame").into_reference();
    let table = TypedRef::<L1>::acquire(table, &mut Own, budget).expect("an empty table");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let seen = table.entry(0);
                if seen.is_present() && seen.is_writable() {
                    let _ = table.change_flags(0, seen, RawEntry::new(seen.get() & !2));
                }
            }
        });
        for round in 0..if cfg!(miri) { 50 } else { 100_000 } {
            // Only the entry references the frame.
            let page = frames::allocate(GUEST).expect("a frame").into_reference();
            let page = TypedRef::<Writable>::acquire(page, &mut NoEntries, budget).expect("a fresh frame");
            let raw = RawEntry::new(page.mfn().address().get() | 7);
            drop(table.replace(0, Entry::writable(page, raw)));
            for _ in 0..round % 64 {
                std::hint::spin_loop();
            }
            drop(table.replace(0, Entry::empty()));
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(table);
    world.end();
}

#[test]
fn a_promotion_completes_after_many_attempts() {
    let world = World::new();
    let frame = || world.frame();
    let (l3, l2) = (frame(), frame());
    let write = |table: &FrameRef, index: u16, lower: &FrameRef| {
        let page = TypedRef::<Writable>::acquire(table.again(), &mut NoEntries, &mut Budget::new(1)).expect("fresh");
        page.write_u64(index, lower.mfn().address().get() | 7);
    };
    write(&l3, 0, &l2);
    for index in 0..8 {
        write(&l2, index, &frame());
    }
    // Each attempt validates one or two lower tables. Released progress would be torn down.
    let mut earlier: Option<Promotion> = None;
    let mut attempts = 0;
    let table = loop {
        attempts += 1;
        assert!(attempts < 20, "each attempt undoes the previous one");
        match TypedRef::<L3>::acquire(l3.again(), &mut Own, &mut Budget::new(80)) {
            Ok(table) => break table,
            Err(AcquireError::Preempted(mut promotion)) => {
                if let Some(earlier) = earlier.take() {
                    promotion.supersede(earlier);
                }
                earlier = Some(promotion);
                while !tables_of(GUEST).advance(&mut Budget::new(100_000)) {}
            }
            Err(error) => panic!("{error:?}"),
        }
    };
    assert!(attempts > 2, "the test needs several attempts");
    drop((earlier, table, l3, l2));
    world.end();
}

#[test]
fn all_threads_that_race_to_validate_a_root_succeed() {
    let world = World::new();
    let link = |table: &FrameRef, index: u16, lower: &FrameRef| {
        let page = TypedRef::<Writable>::acquire(table.again(), &mut NoEntries, &mut Budget::new(1)).expect("fresh");
        page.write_u64(index, lower.mfn().address().get() | 7);
    };
    let root = world.frame();
    for index in 0..3 {
        let l3 = world.frame();
        link(&root, index, &l3);
        for index in 0..4 {
            let l2 = world.frame();
            link(&l3, index, &l2);
            link(&l2, 0, &world.frame());
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut earlier: Option<Promotion> = None;
                let mut attempts = 0;
                let root = loop {
                    attempts += 1;
                    assert!(attempts < 100_000, "no attempt completes");
                    match TypedRef::<L4>::acquire(root.again(), &mut Own, &mut Budget::new(80)) {
                        Ok(root) => break root,
                        Err(AcquireError::Preempted(mut promotion)) => {
                            if let Some(earlier) = earlier.take() {
                                promotion.supersede(earlier);
                            }
                            earlier = Some(promotion);
                        }
                        // Another thread is about to make the frame a table.
                        Err(AcquireError::Conflict) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    while !tables_of(GUEST).advance(&mut Budget::new(100_000)) {}
                };
                drop((earlier, root));
            });
        }
    });
    drop(root);
    world.end();
}
