//! What the tools see of a domain and its vCPUs.

use abi::domctl::{GetDomainInfo, GetVcpuInfo, SetDomainHandle, info_flags};
use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use zerocopy::FromZeros;

use crate::control::Request;
use crate::domain::{self, Domain, Known, Life, Remains};
use crate::hypercall::{CallResult, Caller};

/// Bits of a frame number's address that a guest can have.
const ADDRESS_BITS: u8 = 52;

/// Describes the domain with the lowest number from the one asked for on.
pub(super) fn get_domain_info(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    if request.domain >= DomainId::FIRST_RESERVED {
        return Err(Errno::EINVAL.into());
    }
    let info = describe_from(request.domain).ok_or(Errno::ESRCH)?;
    request.answer(caller, &info)?;
    request.answer_domain(caller, info.domain)?;
    Ok(0)
}

/// The domain with the lowest number from `first` on; what is left of one that is dead counts.
pub fn describe_from(first: DomainId) -> Option<GetDomainInfo> {
    Some(match domain::first_from(first)? {
        Known::Domain(domain) => describe(&domain),
        Known::Remains(id, remains) => describe_remains(id, &remains),
    })
}

fn describe(domain: &Arc<Domain>) -> GetDomainInfo {
    let mut info = GetDomainInfo::new_zeroed();
    info.domain = domain.id();
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
    if domain.control.is_paused() {
        info.flags |= info_flags::PAUSED;
    }
    if domain.control.serves_store() {
        info.flags |= info_flags::XS_DOMAIN;
    }
    if let Life::Ended(reason) | Life::Dying(reason) = domain.life() {
        info.flags |= info_flags::SHUTDOWN | u32::from(reason.code()) << info_flags::SHUTDOWNSHIFT;
    }
    info.total_pages = domain.frames.len().into();
    info.max_pages = domain.max_frames().into();
    info.outstanding_pages = domain.claim.load(Ordering::Relaxed);
    info.shared_info_frame = domain.shared_info().frame().mfn().get();
    info.handle = domain.control.record().handle;
    info.guest_physical_address_bits = ADDRESS_BITS;
    info
}

/// A domain of which others still hold frames; it has no vCPU and no memory of its own any more.
fn describe_remains(id: DomainId, remains: &Remains) -> GetDomainInfo {
    let mut info = GetDomainInfo::new_zeroed();
    info.domain = id;
    let code = u32::from(remains.reason.code()) << info_flags::SHUTDOWNSHIFT;
    info.flags = info_flags::DYING | info_flags::SHUTDOWN | info_flags::BLOCKED | code;
    info.max_vcpu_id = remains.vcpus.saturating_sub(1);
    info.shared_info_frame = u64::MAX;
    info.handle = remains.handle;
    info.guest_physical_address_bits = ADDRESS_BITS;
    info
}

/// Describes a vCPU.
pub(super) fn get_vcpu_info(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let mut info: GetVcpuInfo = request.argument();
    let vcpu = super::vcpu(target, info.vcpu)?;
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
