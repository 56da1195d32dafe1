//! Grant tables from the guests' side: domain 1 grants, domain 2 maps.

mod bounds;
mod hostile;
mod moving;

use std::vec::Vec;

use abi::errno::Errno;
use abi::grant_table::{
    EntryV1, GetStatusFrames, GetVersion, MapGrantRef, QuerySize, SetVersion, SetupTable, UnmapGrantRef, entry_flags,
    map_flags, op, status,
};
use abi::xen::DomainId;
use machine::addr::{GuestVirt, Mfn};
use machine::frames::{self, Budget, L1};
use machine::paging::{Entry, RawEntry};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::{Limits, grant_table_op};
use crate::call::{CallError, Continuation};
use crate::limits::Limit;
use crate::memory::admission::GuestAdmission;
use crate::memory::update;
use crate::testing::{Guest, MAPPED};

/// Page at which the granter maps its table and the grantee maps grants.
const TABLE_PAGE: usize = 100;
const FREE_PAGE: usize = 200;
const GRANTER: DomainId = DomainId(1);
const GRANTEE: DomainId = DomainId(2);

fn call<T: IntoBytes + FromBytes + Immutable>(guest: &mut Guest, command: u32, element: T) -> Result<T, Errno> {
    let address = guest.put(&element);
    loop {
        match grant_table_op(&mut guest.caller(), command, address, 1) {
            Ok(_) => return Ok(guest.read(address)),
            Err(CallError::Errno(errno)) => return Err(errno),
            Err(CallError::Continue(Continuation { arguments: [None, None, None, None], .. })) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn map_own(guest: &mut Guest, page: usize, frame: Mfn) {
    let raw = RawEntry::new(frame.address().get() | MAPPED);
    let entry =
        Entry::<L1>::admit(raw, &mut GuestAdmission::of(&guest.domain), &mut Budget::new(100)).expect("its own frame");
    let address = guest.address(page);
    drop(update::write_l1_for_va(&guest.caller(), address, entry).expect("a table for the address"));
}

/// Gets the table's frames, and maps the first.
fn setup(guest: &mut Guest, count: u32) -> Result<Vec<Mfn>, i16> {
    let list = guest.address(0).offset(1024);
    let mut element = SetupTable::new_zeroed();
    (element.domain, element.frame_count, element.frame_list) = (DomainId::SELF, count, list.get());
    let element = call(guest, op::SETUP_TABLE, element).expect("one element");
    if element.status != status::OKAY {
        return Err(element.status);
    }
    let frames = (0..u64::from(count)).map(|index| Mfn::new(guest.read(list.offset(8 * index)))).collect();
    Ok(frames)
}

fn write_entry(guest: &mut Guest, reference: u32, flags: u16, domain: DomainId, frame: Mfn) {
    let entry = EntryV1 { flags, domain, frame: frame.get() as u32 };
    let address = guest.address(TABLE_PAGE).offset(u64::from(reference) * 8);
    guest.caller().cpu.write(address, &entry).expect("a mapped table");
}

fn flags_of(guest: &mut Guest, reference: u32) -> u16 {
    let address = guest.address(TABLE_PAGE).offset(u64::from(reference) * 8);
    guest.read::<EntryV1>(address).flags
}

/// Both domains, with the granter's table mapped and its page 1 granted in entry 8 for reading and
/// writing.
fn pair() -> (Guest, Guest) {
    let (mut a, b) = (Guest::new(GRANTER.0, 4), Guest::new(GRANTEE.0, 4));
    let frames = setup(&mut a, 1).expect("a table");
    map_own(&mut a, TABLE_PAGE, frames[0]);
    let granted = a.mfn(1);
    write_entry(&mut a, 8, entry_flags::PERMIT_ACCESS, GRANTEE, granted);
    (a, b)
}

fn map_at(guest: &mut Guest, reference: u32, flags: u32, host_address: u64) -> MapGrantRef {
    let mut element = MapGrantRef::new_zeroed();
    (element.host_address, element.flags) = (host_address, flags);
    (element.reference, element.domain) = (reference, GRANTER);
    call(guest, op::MAP_GRANT_REF, element).expect("one element")
}

/// Maps at [`FREE_PAGE`].
fn map(guest: &mut Guest, reference: u32, flags: u32) -> Result<u32, i16> {
    let address = guest.address(FREE_PAGE).get();
    let element = map_at(guest, reference, flags | map_flags::HOST_MAP, address);
    if element.status == status::OKAY { Ok(element.handle) } else { Err(element.status) }
}

fn unmap_at(guest: &mut Guest, handle: u32, host_address: u64) -> i16 {
    let mut element = UnmapGrantRef::new_zeroed();
    (element.host_address, element.handle) = (host_address, handle);
    call(guest, op::UNMAP_GRANT_REF, element).expect("one element").status
}

fn unmap(guest: &mut Guest, handle: u32) -> i16 {
    let address = guest.address(FREE_PAGE).get();
    unmap_at(guest, handle, address)
}

fn word(guest: &mut Guest, page: usize) -> Option<u64> {
    let address = guest.address(page);
    guest.caller().cpu.read(address).ok()
}

fn set_word(guest: &mut Guest, page: usize, value: u64) -> bool {
    let address = guest.address(page);
    guest.caller().cpu.write(address, &value).is_ok()
}

const IN_USE: u16 = entry_flags::READING | entry_flags::WRITING;

#[test]
fn a_granted_page_is_mapped_and_unmapped() {
    let (mut a, mut b) = pair();
    let handle = map(&mut b, 8, 0).expect("granted");
    assert_eq!(flags_of(&mut a, 8), entry_flags::PERMIT_ACCESS | IN_USE);
    assert!(set_word(&mut b, FREE_PAGE, 0x1234));
    assert_eq!(word(&mut a, 1), Some(0x1234));
    let second_page = b.address(FREE_PAGE + 1).get();
    let second = map_at(&mut b, 8, map_flags::HOST_MAP | map_flags::READONLY, second_page);
    assert_eq!((second.status, second.device_bus_address), (status::OKAY, a.mfn(1).address().get()));
    assert!(!set_word(&mut b, FREE_PAGE + 1, 1), "this one is read-only");
    assert_eq!(unmap(&mut b, handle), status::OKAY);
    assert_eq!(word(&mut b, FREE_PAGE), None);
    assert_eq!(flags_of(&mut a, 8), entry_flags::PERMIT_ACCESS | entry_flags::READING);
    assert_eq!(unmap(&mut b, handle), status::BAD_HANDLE);
    assert_eq!(unmap(&mut b, second.handle), status::GENERAL_ERROR, "it is not mapped there");
    assert_eq!(unmap_at(&mut b, second.handle, second_page), status::OKAY);
    assert_eq!(flags_of(&mut a, 8), entry_flags::PERMIT_ACCESS);
}

#[test]
fn a_read_only_grant_is_read_only() {
    let (mut a, mut b) = pair();
    let granted = a.mfn(1);
    write_entry(&mut a, 8, entry_flags::PERMIT_ACCESS | entry_flags::READONLY, GRANTEE, granted);
    assert_eq!(map(&mut b, 8, 0), Err(status::GENERAL_ERROR));
    let handle = map(&mut b, 8, map_flags::READONLY).expect("granted for reading");
    assert!(set_word(&mut a, 1, 77));
    assert_eq!(word(&mut b, FREE_PAGE), Some(77));
    assert!(!set_word(&mut b, FREE_PAGE, 1));
    assert_eq!(flags_of(&mut a, 8) & IN_USE, entry_flags::READING);
    assert_eq!(map(&mut b, 8, 0), Err(status::GENERAL_ERROR));
    assert_eq!(unmap(&mut b, handle), status::OKAY);
}

#[test]
fn an_entry_can_be_named_by_its_machine_address() {
    let (mut a, mut b) = pair();
    let entry = b.entry_address(FREE_PAGE);
    let flags = map_flags::HOST_MAP | map_flags::CONTAINS_PTE | map_flags::APPLICATION_MAP | 1 << 16;
    let mapped = map_at(&mut b, 8, flags, entry);
    assert_eq!(mapped.status, status::OKAY);
    assert_eq!(b.entry(FREE_PAGE) >> 9 & 7, 1, "the guest chooses the software-available bits");
    assert!(set_word(&mut b, FREE_PAGE, 5));
    assert_eq!(word(&mut a, 1), Some(5));
    assert_eq!(unmap_at(&mut b, mapped.handle, entry + 4), status::GENERAL_ERROR);
    assert_eq!(unmap_at(&mut b, mapped.handle, entry), status::OKAY);
    assert_eq!(b.entry(FREE_PAGE), 0);
    for bad in [entry + 4, b.mfn(1).address().get(), a.entry_address(0), !7] {
        assert_eq!(map_at(&mut b, 8, flags, bad).status, status::GENERAL_ERROR, "{bad:#x}");
    }
    assert_eq!(flags_of(&mut a, 8), entry_flags::PERMIT_ACCESS);
}

#[test]
fn a_grant_mapping_replaces_the_previous_mapping() {
    let (mut a, mut b) = pair();
    let before = frames::free_frames();
    let address = b.address(2).get();
    let mapped = map_at(&mut b, 8, map_flags::HOST_MAP, address);
    assert_eq!(mapped.status, status::OKAY);
    set_word(&mut a, 1, 9);
    assert_eq!(word(&mut b, 2), Some(9));
    assert_eq!(unmap_at(&mut b, mapped.handle, address), status::OKAY);
    assert_eq!(word(&mut b, 2), None);
    assert_eq!(frames::free_frames(), before, "the frame that was mapped there is still the guest's");
}

#[test]
fn invalid_mappings_are_refused_and_change_nothing() {
    let (mut a, mut b) = pair();
    let (granted, table) = (a.mfn(1), Mfn::new(a.entry_address(0) >> 12));
    let foreign = b.mfn(1);
    assert_eq!(map(&mut b, 512, 0), Err(status::BAD_GNTREF));
    assert_eq!(map(&mut b, u32::MAX, 0), Err(status::BAD_GNTREF));
    assert_eq!(map(&mut b, 9, 0), Err(status::GENERAL_ERROR), "an empty entry");
    write_entry(&mut a, 10, entry_flags::PERMIT_ACCESS, DomainId(3), granted);
    assert_eq!(map(&mut b, 10, 0), Err(status::GENERAL_ERROR), "granted to another");
    write_entry(&mut a, 11, entry_flags::PERMIT_ACCESS, GRANTEE, foreign);
    assert_eq!(map(&mut b, 11, 0), Err(status::BAD_PAGE), "not a frame of the granter");
    write_entry(&mut a, 12, entry_flags::PERMIT_ACCESS, GRANTEE, Mfn::new(0xffff_fff0));
    assert_eq!(map(&mut b, 12, 0), Err(status::BAD_PAGE));
    write_entry(&mut a, 13, entry_flags::PERMIT_ACCESS, GRANTEE, table);
    assert_eq!(map(&mut b, 13, 0), Err(status::GENERAL_ERROR), "a page table cannot be mapped writable");
    let handle = map(&mut b, 13, map_flags::READONLY).expect("but read-only");
    assert_eq!(unmap(&mut b, handle), status::OKAY);
    write_entry(&mut a, 14, entry_flags::PERMIT_ACCESS | entry_flags::SUB_PAGE, GRANTEE, granted);
    assert_eq!(map(&mut b, 14, 0), Err(status::GENERAL_ERROR));
    write_entry(&mut a, 15, entry_flags::ACCEPT_TRANSFER, GRANTEE, granted);
    assert_eq!(map(&mut b, 15, 0), Err(status::GENERAL_ERROR));
    for reference in 9..16 {
        assert_eq!(flags_of(&mut a, reference) & IN_USE, 0, "entry {reference}");
    }
    assert_eq!(map_at(&mut b, 8, 0, 0).status, status::GENERAL_ERROR, "neither a host nor a device mapping");
    for nowhere in [0x1000, 0xffff_8000_0000_0000, 0x7fff_ffff_f000] {
        assert_eq!(map_at(&mut b, 8, map_flags::HOST_MAP, nowhere).status, status::GENERAL_ERROR);
    }
    let mut element = MapGrantRef::new_zeroed();
    (element.domain, element.flags) = (DomainId(9), map_flags::HOST_MAP);
    assert_eq!(call(&mut b, op::MAP_GRANT_REF, element).expect("one element").status, status::BAD_DOMAIN);
    assert_eq!(flags_of(&mut a, 8), entry_flags::PERMIT_ACCESS);
    assert_eq!(b.domain.grants.mapped(), 0);
    assert_eq!(unmap(&mut b, 0), status::BAD_HANDLE);
    assert_eq!(unmap(&mut b, u32::MAX), status::BAD_HANDLE);
}

#[test]
fn devices_use_a_grant_by_its_machine_address() {
    let (mut a, mut b) = pair();
    let address = b.address(FREE_PAGE).get();
    let both = map_at(&mut b, 8, map_flags::HOST_MAP | map_flags::DEVICE_MAP, address);
    assert_eq!((both.status, both.device_bus_address), (status::OKAY, a.mfn(1).address().get()));
    assert_eq!(unmap(&mut b, both.handle), status::OKAY);
    assert_eq!(flags_of(&mut a, 8) & IN_USE, IN_USE, "the device mapping remains");
    let mut element = UnmapGrantRef::new_zeroed();
    (element.handle, element.device_bus_address) = (both.handle, both.device_bus_address + 4096);
    assert_eq!(call(&mut b, op::UNMAP_GRANT_REF, element).expect("one").status, status::GENERAL_ERROR);
    element.device_bus_address = both.device_bus_address;
    assert_eq!(call(&mut b, op::UNMAP_GRANT_REF, element).expect("one").status, status::OKAY);
    assert_eq!(flags_of(&mut a, 8) & IN_USE, 0);
    assert_eq!(unmap(&mut b, both.handle), status::BAD_HANDLE);
}

#[test]
fn tables_grow_to_their_limit() {
    let mut a = Guest::new(GRANTER.0, 1);
    let size = |guest: &mut Guest| {
        let mut element = QuerySize::new_zeroed();
        element.domain = DomainId::SELF;
        let element = call(guest, op::QUERY_SIZE, element).expect("one element");
        assert_eq!(element.status, status::OKAY);
        (element.frame_count, element.max_frame_count)
    };
    assert_eq!(size(&mut a), (1, 64));
    let all = setup(&mut a, 64).expect("within the limit");
    assert_eq!(setup(&mut a, 5).expect("no growth is needed"), all[..5]);
    assert_eq!(size(&mut a), (64, 64));
    assert_eq!(setup(&mut a, 65), Err(status::GENERAL_ERROR));
    assert!(a.domain.reported_limits.has(Limit::GrantFrames), "and the limit is logged");
    for frame in all {
        map_own(&mut a, TABLE_PAGE, frame);
    }
    let mut element = SetupTable::new_zeroed();
    (element.domain, element.frame_count, element.frame_list) = (DomainId::SELF, 2, 0x1000);
    assert_eq!(call(&mut a, op::SETUP_TABLE, element).expect("one").status, status::BAD_VIRT_ADDR);
    for (domain, expected) in [(0, status::PERMISSION_DENIED), (5, status::BAD_DOMAIN)] {
        element.domain = DomainId(domain);
        assert_eq!(call(&mut a, op::SETUP_TABLE, element).expect("one").status, expected);
    }
}

#[test]
fn a_large_table_is_grown_and_freed_in_pieces() {
    let mut a = Guest::new(GRANTER.0, 3);
    a.domain.grants.set_limits(Limits { frames: 700, mappings: 256 });
    let free = frames::free_frames();
    let list = a.address(1);
    let mut element = SetupTable::new_zeroed();
    (element.domain, element.frame_count, element.frame_list) = (DomainId::SELF, 700, list.get());
    let array = a.put(&element);
    let (mut rounds, mut before) = (1, 1);
    while let Err(error) = grant_table_op(&mut a.caller(), op::SETUP_TABLE, array, 1) {
        assert!(
            matches!(error, CallError::Continue(Continuation { arguments: [None, None, None, None], .. })),
            "{error:?}"
        );
        let frames = a.domain.grants.table().frames();
        assert!(frames > before, "each round adds to it");
        (rounds, before) = (rounds + 1, frames);
    }
    assert_eq!(a.read::<SetupTable>(array).status, status::OKAY);
    assert!(rounds > 2, "{rounds}");
    let numbers: [u64; 700] = a.read(list);
    assert_eq!(numbers.map(Mfn::new).to_vec(), setup_numbers(&a));
    assert!(!a.domain.grants.release_all(&a.domain, &mut Budget::new(Budget::HYPERCALL)), "in pieces too");
    assert_eq!(map(&mut a, 8, 0), Err(status::BAD_GNTREF), "a closed table has no entries");
    while !a.domain.grants.release_all(&a.domain, &mut Budget::new(Budget::HYPERCALL)) {}
    assert_eq!(frames::free_frames(), free + 1, "the first frame was there before");
}

#[test]
fn as_many_grants_can_be_mapped_as_under_xen_and_are_released_in_pieces() {
    const MOST: usize = 262_144;
    let (mut a, mut b) = pair();
    let mut element = MapGrantRef::new_zeroed();
    (element.reference, element.domain, element.flags) = (8, GRANTER, map_flags::DEVICE_MAP);
    let elements = [element; 64];
    let array = b.put(&elements);
    for round in 0..MOST / 64 {
        assert!(grant_table_op(&mut b.caller_with(u32::MAX), op::MAP_GRANT_REF, array, 64).is_ok());
        let done: [MapGrantRef; 64] = b.read(array);
        assert!(done.iter().all(|element| element.status == status::OKAY), "{round}");
    }
    assert_eq!(map(&mut b, 8, 0), Err(status::NO_SPACE));
    assert_eq!(b.domain.grants.mapped(), MOST);
    let mut rounds = 0;
    while !b.domain.grants.release_all(&b.domain, &mut Budget::new(Budget::HYPERCALL)) {
        rounds += 1;
    }
    assert!(rounds >= 256, "{rounds}");
    assert_eq!(flags_of(&mut a, 8) & IN_USE, 0);
}

fn setup_numbers(guest: &Guest) -> Vec<Mfn> {
    let table = guest.domain.grants.table();
    (0..table.frames()).map_while(|index| table.frame_number(index)).collect()
}

#[test]
fn version_operations_behave_as_on_a_host_with_version_one() {
    let mut a = Guest::new(GRANTER.0, 1);
    for (wanted, expected) in [(1, Ok(0)), (2, Err(Errno::ENOSYS)), (3, Err(Errno::EINVAL)), (0, Err(Errno::EINVAL))] {
        let place = a.put(&SetVersion { version: wanted });
        let result = match grant_table_op(&mut a.caller(), op::SET_VERSION, place, 1) {
            Err(CallError::Errno(errno)) => Err(errno),
            other => Ok(other.expect("no continuation")),
        };
        assert_eq!(result, expected, "version {wanted}");
        // in all cases, the current version is returned
        assert_eq!(a.read::<SetVersion>(place).version, 1);
    }
    let mut element = GetVersion::new_zeroed();
    element.domain = DomainId::SELF;
    assert_eq!(call(&mut a, op::GET_VERSION, element).map(|e| e.version), Ok(1));
    let mut element = GetStatusFrames::new_zeroed();
    (element.domain, element.frame_count) = (DomainId::SELF, 1);
    assert_eq!(call(&mut a, op::GET_STATUS_FRAMES, element).map(|e| e.status), Ok(status::GENERAL_ERROR));
}

#[test]
fn bad_calls_are_refused() {
    let mut a = Guest::new(GRANTER.0, 1);
    let nowhere = GuestVirt::new(0x1000);
    for command in (0..=12).filter(|&command| command != op::DUMP_TABLE) {
        let result = grant_table_op(&mut a.caller(), command, nowhere, 1);
        assert!(matches!(result, Err(CallError::Errno(Errno::EFAULT))), "{command}: {result:?}");
        let result = grant_table_op(&mut a.caller(), command, nowhere, 0x8000_0000);
        assert!(matches!(result, Err(CallError::Errno(Errno::EINVAL))), "{command}: {result:?}");
    }
    for unknown in [op::DUMP_TABLE, 13, u32::MAX] {
        let result = grant_table_op(&mut a.caller(), unknown, nowhere, 1);
        assert!(matches!(result, Err(CallError::Errno(Errno::ENOSYS))));
    }
    for command in [op::MAP_GRANT_REF, op::UNMAP_GRANT_REF, op::COPY, op::TRANSFER, op::SWAP_GRANT_REF] {
        assert!(matches!(grant_table_op(&mut a.caller(), command, nowhere, 0), Ok(0)));
    }
}

#[test]
fn long_batches_are_continued_where_they_stopped() {
    let (mut a, mut b) = pair();
    let mut element = MapGrantRef::new_zeroed();
    (element.reference, element.domain, element.flags) = (8, GRANTER, map_flags::DEVICE_MAP);
    let elements = [element; 100];
    let array = b.put(&elements);
    let (mut at, mut left, mut rounds) = (array, 100, 0);
    loop {
        rounds += 1;
        match grant_table_op(&mut b.caller_with(500), op::MAP_GRANT_REF, at, left) {
            Ok(_) => break,
            Err(CallError::Continue(Continuation { arguments: [None, Some(next), Some(rest), None], .. })) => {
                assert!(rest < u64::from(left));
                (at, left) = (GuestVirt::new(next), rest as u32);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(rounds > 5);
    let elements: [MapGrantRef; 100] = b.read(array);
    assert!(elements.iter().all(|element| element.status == status::OKAY));
    let unmaps = elements.map(|element| {
        let mut unmap = UnmapGrantRef::new_zeroed();
        (unmap.handle, unmap.device_bus_address) = (element.handle, element.device_bus_address);
        unmap
    });
    let array = b.put(&unmaps);
    assert!(grant_table_op(&mut b.caller(), op::UNMAP_GRANT_REF, array, 100).is_ok());
    let unmaps: [UnmapGrantRef; 100] = b.read(array);
    assert!(unmaps.iter().all(|element| element.status == status::OKAY));
    assert_eq!(flags_of(&mut a, 8) & IN_USE, 0);
}
