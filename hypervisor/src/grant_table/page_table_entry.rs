//! Page-table entries of grant mappings. They are written through the same choke point as all other
//! entries.

use abi::grant_table::{map_flags, status};
use machine::addr::{GuestVirt, MachineAddr, Mfn};
use machine::frames::{L1, TypedRef};
use machine::paging::{Entry, LeafFlags, RawEntry};

use super::maptrack::Hold;
use super::table::Status;
use crate::call::Caller;
use crate::memory::{update, walk};

/// Position of the first software-available bit in a page-table entry.
const FIRST_AVAILABLE: u32 = 9;
/// The three software-available bits that the interface defines.
const AVAILABLE: u64 = 7 << FIRST_AVAILABLE;

/// The bits of the entry for a mapping with `flags`. The guest chooses the software-available bits.
fn wanted_bits(flags: u32) -> RawEntry {
    let guest = u64::from((flags & map_flags::GUEST_AVAIL_MASK) >> map_flags::GUEST_AVAIL_MASK.trailing_zeros());
    let set = LeafFlags::ACCESSED.union(LeafFlags::DIRTY).bits();
    RawEntry::new(set | guest << FIRST_AVAILABLE & AVAILABLE)
}

fn locate(caller: &Caller<'_>, address: u64, contains_pte: bool) -> Option<(TypedRef<L1>, u16)> {
    if contains_pte {
        update::l1_entry_at(caller, MachineAddr::new(address)).ok()
    } else {
        walk::leaf(caller.cpu, GuestVirt::new(address))
    }
}

/// Maps a granted frame at `address`, replacing the previous mapping.
pub(super) fn install(caller: &Caller<'_>, address: u64, flags: u32, hold: &Hold) -> Result<(), Status> {
    let wanted = wanted_bits(flags);
    let entry = match hold {
        Hold::Read(frame) => Entry::read_only(frame.again(), wanted),
        Hold::Write(frame) => Entry::writable(frame.again(), wanted),
    };
    let written = if flags & map_flags::CONTAINS_PTE != 0 {
        update::write_l1_at(caller, MachineAddr::new(address), entry)
    } else {
        update::write_l1_for_va(caller, GuestVirt::new(address), entry)
    };
    written.map(drop).map_err(|_| status::GENERAL_ERROR)
}

/// Replaces the mapping of `frame` at `address` by `replacement`. If another frame is mapped there,
/// nothing changes and the replacement is returned.
fn replace(
    caller: &Caller<'_>,
    address: u64,
    contains_pte: bool,
    frame: Mfn,
    writable: bool,
    replacement: Entry<L1>,
) -> Result<(), Entry<L1>> {
    let Some((table, index)) = locate(caller, address, contains_pte) else { return Err(replacement) };
    let is_mapping = |found: RawEntry| found.is_present() && found.frame() == frame && found.is_writable() == writable;
    update::replace_l1_if(&table, index, is_mapping, replacement).map(drop)
}

/// Removes the mapping of `frame` at `address`. The caller flushes.
pub(super) fn remove(
    caller: &Caller<'_>,
    address: u64,
    contains_pte: bool,
    frame: Mfn,
    writable: bool,
) -> Result<(), Status> {
    let nothing = Entry::empty();
    replace(caller, address, contains_pte, frame, writable, nothing).map_err(|_| status::GENERAL_ERROR)
}

/// Moves the mapping at `from` to `address`, replacing the mapping of `frame`. The caller flushes.
pub(super) fn replace_by_move(
    caller: &Caller<'_>,
    address: u64,
    from: GuestVirt,
    frame: Mfn,
    writable: bool,
) -> Result<(), Status> {
    let nothing = Entry::empty();
    let stolen = update::write_l1_for_va(caller, from, nothing).map_err(|_| status::GENERAL_ERROR)?;
    replace(caller, address, false, frame, writable, stolen).map_err(|stolen| {
        // Restores the original mapping. If its table is gone in the meantime, the mapping is gone
        // as well.
        let _ = update::write_l1_for_va(caller, from, stolen);
        status::GENERAL_ERROR
    })
}
