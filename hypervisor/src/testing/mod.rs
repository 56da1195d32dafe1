//! Guests for tests on the host: a domain with some memory and page tables, whose vCPU 0 is loaded
//! on the thread that created it, so that the test can make its hypercalls.

mod control;
mod events;
mod held;
mod migration;
mod pair;
mod parsers;
mod play;
mod player;
mod race;
#[cfg(test)]
mod tests;

pub use control::control;
pub use events::events;
pub use held::Tally;
pub use parsers::{build, emulate, plan, rings};
pub use play::{Recount, play};
pub use player::calls;
pub use race::race;

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Once;

use abi::xen::DomainId;
use machine::addr::{GuestVirt, Mfn};
use machine::context::{Active, DomainDefences, GuestContext};
use machine::frames::{self, Budget, FrameRef, L4, TypedRef, Writable};
use machine::paging::NoEntries;
#[cfg(test)]
use zerocopy::FromBytes;
use zerocopy::{Immutable, IntoBytes};

#[cfg(test)]
use crate::call::CallResult;
use crate::call::Caller;
use crate::domain::{self, Domain, Settings, VcpuId};
#[cfg(test)]
use crate::hypercall::table;
use crate::memory::admission::GuestAdmission;

/// Number of iterations of a randomised test: `usual`, or a few under Miri, which is a thousand
/// times slower.
#[cfg(test)]
pub(crate) const fn rounds(usual: u32) -> u32 {
    if cfg!(miri) { usual.div_ceil(1000) } else { usual }
}

/// Flags of a page-table entry: present, writable, user, accessed, dirty.
pub(crate) const MAPPED: u64 = 0x67;

/// Makes a hypercall through its row of the table, like the dispatcher.
#[cfg(test)]
pub(crate) fn hypercall<const N: usize>(caller: &mut Caller<'_>, number: u32, arguments: [u64; N]) -> CallResult {
    let mut registers = [0; 6];
    registers.iter_mut().zip(arguments).for_each(|(register, argument)| *register = argument);
    (table::row(number.into()).expect("a hypercall of this number").handler)(caller, &registers)
}
const TABLES: usize = 4;
/// The address of page 0 of the guest's memory.
const BASE: u64 = 0x40_0000;
const SCRATCH_PAGE: usize = 0;

/// A guest whose vCPU 0 is loaded.
pub(crate) struct Guest {
    pub(crate) domain: Arc<Domain>,
    cpu: Option<Active>,
    pages: Vec<Mfn>,
    tables: [Mfn; TABLES],
}

/// Number of frames of the machine. A recount visits all of them, so fuzz targets use fewer.
const FRAMES: u64 = if cfg!(test) { 4096 } else { 1024 };

/// Initialises the machine, once per process.
pub fn start_machine() {
    start_machine_with(FRAMES);
}

fn start_machine_with(frames: u64) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        machine::hosted::start(frames);
        crate::cpu_policy::init();
    });
}

fn writable(frame: FrameRef) -> TypedRef<Writable> {
    TypedRef::acquire(frame, &mut NoEntries, &mut Budget::new(1000)).expect("a frame that can be written")
}

impl Guest {
    /// A guest with `pages` pages of memory, which its only L1 table maps writable and
    /// contiguously.
    pub(crate) fn new(id: u16, pages: usize) -> Self {
        Self::with(id, pages, false, 2)
    }

    /// The same with `vcpus` vCPUs, of which the first is loaded.
    #[cfg(test)]
    pub(crate) fn with_vcpus(id: u16, pages: usize, vcpus: u32) -> Self {
        Self::with(id, pages, false, vcpus)
    }

    /// The same as a privileged domain.
    pub(crate) fn privileged(id: u16, pages: usize) -> Self {
        crate::hardware::init();
        Self::with(id, pages, true, 2)
    }

    fn with(id: u16, pages: usize, privileged: bool, vcpus: u32) -> Self {
        start_machine();
        let settings =
            Settings { name: String::from("test"), privileged, vcpus, max_frames: 1024, weight: 256, cap: 0 };
        let domain = Domain::new(DomainId(id), settings).expect("memory for a domain");
        let frames: Vec<Mfn> = (0..pages + TABLES)
            .map(|_| {
                let allocation = frames::allocate(domain.id()).expect("a free frame");
                let mfn = allocation.mfn();
                domain.frames.push(allocation);
                mfn
            })
            .collect();
        let (tables, pages) = frames.split_at(TABLES);
        let [l1, l2, l3, l4] = *tables else { panic!("four tables") };
        let tables = [l1, l2, l3, l4];
        let put = |table: Mfn, index: usize, mfn: Mfn| {
            let page = writable(domain.frame(table).expect("the domain's own frame"));
            page.write_u64(index as u16, mfn.address().get() | MAPPED);
        };
        let base = GuestVirt::new(BASE);
        put(l4, base.index(4), l3);
        put(l3, base.index(3), l2);
        put(l2, base.index(2), l1);
        for (index, page) in pages.iter().enumerate() {
            put(l1, base.index(1) + index, *page);
        }
        let root = domain.frame(l4).expect("the domain's own frame");
        let mut admission = GuestAdmission::of(&domain);
        let root = TypedRef::<L4>::acquire(root, &mut admission, &mut Budget::new(100_000)).expect("valid tables");
        let vcpu = domain.vcpu(VcpuId::BOOT).expect("a vCPU");
        let mut context = vcpu.parked().take().expect("a parked vCPU");
        drop(context.set_roots(Some(root), None));
        vcpu.scheduling.note_loaded_by_test(true);
        let cpu = context.activate().ok();
        domain::add(&domain);
        Self { domain, cpu, pages: pages.to_vec(), tables }
    }

    /// The frame of a page.
    pub(crate) fn mfn(&self, page: usize) -> Mfn {
        self.pages[page]
    }

    /// The virtual address of a page.
    pub(crate) fn address(&self, page: usize) -> GuestVirt {
        GuestVirt::new(BASE).offset(page as u64 * 4096)
    }

    /// The machine address of the page-table entry that maps a page.
    #[cfg(test)]
    pub(crate) fn entry_address(&self, page: usize) -> u64 {
        self.tables[0].address().get() + self.address(page).index(1) as u64 * 8
    }

    /// The bits of the page-table entry that maps a page.
    #[cfg(test)]
    pub(crate) fn entry(&self, page: usize) -> u64 {
        self.domain.frame(self.tables[0]).expect("the table").read_u64(self.address(page).index(1) as u16)
    }

    /// The machine address and the bits of the L2 entry for its pages.
    #[cfg(test)]
    pub(crate) fn upper_entry(&self) -> (u64, u64) {
        let index = self.address(0).index(2);
        let value = self.domain.frame(self.tables[1]).expect("the table").read_u64(index as u16);
        (self.tables[1].address().get() + index as u64 * 8, value)
    }

    /// The caller of a hypercall.
    pub(crate) fn caller(&mut self) -> Caller<'_> {
        self.caller_with(Budget::HYPERCALL)
    }

    /// The caller of a hypercall with the given budget.
    pub(crate) fn caller_with(&mut self, budget: u32) -> Caller<'_> {
        Caller {
            domain: &self.domain,
            vcpu: self.domain.vcpu(VcpuId::BOOT).expect("a vCPU"),
            cpu: self.cpu.as_mut().expect("an active vCPU"),
            budget: Budget::new(budget),
        }
    }

    /// Unloads its vCPU and returns the parked state. It cannot make hypercalls afterwards.
    #[cfg(test)]
    pub(crate) fn park(&mut self) -> alloc::boxed::Box<machine::context::GuestContext> {
        let context = self.cpu.take().expect("an active vCPU").deactivate();
        self.note_unloaded();
        context
    }

    /// Sets whether its vCPUs run with restricted roots. Without, what they cached before a
    /// hypercall is cached during it.
    pub(crate) fn set_split_roots(&mut self, split_roots: bool) {
        let set = |context: &mut GuestContext| {
            let defences = machine::cpu::domain_defences(self.domain.is_privileged());
            context.set_defences(DomainDefences { split_roots, ..defences });
        };
        if let Some(cpu) = self.cpu.take() {
            let mut context = cpu.deactivate();
            set(&mut context);
            self.cpu = context.activate().ok();
        }
        self.domain.vcpus().iter().for_each(|vcpu| vcpu.parked().as_deref_mut().into_iter().for_each(set));
    }

    fn note_unloaded(&self) {
        self.domain.vcpu(VcpuId::BOOT).expect("a vCPU").scheduling.note_loaded_by_test(false);
    }

    /// Writes a value to the guest's memory for the arguments of hypercalls. Returns the address.
    pub(crate) fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, value: &T) -> GuestVirt {
        let address = self.address(SCRATCH_PAGE);
        self.caller().cpu.write(address, value).expect("a mapped page");
        address
    }

    /// Reads a value from the guest's memory.
    #[cfg(test)]
    pub(crate) fn read<T: FromBytes + IntoBytes>(&mut self, address: GuestVirt) -> T {
        self.caller().cpu.read(address).expect("a mapped page")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.cpu.take().is_some() {
            self.note_unloaded();
        }
        let mut budget = Budget::new(u32::MAX);
        assert!(self.domain.events.close_all(&self.domain, &mut budget));
        assert!(self.domain.grants.release_all(&self.domain, &mut budget));
        while self.domain.frames.pop().is_some() {}
        self.domain.teardown.advance(&mut budget);
    }
}
