//! Information about a domain and its vCPUs.

use abi::domctl::{GetDomainInfo, GetVcpuInfo, SetDomainHandle, info_flags};
use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use zerocopy::FromZeros;

use crate::call::{CallResult, Caller};
use crate::control::Request;
use crate::domain::{self, Domain, EndReason, Known, Life, Zombie};

/// Width of the addresses that a guest's frame numbers can have.
const ADDRESS_BITS: u8 = 52;
/// The value of `max_vcpu_id` of a domain without vCPUs.
const NO_VCPU: u32 = u32::MAX;

/// Describes the domain with the lowest id that is at least the requested one.
pub(super) fn get_domain_info(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    if request.domain >= DomainId::FIRST_RESERVED {
        return Err(Errno::EINVAL.into());
    }
    let info = describe_from(request.domain).ok_or(Errno::ESRCH)?;
    request.answer(caller, &info)?;
    request.answer_domain(caller, info.domain)?;
    Ok(0)
}

/// Describes the domain or zombie with the lowest id that is at least `first`.
pub(crate) fn describe_from(first: DomainId) -> Option<GetDomainInfo> {
    Some(match domain::first_from(first)? {
        Known::Domain(domain) => describe(&domain),
        Known::Zombie(id, zombie) => describe_zombie(id, &zombie),
    })
}

fn describe(domain: &Arc<Domain>) -> GetDomainInfo {
    let mut info = GetDomainInfo::new_zeroed();
    info.domain = domain.id();
    info.max_vcpu_id = NO_VCPU;
    // A domain is blocked if it has vCPUs that are up and all of them are blocked.
    info.flags = info_flags::BLOCKED;
    for vcpu in domain.vcpus() {
        info.cpu_time += vcpu.scheduling.run_time();
        info.max_vcpu_id = vcpu.id().get();
        if !vcpu.is_up() {
            continue;
        }
        info.online_vcpu_count += 1;
        if !vcpu.scheduling.is_blocked() {
            info.flags &= !info_flags::BLOCKED;
        }
        if vcpu.scheduling.is_running() {
            info.flags |= info_flags::RUNNING;
        }
    }
    if info.online_vcpu_count == 0 {
        info.flags = 0;
    }
    if domain.control.is_paused() {
        info.flags |= info_flags::PAUSED;
    }
    if domain.control.serves_store() {
        info.flags |= info_flags::XS_DOMAIN;
    }
    info.flags |= match domain.life() {
        Life::Ended(reason) | Life::Dying(reason) => end_flags(&reason),
        Life::Building | Life::Running => reason_bits(domain.scheduling.shutdown_code()),
    };
    info.total_pages = domain.frames.len().into();
    info.max_pages = domain.max_frames().into();
    info.outstanding_pages = domain.claim.load(Ordering::Relaxed);
    info.shared_info_frame = domain.shared_info().frame().mfn().get();
    info.handle = domain.control.record().handle;
    info.guest_physical_address_bits = ADDRESS_BITS;
    info
}

/// Describes a zombie. It has no vCPUs and owns no memory.
fn describe_zombie(id: DomainId, zombie: &Zombie) -> GetDomainInfo {
    let mut info = GetDomainInfo::new_zeroed();
    info.domain = id;
    info.flags = info_flags::DYING | end_flags(&zombie.reason);
    info.max_vcpu_id = zombie.vcpus.checked_sub(1).unwrap_or(NO_VCPU);
    info.shared_info_frame = u64::MAX;
    info.handle = zombie.handle;
    info.guest_physical_address_bits = ADDRESS_BITS;
    info
}

/// The flags of a domain that has ended. A domain that was destroyed before it ended by itself is
/// not reported as shut down.
fn end_flags(reason: &EndReason) -> u32 {
    let shut_down = if reason.code().is_some() { info_flags::SHUTDOWN } else { 0 };
    shut_down | reason_bits(reason.code().map(u32::from))
}

/// The flag bits of the shutdown reason; all of them are set if the domain has not given one.
fn reason_bits(code: Option<u32>) -> u32 {
    code.unwrap_or(u32::MAX) << info_flags::SHUTDOWNSHIFT
}

/// Describes a vCPU.
pub(super) fn get_vcpu_info(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let mut info: GetVcpuInfo = request.argument();
    let vcpu = super::numbered(target, info.vcpu)?;
    let state = &vcpu.scheduling;
    info.online = vcpu.is_up().into();
    info.blocked = state.is_blocked().into();
    info.running = state.is_running().into();
    info.cpu_time = state.run_time();
    info.pcpu = u32::try_from(state.home().index()).unwrap_or(0);
    request.answer(caller, &info)?;
    Ok(0)
}

/// Changes the domain's handle.
pub(super) fn set_handle(request: &Request, target: &Arc<Domain>) -> CallResult {
    let SetDomainHandle { handle } = request.argument();
    target.control.record().handle = handle;
    Ok(0)
}
