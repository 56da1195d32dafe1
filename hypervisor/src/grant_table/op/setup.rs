//! `setup_table` and `query_size`: the table as a whole.

use alloc::sync::Arc;

use abi::errno::Errno;
use abi::grant_table::{QuerySize, SetupTable, status};
use abi::xen::DomainId;
use machine::addr::GuestVirt;

use super::{Failure, status_of};
use crate::call::{CallError, CallResult, Caller};
use crate::domain::Domain;
use crate::grant_table::table::Status;
use crate::limits::{self, Limit};

/// The domain whose table the operation accesses.
pub(super) fn target(caller: &Caller<'_>, id: DomainId) -> Result<Arc<Domain>, Status> {
    caller.target(id).map_err(|errno| match errno {
        Errno::EPERM => status::PERMISSION_DENIED,
        _ => status::BAD_DOMAIN,
    })
}

/// Grows the table and returns the numbers of its frames, which the guest maps itself.
pub(super) fn setup_table(caller: &mut Caller<'_>, array: GuestVirt, count: u32) -> CallResult {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut element: SetupTable = caller.cpu.read(array)?;
    let outcome = setup(caller, &element);
    element.status = status_of(outcome)?;
    caller.cpu.write(array, &element)?;
    Ok(0)
}

fn setup(caller: &mut Caller<'_>, element: &SetupTable) -> Result<(), Failure> {
    let domain = target(caller, element.domain)?;
    if element.frame_count > domain.grants.most_frames() {
        limits::met(&domain, Limit::GrantFrames);
        return Err(status::GENERAL_ERROR.into());
    }
    if domain.is_dying() {
        return Err(status::GENERAL_ERROR.into());
    }
    let has_grown = domain.grants.grow(element.frame_count, &mut caller.budget);
    if !has_grown.map_err(|_| status::GENERAL_ERROR)? {
        return Err(Failure::Call(CallError::again()));
    }
    let list = GuestVirt::new(element.frame_list);
    for index in 0..element.frame_count {
        // A domain that is being destroyed may have none left.
        let frame = domain.grants.frame(index).ok_or(status::GENERAL_ERROR)?;
        caller.cpu.write_element(list, index.into(), &frame.get()).map_err(|_| status::BAD_VIRT_ADDR)?;
    }
    Ok(())
}

pub(super) fn query_size(caller: &mut Caller<'_>, array: GuestVirt, count: u32) -> CallResult {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut element: QuerySize = caller.cpu.read(array)?;
    match target(caller, element.domain) {
        Ok(domain) => {
            let table = domain.grants.table();
            (element.frame_count, element.max_frame_count) = (table.frames(), table.limit());
            element.status = status::OKAY;
        }
        Err(status) => element.status = status,
    }
    caller.cpu.write(array, &element)?;
    Ok(0)
}
