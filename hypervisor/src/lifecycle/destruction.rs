//! Destruction of domains that have ended, a budget at a time, on any pCPU. A domain relinquishes
//! its resources and becomes a zombie, which keeps the id taken while other domains hold frames of
//! it. The zombie is reaped when the last of these frames has been released.

use abi::xen::{DomainId, virq};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use machine::frames::{self, Budget, Teardown};
use machine::sync::{Level, SpinLock};
use machine::{console, m2p, power};

use super::host_end;
use crate::domain::{self, Domain, Life, Zombie};
use crate::guest_log::host_log;
use crate::memory::{claim, mmuext};
use crate::{event_channel, latency};

/// Cost of releasing a frame, in units of the budget: its pin, its M2P entry, the allocator's
/// lists.
const COST_OF_FRAME: u32 = 16;
/// Cost of releasing a vCPU: its state, root tables and descriptor pages.
const COST_OF_VCPU: u32 = 64;

/// Domains that have ended and still own resources.
static ENDED: SpinLock<Vec<Arc<Domain>>> = SpinLock::new(Level::Ended, Vec::new());
/// Whether a pCPU is working on a destruction.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Queues a domain that has ended.
pub(super) fn queue(domain: &Arc<Domain>) {
    ENDED.lock().push(Arc::clone(domain));
}

/// Whether there is work: a domain that has ended, a released table of a zombie, or a zombie whose
/// last frame has been released.
pub(crate) fn destruction_due() -> bool {
    frames::owner_emptied() || frames::orphaned_tables() || !ENDED.lock().is_empty()
}

/// Does part of this work, unless another pCPU is doing so.
pub(crate) fn advance_destruction(budget: &mut Budget) {
    if BUSY.swap(true, Ordering::Acquire) {
        return;
    }
    let next = ENDED.lock().first().map(Arc::clone);
    if let Some(domain) = next.filter(|domain| !domain.is_privileged() || host_end::are_vcpus_parked(domain)) {
        print_end(&domain);
        if relinquish_resources(&domain, budget) {
            ENDED.lock().retain(|ended| !Arc::ptr_eq(ended, &domain));
            make_zombie(domain);
        } else {
            // Another domain may be able to make progress.
            ENDED.lock().rotate_left(1);
        }
    }
    tear_down_zombie_tables(budget);
    reap_zombies();
    BUSY.store(false, Ordering::Release);
}

/// Tears down tables of zombies that other domains have released. Returns `true` if there are none
/// left.
pub(crate) fn tear_down_zombie_tables(budget: &mut Budget) -> bool {
    if !frames::take_orphaned_tables() {
        return true;
    }
    let done = domain::zombies().filter_map(Teardown::of).all(|teardown| teardown.advance(budget));
    if !done {
        frames::note_orphaned_tables();
    }
    done
}

/// Frees the ids of zombies whose last frame has been released.
pub(crate) fn reap_zombies() {
    if frames::take_owner_emptied() {
        domain::reap_zombies(report_reaped);
    }
}

/// Removes the initial domain from the queue, which stops at it: on a machine, its end is the end
/// of the host.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn withdraw_initial(domain: &Arc<Domain>) {
    ENDED.lock().retain(|ended| !Arc::ptr_eq(ended, domain));
}

/// Destroys the initial domain like any other. On a machine the host ends with it.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn destroy_initial(domain: &Arc<Domain>) {
    domain.start_dying();
    while !relinquish_resources(domain, &mut Budget::new(Budget::HYPERCALL)) {}
}

/// Frees the ids of all destroyed domains, and last that of the initial domain.
///
/// # Panics
/// If frames of a destroyed domain are still held.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn forget_all() {
    advance_destruction(&mut Budget::new(Budget::HYPERCALL));
    while frames::orphaned_tables() {
        advance_destruction(&mut Budget::new(Budget::HYPERCALL));
    }
    assert!(domain::first_from(DomainId(1)).is_none(), "a zombie is left");
    domain::forget(DomainId(0));
}

/// Turns a domain without resources into a zombie, and notifies the control domain.
fn make_zombie(domain: Arc<Domain>) {
    let Life::Dying(reason) = domain.life() else { return };
    let handle = domain.control.record().handle;
    let id = domain.id();
    // The id must still be taken at this point.
    domain.teardown.orphan();
    domain::replace_by_zombie(id, Zombie { reason, handle, vcpus: domain.settings().vcpus });
    // A table may have been queued after the queue was last empty and before the zombie was
    // visible.
    frames::note_orphaned_tables();
    drop(domain);
    event_channel::raise_for_control(virq::DOM_EXC);
    if frames::owned_by(id) == 0 {
        // The last frame may have been released before the zombie was visible.
        frames::note_owner_emptied();
    } else {
        host_log!(Info, "domain {} is dead, others hold {} of its frames", id.0, frames::owned_by(id));
    }
}

/// Prints the reason of the domain's end after the last output of its console, once. If it is the
/// initial domain, this ends the host.
fn print_end(domain: &Arc<Domain>) {
    domain.start_dying();
    if !domain.note_end_printed() {
        return;
    }
    let Life::Dying(reason) = domain.life() else { return };
    // The last output may explain the end, and its notification may not have been handled yet.
    crate::console::notified(domain);
    domain.console.flush();
    if domain.is_privileged() {
        host_end::end_host(domain, &reason);
    }
    console::print_line(format_args!("guest {} ended: {reason}", domain.settings().name));
}

/// Releases the resources of one domain within the budget. Returns `true` when only the structure
/// itself is left.
fn relinquish_resources(domain: &Arc<Domain>, budget: &mut Budget) -> bool {
    // The control domain may be adding memory to it concurrently; this prevents further additions.
    domain.frames.close();
    claim::release(domain);
    // The contexts first: they hold root tables, descriptor pages and references to pages with a
    // `vcpu_info`. A parked context has left its pCPU by a root load, which discards the domain's
    // translations there; the pins of grants may therefore be released below without a flush.
    for vcpu in domain.vcpus() {
        vcpu.time.cancel_all();
        if vcpu.is_gone() {
            continue;
        }
        if budget.is_exhausted() {
            return false;
        }
        budget.spend(COST_OF_VCPU);
        let parked = vcpu.parked().take();
        let promotion = vcpu.promotion.lock().take();
        drop(promotion);
        let Some(context) = parked else { return false };
        drop(context);
        vcpu.set_gone();
    }
    if !domain.control.log_dirty.close(domain.id(), budget) {
        return false;
    }
    if !domain.events.close_all(domain, budget) || !domain.grants.release_all(domain, budget) {
        return false;
    }
    while let Some(allocation) = domain.frames.pop() {
        let frame = allocation.reference();
        mmuext::release_pin(&frame);
        frames::set_number(frame.mfn(), m2p::INVALID);
        drop(allocation);
        drop(frame);
        budget.spend(COST_OF_FRAME);
        if budget.is_exhausted() {
            return false;
        }
    }
    domain.teardown.advance(budget)
}

/// Reports that a zombie has been reaped and its id is free. A host without a control domain is
/// switched off after its last guest.
fn report_reaped(id: DomainId) {
    host_log!(Info, "domain {} is gone, {} frames free", id.0, frames::free_frames());
    event_channel::raise_for_control(virq::DOM_EXC);
    if domain::is_empty() {
        latency::report().for_each(|line| host_log!(Info, "{line}"));
        console::print_line(format_args!("no guest is left"));
        power::off();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Attempt, MAX_VCPUS, VcpuId};
    use crate::memory::admission::GuestAdmission;
    use crate::testing::Guest;
    use machine::frames::{AcquireError, FrameRef, L2, TypedRef, Writable};
    use machine::paging::NoEntries;

    /// Parks the domain's vCPU and completes the destruction of the domain.
    fn destroy_completely(mut guest: Guest) {
        let context = guest.park();
        *guest.domain.vcpus()[0].parked() = Some(context);
        super::super::begin_destruction(&guest.domain);
        while domain::by_id(guest.domain.id()).is_some() {
            advance_destruction(&mut Budget::new(Budget::HYPERCALL));
        }
    }

    #[test]
    fn teardown_of_vcpus_respects_the_budget() {
        let mut guest = Guest::with_vcpus(1, 2, MAX_VCPUS);
        let domain = Arc::clone(&guest.domain);
        let context = guest.park();
        *domain.vcpus()[0].parked() = Some(context);
        let gone = || domain.vcpus().iter().filter(|vcpu| vcpu.is_gone()).count();
        super::super::begin_destruction(&domain);
        advance_destruction(&mut Budget::new(10 * COST_OF_VCPU));
        assert_eq!(gone(), 10);
        while domain::by_id(domain.id()).is_some() {
            advance_destruction(&mut Budget::new(10 * COST_OF_VCPU));
        }
        assert_eq!(gone(), domain.vcpus().len());
    }

    #[test]
    fn tables_released_after_domain_destruction_are_torn_down() {
        let builder = Guest::new(1, 2);
        let vcpu = builder.domain.vcpu(VcpuId::BOOT).expect("a vCPU");
        let free = frames::free_frames();
        let guest = Guest::new(2, 2);
        let id = guest.domain.id();
        let frame = || {
            let allocation = frames::allocate(id).expect("a free frame");
            let frame = allocation.reference();
            guest.domain.frames.push(allocation);
            frame
        };
        let (upper, lower) = (frame(), [frame(), frame()]);
        let page = TypedRef::<Writable>::acquire(upper.again(), &mut NoEntries, &mut Budget::new(100));
        let page = page.expect("a frame that can be written");
        for (index, table) in (0..).zip(lower.iter().map(FrameRef::mfn)) {
            page.write_u64(index, table.address().get() | 7);
        }
        drop((page, lower));
        // The control domain starts to pin a table of the guest, and the budget does not suffice.
        let pin = TypedRef::<L2>::acquire(upper, &mut GuestAdmission::of(&guest.domain), &mut Budget::new(1));
        let Err(AcquireError::Preempted(promotion)) = pin else { panic!("not preempted: {pin:?}") };
        let attempt = Attempt::Hypercall(1, [0; 4]);
        vcpu.keep_promotion(attempt, promotion);
        destroy_completely(guest);
        assert!(domain::is_zombie(id) && !destruction_due());
        vcpu.end_attempt(|| attempt);
        assert!(destruction_due());
        advance_destruction(&mut Budget::new(1000));
        assert!(!domain::is_zombie(id), "its id is still taken");
        assert_eq!(frames::free_frames(), free);
    }
}
