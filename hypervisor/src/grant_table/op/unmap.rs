//! `unmap_grant_ref` and `unmap_and_replace`. Elements are unmapped in batches, with one flush per
//! batch before the grants are released (GT-2).

use alloc::vec::Vec;

use abi::grant_table::{UnmapAndReplace, UnmapGrantRef, status};
use machine::addr::GuestVirt;
use machine::speculation::MaskedIndex;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::batch;
use crate::call::{CallResult, Caller};
use crate::grant_table::maptrack::{GrantHandle, Hold, Record};
use crate::grant_table::page_table_entry;
use crate::grant_table::pin::Pin;
use crate::grant_table::table::Status;
use crate::memory::flush::{self, Target, Translations};

/// Number of unmappings between two flushes.
const BATCH: usize = 32;
/// Cost of an element, in addition to that of every batch element.
const COST: u32 = 16;

/// The parameters that both operations have in common.
struct Unmapping {
    host_address: u64,
    device_address: u64,
    /// Address of the mapping that replaces it, or zero for none.
    new_address: u64,
    handle: GrantHandle,
}

/// The resources that are released after the flush.
struct Unmapped {
    _pin: Pin,
    /// Present with the last pin of a record.
    _hold: Option<Hold>,
}

pub(super) fn unmap(caller: &mut Caller<'_>, array: GuestVirt, count: u32) -> CallResult {
    in_batches(caller, array, count, |caller, element: &mut UnmapGrantRef, done| {
        let unmapping = Unmapping {
            host_address: element.host_address,
            device_address: element.device_bus_address,
            new_address: 0,
            handle: GrantHandle::new(element.handle),
        };
        element.status = unmap_one(caller, &unmapping, done).err().unwrap_or(status::OKAY);
    })
}

pub(super) fn unmap_and_replace(caller: &mut Caller<'_>, array: GuestVirt, count: u32) -> CallResult {
    in_batches(caller, array, count, |caller, element: &mut UnmapAndReplace, done| {
        let unmapping = Unmapping {
            host_address: element.host_address,
            device_address: 0,
            new_address: element.new_address,
            handle: GrantHandle::new(element.handle),
        };
        element.status = unmap_one(caller, &unmapping, done).err().unwrap_or(status::OKAY);
    })
}

fn in_batches<T: FromBytes + IntoBytes + Immutable>(
    caller: &mut Caller<'_>,
    array: GuestVirt,
    count: u32,
    mut act: impl FnMut(&mut Caller<'_>, &mut T, &mut Vec<Unmapped>),
) -> CallResult {
    let mut unmapped = Vec::with_capacity(BATCH);
    let result = batch::each(caller, array, count, |caller, element| {
        caller.budget.spend(COST);
        act(caller, element, &mut unmapped);
        if unmapped.len() >= BATCH {
            finish(caller, &mut unmapped);
        }
        Ok(())
    });
    finish(caller, &mut unmapped);
    result
}

/// Flushes, and then releases the unmapped grants.
fn finish(caller: &mut Caller<'_>, unmapped: &mut Vec<Unmapped>) {
    if unmapped.is_empty() {
        return;
    }
    // A flush can only fail on reading a vCPU bitmap, and this one has none.
    let flushed = flush::flush(caller, Target::All, Translations::Everything);
    assert!(flushed.is_ok(), "a flush of all vCPUs failed");
    unmapped.clear();
}

fn unmap_one(caller: &mut Caller<'_>, unmapping: &Unmapping, done: &mut Vec<Unmapped>) -> Result<(), Status> {
    let handle = unmapping.handle;
    let mut record = caller.domain.grants.maptrack().take(handle).ok_or(status::BAD_HANDLE)?;
    let before = done.len();
    let outcome = undo(caller, unmapping, &mut record, done);
    if record.host.is_some() || record.device.is_some() {
        caller.domain.grants.maptrack().put(handle, record);
    } else {
        if let Some(last) = done.masked_mut(before) {
            last._hold = Some(record.hold);
        }
        caller.domain.grants.maptrack().cancel(handle);
    }
    outcome
}

fn undo(
    caller: &Caller<'_>,
    unmapping: &Unmapping,
    record: &mut Record,
    done: &mut Vec<Unmapped>,
) -> Result<(), Status> {
    let frame = record.hold.mfn();
    let names_device = unmapping.device_address != 0 && record.device.is_some();
    if names_device && unmapping.device_address != frame.address().get() {
        return Err(status::GENERAL_ERROR);
    }
    if unmapping.host_address != 0
        && let Some(pin) = record.host.take()
    {
        let (address, writable) = (unmapping.host_address, pin.is_writable());
        let undone = match (unmapping.new_address, record.contains_pte) {
            (0, contains_pte) => page_table_entry::remove(caller, address, contains_pte, frame, writable),
            (_, true) => Err(status::GENERAL_ERROR),
            (from, false) => page_table_entry::replace_by_move(caller, address, GuestVirt::new(from), frame, writable),
        };
        if undone.is_err() {
            record.host = Some(pin);
        } else {
            done.push(Unmapped { _pin: pin, _hold: None });
        }
        undone?;
    }
    if names_device && let Some(pin) = record.device.take() {
        done.push(Unmapped { _pin: pin, _hold: None });
    }
    Ok(())
}
