//! The entry that shows and sets which domains have core scheduling.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::errno::Errno;
use abi::xen::DomainId;

use crate::{domain, scheduler};

/// All domains in the form `ID=cpu|core`, separated by commas.
pub(super) fn list() -> String {
    let mut domains = Vec::new();
    domain::for_each(|domain| {
        let granularity = if scheduler::has_core_scheduling(domain) { "core" } else { "cpu" };
        domains.push(format!("{}={granularity}", domain.id().0));
    });
    domains.join(",")
}

/// Sets one domain, in the form of its part of the list.
///
/// # Errors
/// `EINVAL` for another form, `ENOENT` if there is no such domain.
pub(super) fn set(text: &str) -> Result<(), Errno> {
    let (id, granularity) = text.split_once('=').ok_or(Errno::EINVAL)?;
    let on = match granularity {
        "cpu" => false,
        "core" => true,
        _ => return Err(Errno::EINVAL),
    };
    let id = id.parse().map(DomainId).map_err(|_| Errno::EINVAL)?;
    let domain = domain::by_id(id).ok_or(Errno::ENOENT)?;
    scheduler::set_core_scheduling(&domain, on);
    Ok(())
}
