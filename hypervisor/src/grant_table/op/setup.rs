//! `setup_table` and `query_size`: the table as a whole.

use alloc::sync::Arc;

use abi::errno::Errno;
use abi::grant_table::{QuerySize, SetupTable, status};
use abi::xen::DomainId;
use machine::addr::GuestVirt;

use crate::domain::Domain;
use crate::grant_table::table::Status;
use crate::hypercall::{CallResult, Caller};

/// The domain whose table is meant.
pub(super) fn target(caller: &Caller<'_>, id: DomainId) -> Result<Arc<Domain>, Status> {
    caller.target(id).map_err(|errno| match errno {
        Errno::EPERM => status::PERMISSION_DENIED,
        _ => status::BAD_DOMAIN,
    })
}

/// Grows the table and tells its frames, which the guest maps itself.
pub(super) fn setup_table(caller: &mut Caller<'_>, array: GuestVirt, count: u32) -> CallResult {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut element: SetupTable = caller.cpu.read(array)?;
    element.status = setup(caller, &element).err().unwrap_or(status::OKAY);
    caller.cpu.write(array, &element)?;
    Ok(0)
}

fn setup(caller: &Caller<'_>, element: &SetupTable) -> Result<(), Status> {
    let domain = target(caller, element.domain)?;
    // The limit is at most 64 frames, so there is no need to look at the budget.
    if element.frame_count > domain.grants.table().limit() || domain.is_dying() {
        return Err(status::GENERAL_ERROR);
    }
    let frames = domain.grants.grow(element.frame_count).map_err(|_| status::GENERAL_ERROR)?;
    let list = GuestVirt::new(element.frame_list);
    for (index, frame) in (0..).zip(frames) {
        caller.cpu.write_element(list, index, &frame.get()).map_err(|_| status::BAD_VIRT_ADDR)?;
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
