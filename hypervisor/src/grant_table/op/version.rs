//! `set_version`, `get_version` and `get_status_frames`, with the results of a host that supports
//! version 1 only (`docs/decisions/0005-grant-tables-have-version-1.md`).

use abi::errno::Errno;
use abi::grant_table::{GetStatusFrames, GetVersion, SetVersion, status};
use machine::addr::GuestVirt;

use super::setup::target;
use crate::call::{CallResult, Caller};

/// The version of every table.
const VERSION: u32 = 1;

pub(super) fn set_version(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut element: SetVersion = caller.cpu.read(argument)?;
    let outcome = match element.version {
        VERSION => Ok(0),
        2 => Err(Errno::ENOSYS.into()),
        _ => Err(Errno::EINVAL.into()),
    };
    element.version = VERSION;
    caller.cpu.write(argument, &element)?;
    outcome
}

pub(super) fn get_version(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut element: GetVersion = caller.cpu.read(argument)?;
    caller.target(element.domain)?;
    element.version = VERSION;
    caller.cpu.write(argument, &element)?;
    Ok(0)
}

/// A version 1 table has no status frames.
pub(super) fn get_status_frames(caller: &mut Caller<'_>, array: GuestVirt, count: u32) -> CallResult {
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut element: GetStatusFrames = caller.cpu.read(array)?;
    element.status = match target(caller, element.domain) {
        Ok(_) if element.frame_count == 0 => status::OKAY,
        Ok(_) => status::GENERAL_ERROR,
        Err(status) => status,
    };
    caller.cpu.write(array, &element)?;
    Ok(0)
}
