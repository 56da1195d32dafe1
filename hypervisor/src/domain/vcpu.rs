//! A vCPU: its parked state, where its `vcpu_info` lies, and what keeps it from running.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use abi::xen::{DomainId, LEGACY_MAX_VCPUS, SharedInfo, VcpuInfo};
use machine::addr::PAGE_SIZE;
use machine::context::GuestContext;
use machine::frames::{NoMemory, Promotion, SharedPage};
use machine::sync::{Level, SpinLock, SpinLockGuard};

use super::Domain;
use crate::scheduler::SchedulerState;
use crate::time::VcpuTime;

/// Bytes of a `vcpu_info`.
pub(crate) const VCPU_INFO_SIZE: usize = size_of::<VcpuInfo>();

/// A vCPU's number in its domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VcpuId(u32);

impl VcpuId {
    /// The vCPU `number`.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A place of `vcpu_info` size in a page shared with the guest.
pub struct InfoPlace {
    /// The page.
    pub page: SharedPage,
    /// Offset of the structure, a multiple of 8.
    pub offset: usize,
}

impl InfoPlace {
    /// `evtchn_upcall_pending`.
    pub fn upcall_pending(&self) -> &AtomicU8 {
        self.page.atomic_u8(self.offset + offset_of!(VcpuInfo, event_upcall_pending))
    }

    /// `evtchn_upcall_mask`.
    pub fn upcall_mask(&self) -> &AtomicU8 {
        self.page.atomic_u8(self.offset + offset_of!(VcpuInfo, event_upcall_mask))
    }

    /// Tells the guest that an event is pending. `true` if it did not know.
    pub fn raise_upcall(&self) -> bool {
        self.upcall_pending().swap(1, Ordering::SeqCst) == 0
    }

    fn again(&self) -> Self {
        Self { page: self.page.again(), offset: self.offset }
    }
}

/// Where the `vcpu_info` of each vCPU lies until the guest says otherwise: in the shared info page,
/// as far as there is room, else in pages that the guest does not see. A vCPU beyond that room must
/// be given a place before it is brought up.
///
/// # Errors
/// If there is no free frame.
pub(super) fn first_places(
    owner: DomainId,
    shared_info: &SharedPage,
    vcpus: usize,
) -> Result<Vec<InfoPlace>, NoMemory> {
    const IN_PAGE: usize = PAGE_SIZE / VCPU_INFO_SIZE;
    let mut places = Vec::new();
    places.try_reserve_exact(vcpus).map_err(|_| NoMemory)?;
    for number in 0..vcpus.min(LEGACY_MAX_VCPUS) {
        let offset = offset_of!(SharedInfo, vcpu_info) + number * VCPU_INFO_SIZE;
        places.push(InfoPlace { page: shared_info.again(), offset });
    }
    while places.len() < vcpus {
        let page = super::new_shared_page(owner)?;
        let missing = vcpus - places.len();
        let offsets = (0..IN_PAGE).take(missing).map(|place| place * VCPU_INFO_SIZE);
        places.extend(offsets.map(|offset| InfoPlace { page: page.again(), offset }));
    }
    Ok(places)
}

/// What a guest executes again if there was too much to do at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// A hypercall: its number and first arguments.
    Hypercall(u64, [u64; 4]),
    /// The instruction at this address.
    Instruction(u64),
}

/// One virtual CPU.
pub struct Vcpu {
    id: VcpuId,
    domain: Weak<Domain>,
    /// The state at rest; `None` while a pCPU has it.
    context: SpinLock<Option<Box<GuestContext>>>,
    info: SpinLock<InfoPlace>,
    /// The guest has said where its `vcpu_info` lies.
    info_registered: AtomicBool,
    /// Whether the guest has brought it up.
    up: AtomicBool,
    initialised: AtomicBool,
    /// Its state has been given up for good.
    gone: AtomicBool,
    /// An NMI that the guest has not seen yet.
    pub nmi_pending: AtomicBool,
    /// Which ports its processes may use: address of a bitmap, a set bit forbids, and for how many ports it has bits.
    pub port_bitmap: (AtomicU64, AtomicU32),
    /// Time areas and timers.
    pub time: VcpuTime,
    /// What the scheduler keeps for it.
    pub scheduling: SchedulerState,
    /// A page-table validation that was interrupted, and when it goes on.
    pub promotion: SpinLock<Option<(Attempt, Promotion)>>,
    /// There may be one. Only the pCPU that runs the vCPU puts one there, or asks.
    has_promotion: AtomicBool,
    /// It has left tables behind whose teardown it must wait for before its guest runs (TD-2).
    pub left_tables: AtomicBool,
    /// The domain that it is destroying, for when the hypercall is repeated.
    pub destroying: SpinLock<Option<(DomainId, Weak<Domain>)>>,
}

impl Vcpu {
    /// A vCPU that is down, its `vcpu_info` at one of the [`first_places`].
    pub(super) fn new(id: VcpuId, domain: Weak<Domain>, info: InfoPlace) -> Self {
        let mut context = GuestContext::new();
        context.set_vcpu_info(info.page.again(), info.offset);
        // Events are masked until the guest says otherwise.
        info.upcall_mask().store(1, Ordering::Relaxed);
        Self {
            id,
            domain,
            context: SpinLock::new(Level::Vcpu, Some(context)),
            info: SpinLock::new(Level::VcpuInfo, info),
            info_registered: AtomicBool::new(false),
            up: AtomicBool::new(false),
            initialised: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            nmi_pending: AtomicBool::new(false),
            port_bitmap: (AtomicU64::new(0), AtomicU32::new(0)),
            time: VcpuTime::new(),
            scheduling: SchedulerState::new(),
            promotion: SpinLock::new(Level::Vcpu, None),
            has_promotion: AtomicBool::new(false),
            left_tables: AtomicBool::new(false),
            destroying: SpinLock::new(Level::Vcpu, None),
        }
    }

    /// Its number.
    pub const fn id(&self) -> VcpuId {
        self.id
    }

    /// Its domain, unless that is gone.
    pub fn domain(&self) -> Option<Arc<Domain>> {
        self.domain.upgrade()
    }

    /// Whether it is a vCPU of `domain`.
    pub fn belongs_to(&self, domain: &Domain) -> bool {
        core::ptr::eq(self.domain.as_ptr(), domain)
    }

    /// Whether it is up, as the guest sees it.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    /// Brings it up or takes it down; `true` if that changed something. The caller wakes it, or makes it stop.
    pub fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::SeqCst) != up
    }

    /// Whether it has been given a state to start with.
    pub fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::SeqCst)
    }

    /// Notes that it has been given a state to start with.
    pub fn set_initialised(&self) {
        self.initialised.store(true, Ordering::SeqCst);
    }

    /// Whether its state has been given up for good.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Notes that its state has been given up.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    /// The state at rest, locked; `None` inside while a pCPU has it.
    pub fn parked(&self) -> SpinLockGuard<'_, Option<Box<GuestContext>>> {
        self.context.lock()
    }

    /// Keeps what was left half validated until the guest makes the attempt `next`, whatever else it does before: an event may come in between.
    pub fn keep_promotion(&self, next: Attempt, mut promotion: Promotion) {
        let former = self.promotion.lock().take();
        if let Some((_, former)) = former {
            promotion.supersede(former);
        }
        *self.promotion.lock() = Some((next, promotion));
        self.has_promotion.store(true, Ordering::Relaxed);
    }

    /// Gives up what was kept for an attempt that is over.
    #[inline]
    pub fn end_attempt(&self, attempt: impl FnOnce() -> Attempt) {
        if self.has_promotion.load(Ordering::Relaxed) {
            self.end_kept_attempt(attempt());
        }
    }

    #[inline(never)]
    fn end_kept_attempt(&self, attempt: Attempt) {
        let over = self.promotion.lock().take_if(|(kept_for, _)| *kept_for == attempt);
        if over.is_some() {
            self.has_promotion.store(false, Ordering::Relaxed);
        }
        drop(over);
    }

    /// Where its `vcpu_info` lies, locked.
    pub fn info(&self) -> SpinLockGuard<'_, InfoPlace> {
        self.info.lock()
    }

    /// Whether the guest has said where the `vcpu_info` lies. It does so once at most.
    pub fn has_registered_info(&self) -> bool {
        self.info_registered.load(Ordering::SeqCst)
    }

    /// Whether the guest can see the `vcpu_info`: it lies in the shared info page, or where the
    /// guest has said.
    pub fn has_visible_info(&self) -> bool {
        self.id.index() < LEGACY_MAX_VCPUS || self.has_registered_info()
    }

    /// Moves the `vcpu_info`: copies it there and hands back a second reference for the context.
    pub fn move_info(&self, to: InfoPlace) -> InfoPlace {
        let mut place = self.info.lock();
        self.info_registered.store(true, Ordering::SeqCst);
        for offset in (0..VCPU_INFO_SIZE).step_by(8) {
            let word = place.page.atomic_u64(place.offset + offset).load(Ordering::Relaxed);
            to.page.atomic_u64(to.offset + offset).store(word, Ordering::Relaxed);
        }
        let again = to.again();
        *place = to;
        // Whatever was raised at the old place while the guest copied, it must look once more, everywhere.
        let selector = place.offset + offset_of!(VcpuInfo, event_pending_selector);
        place.page.atomic_u64(selector).store(u64::MAX, Ordering::SeqCst);
        place.raise_upcall();
        again
    }

    /// Whether an event is pending that its guest has not masked.
    pub fn event_is_deliverable(&self) -> bool {
        let info = self.info();
        info.upcall_pending().load(Ordering::SeqCst) != 0 && info.upcall_mask().load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;
    use machine::frames::{self, AcquireError, Budget, L4, TypedRef, Writable};
    use machine::paging::NoEntries;

    #[test]
    fn what_is_half_validated_outlasts_the_calls_of_an_event_in_between() {
        let guest = Guest::new(1, 2);
        let vcpu = guest.domain.vcpu(0).expect("a vCPU");
        let frame = frames::allocate(guest.domain.id()).expect("a frame").into_reference();
        drop(TypedRef::<L4>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1000)));
        let attempt = TypedRef::<Writable>::acquire(frame, &mut NoEntries, &mut Budget::new(1));
        let Err(AcquireError::Preempted(promotion)) = attempt else { panic!("not preempted: {attempt:?}") };
        let next = Attempt::Hypercall(1, [1, 2, 3, 4]);
        vcpu.keep_promotion(next, promotion);
        for other in [Attempt::Hypercall(1, [1, 2, 3, 5]), Attempt::Hypercall(2, [1, 2, 3, 4]), Attempt::Instruction(1)]
        {
            vcpu.end_attempt(|| other);
            assert!(vcpu.promotion.lock().is_some(), "{other:?}");
        }
        vcpu.end_attempt(|| next);
        assert!(vcpu.promotion.lock().is_none());
    }
}
