//! Domains: what a guest owns, and its life from building to the return of its last frame.

mod control;
mod kill_reason;
mod life;
mod table;
mod vcpu;

pub(crate) use control::{Control, MAX_PAUSES};
pub(crate) use kill_reason::{EntryFailure, KernelEntry, KillReason};
pub(crate) use life::{EndReason, Life};
#[cfg(any(test, feature = "testing"))]
pub(crate) use table::forget;
pub(crate) use table::{
    Known, Zombie, add, by_id, control_domain, first_from, for_each, is_empty, is_gone_but_for_frames, reserve,
    reserve_next,
};
pub(crate) use table::{free_emptied, retire, zombies};
pub(crate) use vcpu::{Attempt, InfoPlace, VCPU_INFO_SIZE, Vcpu, VcpuId};

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::xen::{DomainId, vm_assist};
use machine::frames::{self, FrameList, FrameRef, L4, NoMemory, SharedPage, Teardown, TypedRef};
use machine::heap;
use machine::paging::NoEntries;
use machine::sync::{Level, SpinLock};

use crate::console::GuestConsole;
use crate::cpu_policy::{self, Policy};
use crate::event_channel::EventChannels;
use crate::grant_table::GrantTable;
use crate::guest_log::Limiter;
use crate::limits::Said;
use crate::scheduler::DomainScheduling;
use crate::time::Watchdogs;
use crate::xenstore::Store;

/// The most vCPUs that a domain can have.
pub(crate) const MAX_VCPUS: u32 = 128;

/// The assists of `vm_assist` that there are, by bit.
pub(crate) const AVAILABLE_ASSISTS: u64 = 1 << vm_assist::FOUR_GB_SEGMENTS
    | 1 << vm_assist::FOUR_GB_SEGMENTS_NOTIFY
    | 1 << vm_assist::WRITABLE_PAGETABLES
    | 1 << vm_assist::PAE_EXTENDED_CR3
    | 1 << vm_assist::ARCHITECTURAL_IOPL
    | 1 << vm_assist::RUNSTATE_UPDATE_FLAG
    | 1 << vm_assist::M2P_STRICT;

/// Frames that a domain may have beside those that it is counted for: Paravane's for it, and given up ones that are still mapped for a moment.
const SPARE_FRAMES: u32 = 1024;

/// What a domain is created with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name, for people.
    pub name: String,
    /// Whether it is the initial domain, with control over others.
    pub privileged: bool,
    /// Number of vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Frames that it may own.
    pub max_frames: u32,
    /// Share of CPU time relative to other domains; 256 is usual.
    pub weight: u16,
    /// Upper limit of CPU time in percent of one pCPU; zero for none.
    pub cap: u16,
}

/// A guest.
pub struct Domain {
    id: DomainId,
    settings: Settings,
    /// The frames that it owns.
    pub frames: FrameList,
    /// Its page tables that wait for teardown.
    pub teardown: Teardown,
    max_frames: AtomicU32,
    shared_info: SharedPage,
    vcpus: Vec<Arc<Vcpu>>,
    /// Its event channels.
    pub events: EventChannels,
    /// Its grant table.
    pub grants: GrantTable,
    /// Its console.
    pub console: GuestConsole,
    /// The small store that answers its xenbus, where there is no control domain.
    pub store: Store,
    /// Its claim on CPU time.
    pub scheduling: DomainScheduling,
    life: SpinLock<Life>,
    /// How many reasons there are for none of its vCPUs to run.
    pause_count: AtomicU32,
    dying: AtomicBool,
    /// Its end has been told.
    announced: AtomicBool,
    /// Its watchdog timers.
    pub watchdogs: Watchdogs,
    /// What the control domain has set for it.
    pub control: Control,
    /// Frames that are set aside for it (see `memory::claim`).
    pub claim: AtomicU64,
    /// `vm_assist` types that it has enabled, by bit.
    pub assists: AtomicU64,
    /// How much it has caused to be logged lately.
    pub(crate) log_limiter: Limiter,
    /// Which limits it has met, for the log.
    pub limits_said: Said,
    /// What CPUID tells its kernel.
    cpu_policy: SpinLock<Arc<Policy>>,
}

impl Domain {
    /// A domain with its vCPUs, paused once, without memory but for its shared info page.
    ///
    /// # Errors
    /// If there is no free frame, or no memory for all vCPUs.
    pub fn new(id: DomainId, settings: Settings) -> Result<Arc<Self>, NoMemory> {
        let teardown = Teardown::of(id).ok_or(NoMemory)?;
        teardown.adopt();
        let shared_info = new_shared_page(id)?;
        let vcpus = settings.vcpus.clamp(1, MAX_VCPUS) as usize;
        let places = vcpu::first_places(id, &shared_info, vcpus)?;
        let events = EventChannels::new(vcpus, settings.privileged);
        let grants = GrantTable::new(id)?;
        let domain = Arc::new_cyclic(|domain| Self {
            id,
            frames: FrameList::new(id),
            teardown,
            max_frames: AtomicU32::new(settings.max_frames),
            vcpus: (0..)
                .zip(places)
                .take_while(|_| !heap::is_short())
                .map(|(number, place)| Arc::new(Vcpu::new(VcpuId::new(number), domain.clone(), place)))
                .collect(),
            shared_info,
            events,
            grants,
            console: GuestConsole::new(&settings.name),
            store: Store::new(),
            scheduling: DomainScheduling::new(settings.weight, settings.cap),
            settings,
            life: SpinLock::new(Level::DomainLife, Life::Building),
            pause_count: AtomicU32::new(1),
            dying: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            watchdogs: Watchdogs::new(),
            control: Control::new(),
            claim: AtomicU64::new(0),
            assists: AtomicU64::new(0),
            log_limiter: Limiter::new(),
            limits_said: Said::default(),
            cpu_policy: SpinLock::new(Level::CpuPolicy, Arc::clone(&cpu_policy::system().initial)),
        });
        if domain.vcpus.len() == vcpus { Ok(domain) } else { Err(NoMemory) }
    }

    /// The domain's number.
    pub const fn id(&self) -> DomainId {
        self.id
    }

    /// What the domain was created with.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it is the initial domain.
    pub const fn is_privileged(&self) -> bool {
        self.settings.privileged
    }

    /// The page of its `shared_info`.
    pub const fn shared_info(&self) -> &SharedPage {
        &self.shared_info
    }

    /// A vCPU by number.
    pub fn vcpu(&self, id: u32) -> Option<&Arc<Vcpu>> {
        self.vcpus.get(usize::try_from(id).ok()?)
    }

    /// All its vCPUs, whether up or not.
    pub fn vcpus(&self) -> &[Arc<Vcpu>] {
        &self.vcpus
    }

    /// How many frames it may own.
    pub fn max_frames(&self) -> u32 {
        self.max_frames.load(Ordering::Relaxed)
    }

    /// Changes how many frames it may own; what it has above that it keeps.
    pub fn set_max_frames(&self, frames: u32) {
        self.max_frames.store(frames, Ordering::Relaxed);
    }

    /// Whether it may come to own `more` frames. Those that it has given up but keeps from going, having them mapped, are its own still.
    pub fn may_own(&self, more: u32) -> bool {
        self.frames.len().saturating_add(more) <= self.max_frames() && self.may_exchange(more)
    }

    /// Whether it may have `more` frames in place of others.
    pub fn may_exchange(&self, more: u32) -> bool {
        let most = self.max_frames().max(self.frames.len()).saturating_add(SPARE_FRAMES);
        frames::owned_by(self.id).saturating_add(more) <= most
    }

    /// A reference to a frame that the domain owns.
    pub fn frame(&self, mfn: machine::addr::Mfn) -> Option<FrameRef> {
        FrameRef::get(mfn, self.id)
    }

    /// What CPUID tells its kernel.
    pub fn cpu_policy(&self) -> Arc<Policy> {
        Arc::clone(&self.cpu_policy.lock())
    }

    /// Changes what CPUID tells its kernel, which has not run yet.
    pub fn set_cpu_policy(&self, policy: Policy) {
        let former = core::mem::replace(&mut *self.cpu_policy.lock(), Arc::new(policy));
        drop(former);
    }

    /// Whether the domain has an assist of `vm_assist`.
    pub fn has_assist(&self, kind: u32) -> bool {
        self.assists.load(Ordering::Relaxed) & 1 << kind != 0
    }

    /// Makes a root table fit for the guest's kernel, which may read the M2P, whatever it was used for before.
    pub fn prepare_kernel_root(&self, root: &TypedRef<L4>) {
        if self.has_assist(vm_assist::M2P_STRICT) {
            root.show_m2p(true);
        }
    }

    /// Makes a root table fit for processes: under `m2p_strict` they don't see the M2P, unless the kernel has the same table.
    pub fn prepare_user_root(&self, root: &TypedRef<L4>, kernel: Option<&TypedRef<L4>>) {
        if self.has_assist(vm_assist::M2P_STRICT) && kernel.is_none_or(|kernel| kernel.mfn() != root.mfn()) {
            root.show_m2p(false);
        }
    }

    /// Whether it is being taken apart.
    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::SeqCst)
    }

    /// Whether its vCPUs may not run.
    pub fn is_paused(&self) -> bool {
        self.pause_count.load(Ordering::SeqCst) != 0
    }

    /// Counts one more reason for its vCPUs not to run. The scheduler stops those that do.
    pub(crate) fn add_pause(&self) {
        self.pause_count.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes one reason back; `true` if it was the last.
    pub(crate) fn remove_pause(&self) -> bool {
        let before = self.pause_count.fetch_sub(1, Ordering::SeqCst);
        assert!(before != 0, "domain {} was unpaused too often", self.id.0);
        before == 1
    }
}

/// A cleared page that Paravane and the guest both write.
///
/// # Errors
/// If there is no free frame.
pub(crate) fn new_shared_page(owner: DomainId) -> Result<SharedPage, NoMemory> {
    let frame = frames::allocate(owner).ok_or(NoMemory)?.into_reference();
    let page = frames::TypedRef::acquire(frame, &mut NoEntries, &mut frames::Budget::new(1));
    // A fresh frame has no kind yet, so nothing can be in the way.
    page.map(SharedPage::new).map_err(|_| NoMemory)
}
