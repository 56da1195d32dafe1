//! `map_grant_ref`.

use alloc::sync::Arc;

use abi::grant_table::{MapGrantRef, map_flags, status};

use super::{Failure, status_of};
use crate::call::{CallError, Caller};
use crate::domain::{self, Domain};
use crate::grant_table::maptrack::{Hold, Record};
use crate::grant_table::page_table_entry;
use crate::grant_table::pin::Pin;
use crate::grant_table::table::{GrantRef, Use};
use crate::limits;
use machine::frames::TypedRef;
use machine::paging::NoEntries;

pub(super) fn map(caller: &mut Caller<'_>, element: &mut MapGrantRef) -> Result<(), CallError> {
    let outcome = map_one(caller, element);
    element.status = status_of(outcome)?;
    Ok(())
}

fn map_one(caller: &mut Caller<'_>, element: &mut MapGrantRef) -> Result<(), Failure> {
    if element.flags & (map_flags::DEVICE_MAP | map_flags::HOST_MAP) == 0 {
        return Err(status::GENERAL_ERROR.into());
    }
    let granter = domain::by_id(element.domain).ok_or(status::BAD_DOMAIN)?;
    let reserved = caller.domain.grants.maptrack().reserve();
    let handle = reserved.map_err(|limit| {
        limits::met(caller.domain, limit);
        status::NO_SPACE
    })?;
    let made = make(caller, &granter, element);
    let mut maptrack = caller.domain.grants.maptrack();
    match made {
        Ok(record) => {
            element.handle = handle.get();
            element.device_bus_address = record.hold.mfn().address().get();
            maptrack.put(handle, record);
            Ok(())
        }
        Err(failure) => {
            maptrack.cancel(handle);
            Err(failure)
        }
    }
}

/// Pins the grant and maps it. Without an IOMMU, devices access the frame by its machine address,
/// so a device mapping only needs the pin.
fn make(caller: &mut Caller<'_>, granter: &Arc<Domain>, element: &MapGrantRef) -> Result<Record, Failure> {
    let (flags, grantee) = (element.flags, caller.domain.id());
    let write = flags & map_flags::READONLY == 0;
    let wanted = Use { reference: GrantRef::new(element.reference), write, whole_page: true };
    let (first, frame) = Pin::new(granter, grantee, wanted)?;
    let both = map_flags::HOST_MAP | map_flags::DEVICE_MAP;
    let second = if flags & both == both { Some(Pin::new(granter, grantee, wanted)?.0) } else { None };
    let hold = if write {
        Hold::Write(TypedRef::acquire(frame, &mut NoEntries, &mut caller.budget)?)
    } else {
        Hold::Read(frame)
    };
    let (host, device) = if flags & map_flags::HOST_MAP == 0 { (None, Some(first)) } else { (Some(first), second) };
    if host.is_some() {
        page_table_entry::install(caller, element.host_address, flags, &hold)?;
    }
    Ok(Record { hold, host, device, contains_pte: flags & map_flags::CONTAINS_PTE != 0 })
}
