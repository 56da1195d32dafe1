//! Which pCPUs and nodes a domain may use. The host is one node, and there is no preference beside what is allowed.

use abi::domctl::{NodeAffinity, VcpuAffinity, vcpu_affinity};
use abi::errno::Errno;
use abi::xen::CpuBitmap;
use alloc::sync::Arc;
use machine::addr::{CpuSet, GuestVirt};
use machine::cpu;

use crate::control::Request;
use crate::domain::Domain;
use crate::hypercall::{CallError, CallResult, Caller};
use crate::scheduler;

/// Reads the first 64 bits of a bitmap; further ones stand for what cannot exist.
fn read(caller: &Caller<'_>, map: &CpuBitmap) -> Result<u64, CallError> {
    let mut bytes = [0; 8];
    let length = (map.bit_count.div_ceil(8) as usize).min(bytes.len());
    caller.cpu.read_bytes(GuestVirt::new(map.bitmap), bytes.get_mut(..length).unwrap_or_default())?;
    let bits = u64::from_le_bytes(bytes);
    Ok(if map.bit_count < 64 { bits & ((1 << map.bit_count) - 1) } else { bits })
}

/// Writes a bitmap as far as there is room.
fn write(caller: &mut Caller<'_>, map: &CpuBitmap, bits: u64) -> Result<(), CallError> {
    let bits = if map.bit_count < 64 { bits & ((1 << map.bit_count) - 1) } else { bits };
    let length = map.bit_count.div_ceil(8) as usize;
    let bytes = bits.to_le_bytes();
    let known = bytes.get(..length.min(bytes.len())).unwrap_or_default();
    caller.cpu.write_bytes(GuestVirt::new(map.bitmap), known)?;
    for rest in known.len()..length {
        caller.budget.spend(1);
        caller.cpu.write_bytes(GuestVirt::new(map.bitmap).offset(rest as u64), &[0])?;
        if rest > MOST_BYTES {
            return Err(Errno::EINVAL.into());
        }
    }
    Ok(())
}

/// A bitmap of more bytes is nobody's.
const MOST_BYTES: usize = 8192;

/// The pCPUs that there are.
fn online() -> u64 {
    u32::try_from(cpu::online()).ok().and_then(|count| 1u64.checked_shl(count)).map_or(u64::MAX, |bit| bit - 1)
}

/// Sets the pCPUs that may run a vCPU.
pub(super) fn set_vcpu_affinity(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let wanted: VcpuAffinity = request.argument();
    let known = vcpu_affinity::HARD | vcpu_affinity::SOFT | vcpu_affinity::FORCE;
    if wanted.flags & !known != 0 || wanted.flags & (vcpu_affinity::HARD | vcpu_affinity::SOFT) == 0 {
        return Err(Errno::EINVAL.into());
    }
    let vcpu = super::vcpu(target, wanted.vcpu)?;
    if wanted.flags & vcpu_affinity::SOFT != 0 && read(caller, &wanted.soft)? & online() != online() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if wanted.flags & vcpu_affinity::HARD != 0 {
        let set = read(caller, &wanted.hard)?;
        scheduler::set_affinity(vcpu, CpuSet::from_bits(set))?;
        write(caller, &wanted.hard, set & online())?;
    }
    if wanted.flags & vcpu_affinity::SOFT != 0 {
        write(caller, &wanted.soft, online())?;
    }
    Ok(0)
}

/// Tells the pCPUs that may run a vCPU.
pub(super) fn get_vcpu_affinity(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let wanted: VcpuAffinity = request.argument();
    let vcpu = super::vcpu(target, wanted.vcpu)?;
    if wanted.flags & vcpu_affinity::HARD != 0 {
        write(caller, &wanted.hard, vcpu.scheduling.affinity().bits())?;
    }
    if wanted.flags & vcpu_affinity::SOFT != 0 {
        write(caller, &wanted.soft, u64::MAX)?;
    }
    Ok(0)
}

/// There is node 0 to choose from.
pub(super) fn set_node_affinity(caller: &Caller<'_>, request: &Request) -> CallResult {
    let NodeAffinity { nodes } = request.argument();
    if read(caller, &nodes)? & 1 == 0 { Err(Errno::EINVAL.into()) } else { Ok(0) }
}

/// Node 0.
pub(super) fn get_node_affinity(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let NodeAffinity { nodes } = request.argument();
    write(caller, &nodes, 1)?;
    Ok(0)
}
