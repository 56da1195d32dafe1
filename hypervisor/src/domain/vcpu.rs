//! A vCPU: its parked state, the location of its `vcpu_info`, and its run state.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use abi::xen::{DomainId, LEGACY_MAX_VCPUS, SharedInfo, VcpuInfo};
use machine::addr::PAGE_SIZE;
use machine::context::{DomainDefences, GuestContext};
use machine::frames::{NoMemory, Promotion, SharedPage};
use machine::sync::{Level, SpinLock, SpinLockGuard};

use super::Domain;
use crate::scheduler::{Group, SchedulerState};
use crate::time::VcpuTime;

/// Size of a `vcpu_info`.
pub(crate) const VCPU_INFO_SIZE: usize = size_of::<VcpuInfo>();

/// A vCPU's id in its domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VcpuId(u32);

impl VcpuId {
    /// vCPU 0, with which a domain boots.
    pub const BOOT: Self = Self(0);

    /// The vCPU with this id.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The id as a number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The id as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The location of a `vcpu_info` in a page that is shared with the guest.
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

    /// Sets `evtchn_upcall_pending`. Returns `true` if it was clear.
    pub fn raise_upcall(&self) -> bool {
        self.upcall_pending().swap(1, Ordering::SeqCst) == 0
    }

    fn again(&self) -> Self {
        Self { page: self.page.again(), offset: self.offset }
    }
}

/// The initial location of the `vcpu_info` of each vCPU: in the shared info page as far as it has
/// room, otherwise in pages that the guest cannot see. The guest must register a location for those
/// vCPUs before it brings them up.
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

/// An operation that the guest executes again because it exhausted its budget.
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
    /// The parked state; `None` while the vCPU is loaded on a pCPU.
    context: SpinLock<Option<Box<GuestContext>>>,
    info: SpinLock<InfoPlace>,
    /// The guest has registered a location of its `vcpu_info`.
    info_registered: AtomicBool,
    /// Whether the guest has brought it up.
    up: AtomicBool,
    initialised: AtomicBool,
    /// The state has been released by the domain's destruction.
    gone: AtomicBool,
    /// An NMI is pending.
    pub nmi_pending: AtomicBool,
    /// The I/O permission bitmap of user mode: its address and its number of bits. A set bit denies
    /// access to a port.
    pub port_bitmap: (AtomicU64, AtomicU32),
    /// Time areas and timers.
    pub time: VcpuTime,
    /// The vCPU's state in the scheduler.
    pub scheduling: SchedulerState,
    /// A pending validation, and the attempt that continues it.
    pub promotion: SpinLock<Option<(Attempt, Promotion)>>,
    /// Hint that `promotion` may be set. Only the pCPU that runs the vCPU sets or reads it.
    has_promotion: AtomicBool,
    /// The vCPU left tables, whose teardown must complete before its guest runs (TD-2).
    pub left_tables: AtomicBool,
    /// The domain that it is destroying. A restarted call checks it.
    pub destroying: SpinLock<Option<(DomainId, Weak<Domain>)>>,
}

impl Vcpu {
    /// Creates a vCPU that is down, with its `vcpu_info` at one of the [`first_places`].
    pub(super) fn new(
        id: VcpuId,
        domain: Weak<Domain>,
        info: InfoPlace,
        defences: DomainDefences,
        group: Group,
    ) -> Self {
        let mut context = GuestContext::new();
        context.set_defences(defences);
        context.set_vcpu_info(info.page.again(), info.offset);
        // Events are masked until the guest unmasks them.
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
            scheduling: SchedulerState::new(group),
            promotion: SpinLock::new(Level::Vcpu, None),
            has_promotion: AtomicBool::new(false),
            left_tables: AtomicBool::new(false),
            destroying: SpinLock::new(Level::Vcpu, None),
        }
    }

    /// The vCPU's id.
    pub const fn id(&self) -> VcpuId {
        self.id
    }

    /// The vCPU's domain, unless it has been released.
    pub fn domain(&self) -> Option<Arc<Domain>> {
        self.domain.upgrade()
    }

    /// Whether it is a vCPU of `domain`.
    pub fn belongs_to(&self, domain: &Domain) -> bool {
        core::ptr::eq(self.domain.as_ptr(), domain)
    }

    /// Whether it is up from the guest's point of view.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    /// Sets whether it is up. Returns `true` if this is a change. The caller wakes or stops the
    /// vCPU.
    pub fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::SeqCst) != up
    }

    /// Whether it has an initial state.
    pub fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::SeqCst)
    }

    /// Marks the initial state as set.
    pub fn set_initialised(&self) {
        self.initialised.store(true, Ordering::SeqCst);
    }

    /// Whether the domain's destruction has released its state.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Marks its state as released.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    /// Locks the parked state, which is `None` while the vCPU is loaded on a pCPU.
    pub fn parked(&self) -> SpinLockGuard<'_, Option<Box<GuestContext>>> {
        self.context.lock()
    }

    /// Keeps a pending validation until the guest makes the attempt `next`. Other attempts in
    /// between, for example those of an event handler, do not end it.
    pub fn keep_promotion(&self, next: Attempt, mut promotion: Promotion) {
        let former = self.promotion.lock().take();
        if let Some((_, former)) = former {
            promotion.supersede(former);
        }
        *self.promotion.lock() = Some((next, promotion));
        self.has_promotion.store(true, Ordering::Relaxed);
    }

    /// Drops the pending validation that was kept for this attempt, which is over.
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

    /// Locks the location of the `vcpu_info`.
    pub fn info(&self) -> SpinLockGuard<'_, InfoPlace> {
        self.info.lock()
    }

    /// Whether the guest has registered a location of the `vcpu_info`. It can do so only once.
    pub fn has_registered_info(&self) -> bool {
        self.info_registered.load(Ordering::SeqCst)
    }

    /// Whether the guest can see the `vcpu_info`: it is in the shared info page, or at a registered
    /// location.
    pub fn has_visible_info(&self) -> bool {
        self.id.index() < LEGACY_MAX_VCPUS || self.has_registered_info()
    }

    /// Moves the `vcpu_info`: copies its contents and returns a second reference for the context.
    pub fn move_info(&self, to: InfoPlace) -> InfoPlace {
        let mut place = self.info.lock();
        self.info_registered.store(true, Ordering::SeqCst);
        for offset in (0..VCPU_INFO_SIZE).step_by(8) {
            let word = place.page.atomic_u64(place.offset + offset).load(Ordering::Relaxed);
            to.page.atomic_u64(to.offset + offset).store(word, Ordering::Relaxed);
        }
        let again = to.again();
        *place = to;
        // An event may have been set pending at the old location during the copy. Setting all
        // selector bits makes the guest check every port.
        let selector = place.offset + offset_of!(VcpuInfo, event_pending_selector);
        place.page.atomic_u64(selector).store(u64::MAX, Ordering::SeqCst);
        place.raise_upcall();
        again
    }

    /// Whether an event is pending and upcalls are not masked.
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
    fn pending_validation_survives_attempts_of_an_event_handler() {
        let guest = Guest::new(1, 2);
        let vcpu = guest.domain.vcpu(VcpuId::BOOT).expect("a vCPU");
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
