#![expect(unsafe_code, reason = "writes this CPU's own root tables")]
//! The root tables that the hardware loads for a vCPU.
//!
//! A *full root* is a root table of the guest itself, or its mirror if the domain has a log of
//! dirty pages (`frames::dirty_log`), with all of Paravane's slots. Rust code runs with it, since
//! it needs Paravane's memory and the guest's. A vCPU without split roots runs with it too. A vCPU
//! with split roots runs, in ring 3 and in the entry code, with a *restricted root*:
//! one of two tables of its pCPU, for user mode and for kernel mode, with copies of the guest's own
//! entries. Its other slots map nothing but the entry code, the interrupt table, and this pCPU's
//! window without the main stack. So a process that reads through the protection of pages
//! (Meltdown) finds none of Paravane's data and none of other domains' memory.
//!
//! SR-1: when the guest runs, its restricted roots equal its full roots in the guest's slots and
//! in the M2P's. `tlb::root_copies` keeps this while root tables change, and [`choose`] when other
//! root tables are set.
//!
//! SR-2: a restricted root is loaded only in ring 3 and in the entry code. The entry code loads the
//! full root before it returns to Rust code, and a trap in the entry code loads Paravane's own root
//! before it calls Rust code.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{GuestContext, KERNEL, USER, vcpu};
use crate::addr::{END_HYPERVISOR_SLOTS, FIRST_HYPERVISOR_SLOT, GuestVirt, MAX_CPUS, MachineAddr, Mfn, PerCpu};
use crate::frames::TypedRef;
use crate::frames::dirty_log::{self, Access, Resolution};
#[cfg(not(target_os = "none"))]
use crate::pte::LeafFlags;
use crate::tlb::root_copies;
use crate::{per_cpu, ram};

/// What a restricted root contains: the root table and its counter of changes (RC-2).
#[derive(Debug)]
struct Contents {
    root: AtomicU64,
    changes: AtomicU64,
}

/// No root table has this frame number.
const NOTHING: u64 = u64::MAX;

static CONTENTS: PerCpu<[Contents; 2]> = PerCpu::new(
    [const { [const { Contents { root: AtomicU64::new(NOTHING), changes: AtomicU64::new(0) } }; 2] }; MAX_CPUS],
);

fn root_of(value: u64) -> Option<Mfn> {
    (value != 0).then(|| Mfn::containing(MachineAddr::new(value)))
}

/// The restricted roots of this CPU, for user mode and kernel mode.
fn restricted() -> [Mfn; 2] {
    let first = ram::restricted_roots();
    [first, Mfn::new(first.get() + 1)]
}

/// Sets the roots with which the active vCPU runs, after its root tables were set. If it runs on
/// mirrors, before or after, no root of it may be loaded now (MT-5).
pub(super) fn choose(context: &mut GuestContext) {
    let roots = [context.user_root.as_ref(), context.kernel_root.as_ref()];
    let mirrors = dirty_log::load_roots(context.owner(), identity(context), roots);
    context.fast_path_stale |= context.mirrored != mirrors.is_some();
    context.mirrored = mirrors.is_some();
    let full = mirrors.unwrap_or_else(|| roots.map(|root| root.map(TypedRef::mfn)));
    context.full_roots = full.map(|root| root.map_or(0, |root| root.address().get()));
    context.guest_roots = context.full_roots;
    if context.split_roots {
        let [user, kernel] = restricted().map(|root| root.address().get());
        context.guest_roots = [if context.full_roots[USER] == 0 { 0 } else { user }, kernel];
        root_copies::set_copied(context.full_roots.map(root_of));
    }
}

/// Sets and loads the roots of the active vCPU after its root tables were changed.
pub(super) fn change(context: &mut GuestContext) {
    if context.mirrored {
        vcpu::leave_root();
        choose(context);
        vcpu::enter_root(context);
    } else {
        choose(context);
        vcpu::load_root(context);
    }
}

/// Records that the roots of the vCPU, which this CPU has unloaded, are not in use.
pub(super) fn leave(context: &GuestContext) {
    if context.split_roots {
        root_copies::set_copied([None; 2]);
    }
    if context.mirrored {
        dirty_log::unload_roots(context.owner(), identity(context));
    }
}

/// Distinguishes the vCPU from others of its domain.
fn identity(context: &GuestContext) -> usize {
    core::ptr::from_ref(context).addr()
}

impl GuestContext {
    /// Finds out whether an access of the active vCPU that faulted is permitted by its tables, and
    /// provides the mirrors for it; `None` if it does not run on mirrors.
    pub(crate) fn resolve(&self, address: GuestVirt, access: Access) -> Option<Resolution> {
        if !self.mirrored || !address.is_guest() {
            return None;
        }
        let root = if self.in_kernel != 0 { &self.kernel_root } else { &self.user_root };
        dirty_log::resolve(self.owner(), root.as_ref()?.mfn(), address, access)
    }
}

/// Brings the restricted roots up to date before the active vCPU runs (SR-1).
#[inline]
pub(super) fn refresh(context: &GuestContext) {
    if context.split_roots && root_copies::take_stale() {
        copy_changed(context);
    }
}

#[inline(never)]
#[expect(clippy::indexing_slicing, reason = "there are two roots")]
fn copy_changed(context: &GuestContext) {
    let here = per_cpu::current();
    for (index, target) in [USER, KERNEL].into_iter().zip(restricted()) {
        let Some(root) = root_of(context.full_roots[index]) else { continue };
        let changes = root_copies::changes(root);
        let contents = &CONTENTS[here][index];
        if contents.root.swap(root.get(), Ordering::Relaxed) != root.get()
            || contents.changes.load(Ordering::Relaxed) != changes
        {
            copy(root, target);
            contents.changes.store(changes, Ordering::Relaxed);
        }
    }
}

/// The guest's slots and the M2P's.
const COPIED_SLOTS: [Range<usize>; 2] = [0..FIRST_HYPERVISOR_SLOT as usize + 1, END_HYPERVISOR_SLOTS as usize..512];

/// Copies the guest's entries and the M2P's, which a guest's process may not have.
fn copy(from: Mfn, to: Mfn) {
    for slots in COPIED_SLOTS {
        let start = slots.start * size_of::<u64>();
        let source = ram::direct_map(from).wrapping_add(start);
        let target = ram::direct_map(to).wrapping_add(start);
        // SAFETY: both ranges are parts of frames in the direct map. The target belongs to this
        // CPU, whose hardware does not walk it now (SR-2), and no Rust object is in it.
        unsafe { ram::copy_words(target.cast(), source.cast(), slots.len()) };
    }
}

/// Time in which a store in progress reaches the CPUs that have copies, on a busy test machine.
#[cfg(not(target_os = "none"))]
const STORE_TIME: std::time::Duration = std::time::Duration::from_secs(10);

/// Checks SR-1 as the guest begins to run: the restricted roots contain what the guest's root
/// tables contain in the guest's slots and in the M2P's, and nothing else.
///
/// # Panics
/// If they do not, and no store is in progress after which this CPU copies again.
#[cfg(not(target_os = "none"))]
pub(super) fn check(context: &GuestContext) {
    use super::vcpu::mmu::raw_entry;
    if !context.split_roots {
        return;
    }
    for (index, target) in [USER, KERNEL].into_iter().zip(restricted()) {
        let Some(root) = root_of(context.full_roots[index]) else { continue };
        for slot in 0..512 {
            let [low, high] = &COPIED_SLOTS;
            let is_copied = slot < low.end || slot >= high.start;
            let wanted = || if is_copied { raw_entry(root, slot) } else { 0 };
            let found = raw_entry(target, slot);
            let used = LeafFlags::ACCESSED.bits();
            let agrees = || found | used == wanted() | used || root_copies::is_stale();
            if agrees() {
                continue;
            }
            // A store that another thread has just made is noted soon.
            let start = std::time::Instant::now();
            while !agrees() && start.elapsed() < STORE_TIME {
                std::thread::yield_now();
            }
            let wanted = wanted();
            assert!(agrees(), "slot {slot} of the restricted root is {found:#x}, that of the root table {wanted:#x}");
        }
    }
}
