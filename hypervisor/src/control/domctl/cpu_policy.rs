//! `get_cpu_policy` and `set_cpu_policy`: the CPUID contents that a domain's kernel sees.

use abi::arch_x86_64::MsrEntry;
use abi::domctl::CpuPolicy;
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::addr::GuestVirt;

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::control::cpu_policy::Lists;
use crate::cpu_policy::{self, Excess, msr};
use crate::domain::{Domain, Life};

/// Value of the error fields of the answer if nothing was refused.
const NOTHING: u32 = u32::MAX;

/// The lists of a request.
const fn lists(argument: &CpuPolicy) -> Lists {
    Lists {
        leaves: GuestVirt::new(argument.leaves),
        leaf_count: argument.leaf_count,
        msrs: GuestVirt::new(argument.msrs),
        msr_count: argument.msr_count,
    }
}

/// Copies the domain's policy to the caller.
pub(super) fn get(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let mut argument: CpuPolicy = request.argument();
    let mut lists = lists(&argument);
    lists.write(caller, &target.cpu_policy())?;
    (argument.leaf_count, argument.msr_count) = (lists.leaf_count, lists.msr_count);
    request.answer(caller, &argument)?;
    Ok(0)
}

/// Changes the policy of a domain that has not been started. The answer names the refused leaf or
/// MSR.
pub(super) fn set(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    super::other(caller, target)?;
    if target.life() != Life::Building {
        return Err(Errno::EEXIST.into());
    }
    let mut argument: CpuPolicy = request.argument();
    (argument.error_leaf, argument.error_subleaf, argument.error_msr) = (NOTHING, NOTHING, NOTHING);
    let outcome = change(caller, &mut argument, target);
    request.answer(caller, &argument)?;
    outcome.map(|()| 0)
}

fn change(caller: &Caller<'_>, argument: &mut CpuPolicy, target: &Domain) -> Result<(), CallError> {
    let lists = lists(argument);
    let leaves = lists.read_leaves(caller)?;
    if lists.msr_count as usize > msr::LISTED {
        return Err(Errno::E2BIG.into());
    }
    let mut arch_capabilities = None;
    for index in 0..u64::from(lists.msr_count) {
        let entry: MsrEntry = caller.cpu.read_element(lists.msrs, index)?;
        match msr::judge(&entry) {
            Ok(value) => arch_capabilities = value.or(arch_capabilities),
            Err(errno) => {
                argument.error_msr = entry.index;
                return Err(errno.into());
            }
        }
    }
    match cpu_policy::changed(&target.cpu_policy(), &leaves, arch_capabilities) {
        Ok(policy) => target.set_cpu_policy(policy),
        Err((errno, Excess { leaf, subleaf })) => {
            (argument.error_leaf, argument.error_subleaf) = (leaf, subleaf);
            return Err(errno.into());
        }
    }
    Ok(())
}
