//! Affinity of a domain's vCPUs to pCPUs and nodes. The host is one node.

use abi::domctl::{NodeAffinity, VcpuAffinity, vcpu_affinity};
use abi::errno::Errno;
use abi::xen::CpuBitmap;
use alloc::sync::Arc;
use machine::addr::CpuSet;
use machine::cpu;

use crate::call::{CallResult, Caller};
use crate::control::{Request, cpu_bitmap};
use crate::domain::Domain;
use crate::scheduler;

/// The set of online pCPUs.
fn online() -> CpuSet {
    let count = u32::try_from(cpu::online()).unwrap_or(u32::MAX);
    CpuSet::from_bits(1u64.checked_shl(count).map_or(u64::MAX, |bit| bit - 1))
}

const fn both(one: CpuSet, other: CpuSet) -> CpuSet {
    CpuSet::from_bits(one.bits() & other.bits())
}

/// Sets the hard and soft affinity of a vCPU. The answer contains the effective sets.
pub(super) fn set_vcpu_affinity(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let wanted: VcpuAffinity = request.argument();
    let known = vcpu_affinity::HARD | vcpu_affinity::SOFT | vcpu_affinity::FORCE;
    if wanted.flags & !known != 0 || wanted.flags & (vcpu_affinity::HARD | vcpu_affinity::SOFT) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let vcpu = super::numbered(target, wanted.vcpu)?;
    let wants = |flag, bitmap: &CpuBitmap| match wanted.flags & flag {
        0 => Ok(None),
        _ => cpu_bitmap::read(caller, bitmap).map(Some),
    };
    let (hard, soft) = (wants(vcpu_affinity::HARD, &wanted.hard)?, wants(vcpu_affinity::SOFT, &wanted.soft)?);
    if soft.is_some_and(|set| both(set, online()).is_empty()) {
        return Err(Errno::EINVAL.into());
    }
    if wanted.flags & vcpu_affinity::FORCE != 0 {
        // A pin override is lifted. It does not matter if there is none.
        let _ = scheduler::lift_pin_override(vcpu);
    }
    if let Some(set) = hard {
        scheduler::set_affinity(vcpu, set)?;
        cpu_bitmap::write(caller, &wanted.hard, both(set, online()))?;
    }
    if let Some(set) = soft {
        scheduler::set_soft_affinity(vcpu, set)?;
        let effective = both(both(set, vcpu.scheduling.affinity()), online());
        cpu_bitmap::write(caller, &wanted.soft, effective)?;
    }
    Ok(0)
}

/// Returns the hard and soft affinity of a vCPU.
pub(super) fn get_vcpu_affinity(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let wanted: VcpuAffinity = request.argument();
    let vcpu = super::numbered(target, wanted.vcpu)?;
    if wanted.flags & vcpu_affinity::HARD != 0 {
        cpu_bitmap::write(caller, &wanted.hard, vcpu.scheduling.affinity())?;
    }
    if wanted.flags & vcpu_affinity::SOFT != 0 {
        cpu_bitmap::write(caller, &wanted.soft, vcpu.scheduling.soft_affinity())?;
    }
    Ok(0)
}

/// Accepts each set that contains node 0, the only node.
pub(super) fn set_node_affinity(caller: &Caller<'_>, request: &Request) -> CallResult {
    let NodeAffinity { nodes } = request.argument();
    if cpu_bitmap::read(caller, &nodes)?.bits() & 1 == 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

/// Returns node 0.
pub(super) fn get_node_affinity(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let NodeAffinity { nodes } = request.argument();
    cpu_bitmap::write(caller, &nodes, CpuSet::from_bits(1))?;
    Ok(0)
}
