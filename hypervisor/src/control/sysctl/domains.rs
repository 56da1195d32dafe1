//! `getdomaininfolist`: list of all domains for the tools.

use abi::domctl::GetDomainInfo;
use abi::sysctl::GetDomainInfoList;
use abi::xen::DomainId;
use machine::addr::GuestVirt;

use super::Request;
use crate::call::{CallResult, Caller};
use crate::control::domctl::info;

/// Cost of describing a domain, in units of the budget.
const COST: u32 = 256;

/// Describes the domains from an id upwards. If the budget ends the list early, the tools request
/// the rest.
pub(super) fn list(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: GetDomainInfoList = request.argument();
    let mut next = Some(argument.first_domain);
    let mut count = 0;
    while count < argument.max_domains && !caller.budget.is_exhausted() {
        let Some(info) = next.and_then(info::describe_from) else { break };
        caller.cpu.write_element::<GetDomainInfo>(GuestVirt::new(argument.buffer), count.into(), &info)?;
        next = info.domain.0.checked_add(1).map(DomainId);
        count += 1;
        caller.budget.spend(COST);
    }
    argument.domain_count = count;
    request.answer(caller, &argument)?;
    Ok(0)
}
