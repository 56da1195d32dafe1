//! Recounts the frame table from scratch: checks the invariants FT-1, FT-2, FT-5, FT-6, FT-8, TC-3
//! and TC-4 for every frame, using the contents of all page tables. For tests, while no other CPU
//! changes the table.

use abi::xen::DomainId;
use core::sync::atomic::Ordering;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::owner::maps_others;
use super::slot::{self, KindCode, Slot, Use};
use super::{access, allocator, root_slots};
use crate::addr::Mfn;
use crate::integers::to_usize;
use crate::pte::RawEntry;

/// References to a frame that a test holds as values.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Held {
    /// Existence counts: of `FrameRef`, `TypedRef` and unlisted `Allocation` values.
    pub references: u32,
    /// Use counts: of `TypedRef` values.
    pub uses: u32,
}

/// Compares every frame's counts with the references of pins, queues, lists, page-table entries and
/// `held`.
///
/// # Errors
/// All differences, one line each.
pub fn recount(held: impl Fn(Mfn) -> Held) -> Result<(), String> {
    let frames = slot::table_size();
    let mut expected: Vec<Held> = vec![Held::default(); to_usize(frames)];
    let mut complaints = String::new();
    for (number, own) in (0..frames).zip(&mut expected) {
        *own = held(Mfn::new(number));
    }
    for number in 0..frames {
        let mfn = Mfn::new(number);
        let slot = slot::referenced(mfn);
        if is_quiet(slot) {
            continue;
        }
        let usage = slot.usage();
        let own = &mut expected[to_usize(number)];
        own.references += u32::from(usage.queued) + u32::from(usage.pinned);
        own.uses += u32::from(usage.pinned);
        own.references += u32::from(slot.block.load(Ordering::Relaxed) & allocator::LISTED != 0);
        if let Some(level) = usage.kind.table_level() {
            count_entries(mfn, level, usage.progress, &mut expected, &mut complaints);
            if usage.count != 0 && usage.progress != 512 {
                complaints += &format!("FT-6: {mfn} is in use with progress {}\n", usage.progress);
            }
        }
    }
    for number in 0..frames {
        let slot = slot::referenced(Mfn::new(number));
        if is_quiet(slot) && expected[to_usize(number)] == Held::default() {
            continue;
        }
        let (references, usage) = (slot.refs.load(Ordering::SeqCst), slot.usage());
        let wanted = expected[to_usize(number)];
        if references != wanted.references {
            complaints += &format!("FT-1: {number:#x} has {references} references, {} are held\n", wanted.references);
        }
        if usage.count != wanted.uses {
            complaints += &format!("FT-2: {number:#x} has {usage:?}, {} uses are held\n", wanted.uses);
        }
        let block = slot.block.load(Ordering::Relaxed);
        if block & allocator::RAM != 0 && references == 0 && block & allocator::LISTED != 0 {
            complaints += &format!("FT-8: {number:#x} is listed without reference\n");
        }
    }
    if complaints.is_empty() { Ok(()) } else { Err(complaints) }
}

/// Whether the frame has no reference or use, according to its slot. This is true of most frames
/// and makes a recount fast.
fn is_quiet(slot: &Slot) -> bool {
    let listed = slot.block.load(Ordering::Relaxed) & allocator::LISTED != 0;
    slot.refs.load(Ordering::SeqCst) == 0 && slot.usage() == Use::NONE && !listed
}

fn count_entries(table: Mfn, level: u8, progress: u16, expected: &mut [Held], complaints: &mut String) {
    for index in 0..progress {
        if level == 4 && root_slots::is_hypervisor_slot(index) {
            continue;
        }
        let raw = RawEntry::new(access::read_entry(table, index));
        if !raw.is_present() || !slot::is_ram(raw.frame()) {
            continue;
        }
        let target = &mut expected[to_usize(raw.frame().get())];
        target.references += 1;
        let slot = slot::referenced(raw.frame());
        let usage = slot.usage();
        let mapper = DomainId(slot::referenced(table).owner.load(Ordering::Relaxed));
        let is_own = slot.owner.load(Ordering::Relaxed) == mapper.0;
        if !(is_own || level == 1 && usage.shared && maps_others(mapper)) {
            *complaints +=
                &format!("TC-3: entry {index} of {table} ({raw:x?}) maps a frame of another domain: {usage:?}\n");
        }
        if !is_own && raw.is_writable() && !usage.shared_writable {
            *complaints += &format!(
                "TC-4: entry {index} of {table} ({raw:x?}) maps a frame of another domain writable: {usage:?}\n"
            );
        }
        let kind = usage.kind;
        let wanted = match level {
            1 if raw.is_writable() => KindCode::Writable,
            1 => continue,
            2 => KindCode::L1,
            3 => KindCode::L2,
            _ => KindCode::L3,
        };
        target.uses += 1;
        if kind != wanted {
            *complaints += &format!("FT-5: entry {index} of {table} ({raw:x?}) maps a frame of kind {kind:?}\n");
        }
    }
}
