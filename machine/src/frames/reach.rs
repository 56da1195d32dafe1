//! Checks what a hosted CPU accesses, or has cached, against the frame table. See `tlb::simulated`.

use core::sync::atomic::Ordering;
use std::format;
use std::string::String;

use abi::xen::DomainId;

use super::dirty_log::checks::{self, Found};
use super::owner::maps_others;
use super::slot::{self, KindCode, Slot};
use crate::addr::Mfn;
use crate::tlb::simulated::{self, Leftover};

/// The reason why a CPU that runs `holder` may not walk `table` as one of `level`.
pub(crate) fn objection_to_walk(table: Mfn, level: u8, holder: DomainId) -> Option<&'static str> {
    let Some(slot) = slot::ram_slot(table) else { return Some("is no memory") };
    match checks::objection_to_walk(table, level, holder) {
        Found::Nothing => {}
        Found::Busy => return None,
        Found::Checked(objection) => return objection,
    }
    if slot.owner.load(Ordering::SeqCst) != holder.0 {
        return Some("belongs to another domain");
    }
    (slot.usage().kind.table_level() != Some(level)).then_some("is no table of this level")
}

/// The reason why a CPU that runs `holder` may not read or write `frame`. A frame that has been
/// freed may still be reached, until it is flushed and cleared for its next owner.
pub(crate) fn objection_to_access(frame: Mfn, write: bool, holder: DomainId) -> Option<&'static str> {
    // Frames of devices have no owner.
    let slot = slot::ram_slot(frame)?;
    let usage = slot.usage();
    if write && usage.kind != KindCode::Writable {
        return Some("is not writable memory");
    }
    if slot.owner.load(Ordering::SeqCst) == holder.0 {
        return if write { checks::objection_to_write(frame, holder) } else { None };
    }
    if !(usage.shared && maps_others(holder)) {
        return Some("belongs to another domain and is not marked as shared");
    }
    (write && !usage.shared_writable).then_some("belongs to another domain and is not marked as shared for writing")
}

/// The state of a frame.
pub(crate) fn describe(frame: Mfn) -> String {
    slot::slot(frame).map_or_else(
        || format!("frame {frame} is beyond the frame table"),
        |slot| {
            let (owner, references) = (slot.owner.load(Ordering::SeqCst), slot.refs.load(Ordering::SeqCst));
            format!("frame {frame} of d{owner} has {references} references: {:?}", slot.usage())
        },
    )
}

/// Checks that a flush has left nothing of a frame that is about to change its kind.
///
/// # Panics
/// If it has.
pub(super) fn check_flushed_of(slot: &Slot, from: KindCode) {
    match from {
        KindCode::Writable => check(slot, Leftover::Writable),
        KindCode::L1 | KindCode::L2 | KindCode::L3 | KindCode::L4 => check(slot, Leftover::Table),
        KindCode::None | KindCode::Descriptor | KindCode::SharedReadOnly => {}
    }
}

/// Checks that a flush has left nothing of a frame that is about to get an owner.
///
/// # Panics
/// If it has.
pub(super) fn check_flushed(slot: &Slot) {
    check(slot, Leftover::Any);
}

/// Checks that no CPU has walked a frame of a pool of mirrors since it was one.
///
/// # Panics
/// If one has.
pub(super) fn check_unwalked(frame: Mfn) {
    if let Some(slot) = slot::slot(frame) {
        check(slot, Leftover::Table);
    }
}

fn check(slot: &Slot, leftover: Leftover) {
    if let Some(found) = simulated::find_leftover(slot.mfn(), leftover) {
        panic!("{leftover:?} left after the flush for a new use: {found}; {}", describe(slot.mfn()));
    }
}
