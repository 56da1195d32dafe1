//! `cpupool_op`: all pCPUs and domains are in one pool, number 0.

use abi::errno::Errno;
use abi::sysctl::{CpuPoolOp, cpupool, cpupool_parameter};
use abi::xen::DomainId;
use machine::addr::CpuSet;
use machine::cpu;

use super::{Request, SCHEDULER};
use crate::call::{CallResult, Caller};
use crate::control::cpu_bitmap;
use crate::domain;

/// The id of the pool.
pub(super) const POOL: u32 = 0;

/// Returns information about the pool. Operations on other pools are refused.
pub(super) fn cpu_pool_op(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: CpuPoolOp = request.argument();
    match argument.operation {
        cpupool::INFO => info(caller, request, &mut argument),
        cpupool::FREEINFO => {
            cpu_bitmap::write(caller, &argument.cpus, CpuSet::EMPTY)?;
            Ok(0)
        }
        cpupool::MOVEDOMAIN => move_domain(caller, &argument),
        cpupool::ADDCPU => Err(add_cpu(&argument).into()),
        cpupool::DESTROY if argument.cpupool != POOL => Err(Errno::ENOENT.into()),
        // The pool has domains.
        cpupool::DESTROY => Err(Errno::EBUSY.into()),
        cpupool::CREATE | cpupool::RMCPU => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// Describes the first pool whose id is at least the requested one.
fn info(caller: &mut Caller<'_>, request: &Request, argument: &mut CpuPoolOp) -> CallResult {
    if argument.cpupool > POOL {
        return Err(Errno::ENOENT.into());
    }
    let mut all = CpuSet::EMPTY;
    cpu::all_online().for_each(|cpu| all.insert(cpu));
    cpu_bitmap::write(caller, &argument.cpus, all)?;
    argument.scheduler = SCHEDULER;
    argument.domain_count = 0;
    domain::for_each(|_| argument.domain_count += 1);
    request.answer(caller, argument)?;
    Ok(0)
}

fn move_domain(caller: &Caller<'_>, argument: &CpuPoolOp) -> CallResult {
    let id = u16::try_from(argument.domain).map_err(|_| Errno::ESRCH)?;
    caller.target(DomainId(id))?;
    if argument.cpupool == POOL { Ok(0) } else { Err(Errno::ENOENT.into()) }
}

/// The error for adding a pCPU to a pool. No pCPU is free.
fn add_cpu(argument: &CpuPoolOp) -> Errno {
    let cpu = argument.cpu;
    if cpu == cpupool_parameter::ANY || cpu as usize >= machine::addr::MAX_CPUS {
        Errno::EINVAL
    } else if cpu as usize >= cpu::online() {
        Errno::ENODEV
    } else {
        Errno::EBUSY
    }
}
