//! `update_va_mapping` and `update_va_mapping_otherdomain`: one L1 entry by virtual address, and a
//! TLB flush.

use abi::errno::Errno;
use abi::xen::{DomainId, uvmf};
use machine::addr::GuestVirt;

use super::admission::GuestAdmission;
use super::flush::{self, Target, Translations};
use super::update::{self, Change};
use super::walk;
use crate::call::{CallResult, Caller};

/// Maps `value` at `address`. The frame is the caller's own.
pub(crate) fn update_va_mapping(caller: &mut Caller<'_>, address: GuestVirt, value: u64, flags: u64) -> CallResult {
    update_va_mapping_otherdomain(caller, address, value, flags, DomainId::SELF)
}

/// Maps `value` at `address`. The frame belongs to `owner`.
pub(crate) fn update_va_mapping_otherdomain(
    caller: &mut Caller<'_>,
    address: GuestVirt,
    value: u64,
    flags: u64,
    owner: DomainId,
) -> CallResult {
    let owner = caller.page_owner(owner)?;
    let (table, index) = walk::leaf(caller.cpu, address).ok_or(Errno::EINVAL)?;
    let mut admission = GuestAdmission::foreign(caller.domain, &owner);
    update::write_leaf(&table, index, Change::Write(value), &mut admission, &mut caller.budget)?;
    let bitmap = GuestVirt::new(flags & !(uvmf::FLUSHTYPE_MASK | uvmf::ALL));
    let target = match flags & uvmf::ALL {
        uvmf::ALL => Target::All,
        _ if bitmap.get() == 0 => Target::Local,
        _ => Target::Mask(bitmap),
    };
    match flags & uvmf::FLUSHTYPE_MASK {
        uvmf::TLB_FLUSH => flush::flush(caller, target, Translations::Everything)?,
        uvmf::INVLPG => flush::flush(caller, target, Translations::Page(address))?,
        uvmf::NONE => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
