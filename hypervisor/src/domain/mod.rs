//! Domains: the resources of a guest, and its life from building to the release of its last frame.

mod control;
mod kill_reason;
mod life;
mod log_dirty;
mod port;
mod table;
mod vcpu;

pub(crate) use control::{Control, MAX_PAUSES};
pub(crate) use kill_reason::{EntryFailure, KernelEntry, KillReason};
pub(crate) use life::{EndReason, Life};
pub(crate) use log_dirty::{Copied, LogDirtyOperation, Step};
pub(crate) use port::Port;
#[cfg(any(test, feature = "testing"))]
pub(crate) use table::forget;
pub(crate) use table::{
    Known, Zombie, add, by_id, control_domain, first_from, for_each, is_empty, is_zombie, reserve, reserve_next,
};
pub(crate) use table::{reap_zombies, replace_by_zombie, zombies};
pub(crate) use vcpu::{Attempt, InfoPlace, VCPU_INFO_SIZE, Vcpu, VcpuId};

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::xen::{DomainId, vm_assist};
use machine::context::DomainDefences;
use machine::frames::{self, FrameList, FrameRef, L4, NoMemory, SharedPage, Teardown, TypedRef};
use machine::heap;
use machine::paging::NoEntries;
use machine::speculation::MaskedIndex;
use machine::sync::{Level, SpinLock};

use crate::console::GuestConsole;
use crate::cpu_policy::{self, Policy};
use crate::event_channel::EventChannels;
use crate::grant_table::GrantTable;
use crate::guest_log::Limiter;
use crate::limits::ReportedLimits;
use crate::scheduler::{DomainScheduling, Group};
use crate::time::Watchdogs;
use crate::xenstore::Store;

/// The highest number of vCPUs of a domain.
pub(crate) const MAX_VCPUS: u32 = 128;

/// The supported types of `vm_assist`, as a bit mask.
pub(crate) const AVAILABLE_ASSISTS: u64 = 1 << vm_assist::FOUR_GB_SEGMENTS
    | 1 << vm_assist::FOUR_GB_SEGMENTS_NOTIFY
    | 1 << vm_assist::WRITABLE_PAGETABLES
    | 1 << vm_assist::PAE_EXTENDED_CR3
    | 1 << vm_assist::ARCHITECTURAL_IOPL
    | 1 << vm_assist::RUNSTATE_UPDATE_FLAG
    | 1 << vm_assist::M2P_STRICT;

/// Frames that a domain may have above its limit: those of Paravane's structures for it, and frames
/// that it has released but still has mapped.
const SPARE_FRAMES: u32 = 1024;

/// Parameters of a new domain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name, for log lines and consoles.
    pub name: String,
    /// Whether it is the initial domain, which controls the others.
    pub privileged: bool,
    /// Number of vCPUs, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Maximum number of frames that it may own.
    pub max_frames: u32,
    /// Share of CPU time relative to other domains; 256 is the default.
    pub weight: u16,
    /// Upper limit of CPU time, in percent of one pCPU; zero for none.
    pub cap: u16,
}

/// A guest.
pub struct Domain {
    id: DomainId,
    settings: Settings,
    /// The frames that it owns.
    pub frames: FrameList,
    /// Its page tables that are queued for teardown.
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
    /// The built-in xenstore that it uses on a host without a control domain.
    pub store: Store,
    /// Its weight, cap and other scheduling parameters.
    pub scheduling: DomainScheduling,
    life: SpinLock<Life>,
    /// The domain's vCPUs run only while this is zero.
    pause_count: AtomicU32,
    dying: AtomicBool,
    /// Its end has been printed on the console.
    end_printed: AtomicBool,
    /// Its watchdog timers.
    pub watchdogs: Watchdogs,
    /// Settings by the control domain.
    pub control: Control,
    /// Number of frames claimed for it (see `memory::claim`).
    pub claim: AtomicU64,
    /// The types of `vm_assist` that it has enabled, as a bit mask.
    pub assists: AtomicU64,
    /// Rate limit of the log lines that it causes.
    pub(crate) log_limiter: Limiter,
    /// The limits that have been logged for it.
    pub reported_limits: ReportedLimits,
    /// Its defences against transient execution.
    defences: DomainDefences,
    /// The CPUID contents that its kernel sees.
    cpu_policy: SpinLock<Arc<Policy>>,
}

impl Domain {
    /// Creates a domain with its vCPUs. Its pause count is one. It owns no memory except its shared
    /// info page.
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
        let defences = machine::cpu::domain_defences(settings.privileged);
        let group = Group::at_creation(id);
        let domain = Arc::new_cyclic(|domain| Self {
            id,
            frames: FrameList::new(id),
            teardown,
            max_frames: AtomicU32::new(settings.max_frames),
            vcpus: (0..)
                .zip(places)
                .take_while(|_| !heap::is_short())
                .map(|(number, place)| Arc::new(Vcpu::new(VcpuId::new(number), domain.clone(), place, defences, group)))
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
            end_printed: AtomicBool::new(false),
            watchdogs: Watchdogs::new(),
            control: Control::new(),
            claim: AtomicU64::new(0),
            assists: AtomicU64::new(0),
            log_limiter: Limiter::new(),
            reported_limits: ReportedLimits::default(),
            defences,
            cpu_policy: SpinLock::new(Level::CpuPolicy, Arc::clone(&cpu_policy::system().initial)),
        });
        if domain.vcpus.len() == vcpus { Ok(domain) } else { Err(NoMemory) }
    }

    /// The domain's id.
    pub const fn id(&self) -> DomainId {
        self.id
    }

    /// The parameters with which the domain was created.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a page-table entry that is not present must not name memory (L1TF).
    pub const fn refuses_absent_entries(&self) -> bool {
        self.defences.refuses_absent_entries
    }

    /// Whether it is the initial domain.
    pub const fn is_privileged(&self) -> bool {
        self.settings.privileged
    }

    /// The page of its `shared_info`.
    pub const fn shared_info(&self) -> &SharedPage {
        &self.shared_info
    }

    /// The number of page numbers that the domain reports to use. A PV guest numbers its frames
    /// itself, and stores the limit in `shared_info`.
    pub fn reported_pages(&self) -> u64 {
        self.shared_info.atomic_u64(core::mem::offset_of!(abi::xen::SharedInfo, arch)).load(Ordering::Relaxed)
    }

    /// A vCPU by id.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Arc<Vcpu>> {
        self.vcpus.masked(id.index())
    }

    /// All its vCPUs, including those that are down.
    pub fn vcpus(&self) -> &[Arc<Vcpu>] {
        &self.vcpus
    }

    /// Maximum number of frames that it may own.
    pub fn max_frames(&self) -> u32 {
        self.max_frames.load(Ordering::Relaxed)
    }

    /// Changes the maximum number of frames. Frames above it remain allocated.
    pub fn set_max_frames(&self, frames: u32) {
        self.max_frames.store(frames, Ordering::Relaxed);
    }

    /// Whether it may own `more` frames in addition. Frames that it has released but still has
    /// mapped count as its own.
    pub fn may_own(&self, more: u32) -> bool {
        self.frames.len().saturating_add(more) <= self.max_frames() && self.may_exchange(more)
    }

    /// Whether it may get `more` frames in exchange for others.
    pub fn may_exchange(&self, more: u32) -> bool {
        let most = self.max_frames().max(self.frames.len()).saturating_add(SPARE_FRAMES);
        frames::owned_by(self.id).saturating_add(more) <= most
    }

    /// A reference to a frame that the domain owns.
    pub fn frame(&self, mfn: machine::addr::Mfn) -> Option<FrameRef> {
        FrameRef::get(mfn, self.id)
    }

    /// The CPUID contents that its kernel sees.
    pub fn cpu_policy(&self) -> Arc<Policy> {
        Arc::clone(&self.cpu_policy.lock())
    }

    /// Changes the CPUID contents that its kernel sees. The domain must not have run yet.
    pub fn set_cpu_policy(&self, policy: Policy) {
        let former = core::mem::replace(&mut *self.cpu_policy.lock(), Arc::new(policy));
        drop(former);
    }

    /// Whether the domain has enabled this type of `vm_assist`.
    pub fn has_assist(&self, kind: u32) -> bool {
        self.assists.load(Ordering::Relaxed) & 1 << kind != 0
    }

    /// Prepares a root table for kernel mode: the M2P is visible in it.
    pub fn prepare_kernel_root(&self, root: &TypedRef<L4>) {
        if self.has_assist(vm_assist::M2P_STRICT) {
            root.show_m2p(true);
        }
    }

    /// Prepares a root table for user mode. Under `m2p_strict` it hides the M2P, unless the kernel
    /// uses the same table.
    pub fn prepare_user_root(&self, root: &TypedRef<L4>, kernel: Option<&TypedRef<L4>>) {
        if self.has_assist(vm_assist::M2P_STRICT) && kernel.is_none_or(|kernel| kernel.mfn() != root.mfn()) {
            root.show_m2p(false);
        }
    }

    /// Whether it is being destroyed.
    pub fn is_dying(&self) -> bool {
        self.dying.load(Ordering::SeqCst)
    }

    /// Whether its pause count is above zero.
    pub fn is_paused(&self) -> bool {
        self.pause_count.load(Ordering::SeqCst) != 0
    }

    /// Increments the pause count. The caller has the scheduler stop vCPUs that are running.
    pub(crate) fn add_pause(&self) {
        self.pause_count.fetch_add(1, Ordering::SeqCst);
    }

    /// Decrements the pause count. Returns `true` if it is zero now.
    pub(crate) fn remove_pause(&self) -> bool {
        let before = self.pause_count.fetch_sub(1, Ordering::SeqCst);
        assert!(before != 0, "pause count of domain {} is already zero", self.id.0);
        before == 1
    }
}

/// Allocates a zeroed page that both Paravane and the guest write.
///
/// # Errors
/// If there is no free frame.
pub(crate) fn new_shared_page(owner: DomainId) -> Result<SharedPage, NoMemory> {
    let frame = frames::allocate(owner).ok_or(NoMemory)?.into_reference();
    let page = frames::TypedRef::acquire(frame, &mut NoEntries, &mut frames::Budget::new(1));
    // A new frame has no kind yet, so there can be no conflict.
    page.map(SharedPage::new).map_err(|_| NoMemory)
}
