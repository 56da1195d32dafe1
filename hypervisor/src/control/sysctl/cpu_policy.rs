//! The host's CPU policies: `get_cpu_policy`, `get_cpu_featureset`, `get_cpu_levelling_caps`.

use abi::errno::Errno;
use abi::sysctl::{CpuFeatureSet, CpuLevellingCaps, CpuPolicy, cpu_policy as index, feature_set};
use machine::addr::GuestVirt;
use machine::integers::saturating_u32;

use super::Request;
use crate::call::{CallResult, Caller};
use crate::control::cpu_policy::Lists;
use crate::cpu_policy::{self, Policy, WORDS, system};

/// Returns the means of hiding CPUID features from user code: none is in use.
pub(super) fn levelling(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    request.answer(caller, &CpuLevellingCaps { capabilities: 0 })?;
    Ok(0)
}

/// Returns the features of one of the host's policies.
pub(super) fn features(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: CpuFeatureSet = request.argument();
    let list = GuestVirt::new(argument.features);
    let all = saturating_u32(WORDS);
    if list.get() == 0 {
        argument.word_count = all;
        request.answer(caller, &argument)?;
        return Ok(0);
    }
    let policy = policy_of_feature_set(argument.index)?;
    argument.word_count = argument.word_count.min(all);
    for (index, word) in (0..u64::from(argument.word_count)).zip(cpu_policy::feature_set(policy)) {
        caller.cpu.write_element(list, index, &word)?;
    }
    request.answer(caller, &argument)?;
    if argument.word_count < all { Err(Errno::ENOBUFS.into()) } else { Ok(0) }
}

/// Returns the leaves of one of the host's policies.
pub(super) fn policy(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: CpuPolicy = request.argument();
    if argument._reserved != 0 {
        return Err(Errno::EINVAL.into());
    }
    let policy = policy_of(argument.index)?;
    let mut lists = Lists {
        leaves: GuestVirt::new(argument.leaves),
        leaf_count: argument.leaf_count,
        msrs: GuestVirt::new(argument.msrs),
        msr_count: argument.msr_count,
    };
    lists.write(caller, policy)?;
    (argument.leaf_count, argument.msr_count) = (lists.leaf_count, lists.msr_count);
    request.answer(caller, &argument)?;
    Ok(0)
}

fn policy_of(index: u32) -> Result<&'static Policy, Errno> {
    let system = system();
    match index {
        index::RAW => Ok(&system.raw),
        index::HOST => Ok(&system.host),
        index::PV_MAX => Ok(&system.maximum),
        index::PV_DEFAULT => Ok(&system.usual),
        index::HVM_MAX | index::HVM_DEFAULT => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

fn policy_of_feature_set(index: u32) -> Result<&'static Policy, Errno> {
    let system = system();
    match index {
        feature_set::RAW => Ok(&system.raw),
        feature_set::HOST => Ok(&system.host),
        feature_set::PV => Ok(&system.usual),
        feature_set::PV_MAX => Ok(&system.maximum),
        feature_set::HVM | feature_set::HVM_MAX => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}
