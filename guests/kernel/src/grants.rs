//! The guest's grant table, version 1.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use abi::grant_table::{MapGrantRef, SetupTable, UnmapGrantRef, map_flags, op};
use abi::xen::DomainId;

use crate::call::number;
use crate::memory::{page, peek, poke, zeroed};
use crate::tables;

static TABLE: AtomicU64 = AtomicU64::new(0);

/// A `grant_table_op` with one argument.
pub fn grant_op<T>(op: u32, argument: &mut T) -> i64 {
    crate::call!(number::GRANT_TABLE_OP, op, argument, 1u32)
}

/// Maps the first frame of the table, which holds 512 entries.
pub fn start() {
    let (list, window) = (page(), page());
    let mut setup = SetupTable { domain: DomainId::SELF, frame_count: 1, frame_list: list, ..zeroed() };
    assert_eq!(grant_op(op::SETUP_TABLE, &mut setup), 0, "setup_table");
    assert_eq!(setup.status, 0, "setup_table");
    let result = tables::update_va(window, peek::<u64>(list) << 12 | tables::WRITABLE, 2);
    assert_eq!(result, 0, "mapping the grant table");
    TABLE.store(window, SeqCst);
}

/// Address of an entry.
#[must_use]
pub fn entry(reference: u32) -> u64 {
    TABLE.load(SeqCst) + u64::from(reference) * 8
}

/// The current flags of an entry.
#[must_use]
pub fn flags(reference: u32) -> u16 {
    peek(entry(reference))
}

/// Grants `frame` to `domain`.
pub fn grant(reference: u32, domain: u16, frame: u64, flags: u16) {
    poke(entry(reference) + 2, domain);
    poke(entry(reference) + 4, frame as u32);
    core::sync::atomic::fence(SeqCst);
    poke(entry(reference), flags);
}

/// Ends a grant.
pub fn end(reference: u32) {
    poke(entry(reference), 0u16);
}

/// Maps a grant of `domain` at a linear address. Returns handle and bus address, or the status.
pub fn map(domain: u16, reference: u32, address: u64, flags: u32) -> Result<(u32, u64), i16> {
    let flags = flags | map_flags::HOST_MAP;
    let mut map = MapGrantRef { host_address: address, flags, reference, domain: DomainId(domain), ..zeroed() };
    let result = grant_op(op::MAP_GRANT_REF, &mut map);
    assert_eq!(result, 0, "map_grant_ref");
    if map.status == 0 { Ok((map.handle, map.device_bus_address)) } else { Err(map.status) }
}

/// Unmaps a mapping of [`map`]. Returns the status.
pub fn unmap(address: u64, handle: u32) -> i16 {
    let mut unmap = UnmapGrantRef { host_address: address, handle, ..zeroed() };
    let result = grant_op(op::UNMAP_GRANT_REF, &mut unmap);
    assert_eq!(result, 0, "unmap_grant_ref");
    unmap.status
}
