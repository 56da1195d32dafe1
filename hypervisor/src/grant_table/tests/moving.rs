//! Copies, transfers, replacements and swaps of entries.

use abi::errno::Errno;
use abi::grant_table::{
    CacheFlush, CopyPointer, GrantCopy, SwapGrantRef, Transfer, UnmapAndReplace, cache_flush, copy_flags, entry_flags,
    map_flags, op, status,
};
use abi::xen::DomainId;
use machine::frames;
use zerocopy::FromZeros;

use super::{
    FREE_PAGE, GRANTEE, GRANTER, IN_USE, call, flags_of, map, map_own, pair, set_word, unmap, word, write_entry,
};
use crate::memory::claim;
use crate::testing::Guest;

fn granted(reference: u32, offset: u16) -> CopyPointer {
    CopyPointer { reference_or_frame: u64::from(reference), domain: GRANTER, offset, _pad: 0 }
}

fn own(guest: &Guest, page: usize, offset: u16) -> CopyPointer {
    CopyPointer { reference_or_frame: guest.mfn(page).get(), domain: DomainId::SELF, offset, _pad: 0 }
}

fn copy(guest: &mut Guest, source: CopyPointer, destination: CopyPointer, length: u16, flags: u16) -> i16 {
    let element = GrantCopy { source, destination, length, flags, status: 0, _pad: 0 };
    call(guest, op::COPY, element).expect("one element").status
}

#[test]
fn copies_work_in_both_directions() {
    let (mut a, mut b) = pair();
    set_word(&mut a, 1, 0x1111_2222_3333_4444);
    let mine = own(&b, 1, 8);
    assert_eq!(copy(&mut b, granted(8, 0), mine, 8, copy_flags::SOURCE_GREF), status::OKAY);
    let at = b.address(1).offset(8);
    assert_eq!(b.read::<u64>(at), 0x1111_2222_3333_4444);
    let (mine, whole) = (own(&b, 1, 0), 4096);
    assert_eq!(copy(&mut b, mine, granted(8, 0), whole, copy_flags::DEST_GREF), status::OKAY);
    let at = a.address(1).offset(8);
    assert_eq!(a.read::<u64>(at), 0x1111_2222_3333_4444);
    let third = own(&b, 2, 0);
    let mine = own(&b, 1, 8);
    assert_eq!(copy(&mut b, mine, third, 8, 0), status::OKAY);
    assert_eq!(word(&mut b, 2), Some(0x1111_2222_3333_4444));
    assert_eq!(flags_of(&mut a, 8) & IN_USE, 0);
}

#[test]
fn bad_copies_are_refused() {
    let (mut a, mut b) = pair();
    let page = a.mfn(1);
    write_entry(&mut a, 9, entry_flags::PERMIT_ACCESS | entry_flags::READONLY, GRANTEE, page);
    let mine = own(&b, 1, 0);
    let mut foreign = own(&a, 1, 0);
    foreign.domain = GRANTER;
    assert_eq!(copy(&mut b, foreign, mine, 8, 0), status::PERMISSION_DENIED);
    foreign.domain = DomainId::SELF;
    assert_eq!(copy(&mut b, foreign, mine, 8, 0), status::BAD_PAGE);
    let mut nobody = granted(8, 0);
    nobody.domain = DomainId(77);
    assert_eq!(copy(&mut b, nobody, mine, 8, copy_flags::SOURCE_GREF), status::BAD_DOMAIN);
    assert_eq!(copy(&mut b, granted(600, 0), mine, 8, copy_flags::SOURCE_GREF), status::BAD_GNTREF);
    assert_eq!(copy(&mut b, mine, granted(9, 0), 8, copy_flags::DEST_GREF), status::GENERAL_ERROR);
    for (offset, length) in [(4095, 2), (u16::MAX, 1), (0, 4097), (u16::MAX, u16::MAX)] {
        let source = granted(8, offset);
        assert_eq!(copy(&mut b, source, mine, length, copy_flags::SOURCE_GREF), status::BAD_COPY_ARG);
        let destination = own(&b, 1, offset);
        assert_eq!(copy(&mut b, granted(8, 0), destination, length, copy_flags::SOURCE_GREF), status::BAD_COPY_ARG);
    }
    let mut table = own(&b, 0, 0);
    table.reference_or_frame = b.entry_address(0) >> 12;
    assert_eq!(copy(&mut b, mine, table, 8, 0), status::GENERAL_ERROR, "no writes to page tables");
    assert_eq!(flags_of(&mut a, 8) & IN_USE, 0);
    assert_eq!(flags_of(&mut a, 9) & IN_USE, 0);
}

#[test]
fn a_mapping_is_replaced_by_the_mapping_of_another_page() {
    let (mut a, mut b) = pair();
    let handle = map(&mut b, 8, 0).expect("granted");
    set_word(&mut b, 2, 42);
    let mut element = UnmapAndReplace::new_zeroed();
    (element.host_address, element.new_address) = (b.address(FREE_PAGE).get(), b.address(300).get());
    element.handle = handle;
    let replaced = call(&mut b, op::UNMAP_AND_REPLACE, element).expect("one element");
    assert_eq!(replaced.status, status::OKAY, "the empty entry replaces the mapping");
    let handle = map(&mut b, 8, 0).expect("granted");
    (element.new_address, element.handle) = (b.address(2).get(), handle);
    element.host_address += 8192;
    assert_eq!(call(&mut b, op::UNMAP_AND_REPLACE, element).expect("one").status, status::GENERAL_ERROR);
    assert_eq!(word(&mut b, 2), Some(42), "still where it was");
    element.host_address -= 8192;
    assert_eq!(call(&mut b, op::UNMAP_AND_REPLACE, element).expect("one").status, status::OKAY);
    assert_eq!((word(&mut b, FREE_PAGE), word(&mut b, 2)), (Some(42), None));
    assert_eq!(flags_of(&mut a, 8), entry_flags::PERMIT_ACCESS);
}

#[test]
fn a_transferred_page_changes_its_owner() {
    let (mut a, mut b) = pair();
    let before = frames::free_frames();
    let (count_a, count_b) = (a.domain.frames.len(), b.domain.frames.len());
    let transfer = |guest: &mut Guest, mfn: u64, reference: u32| {
        let mut element = Transfer::new_zeroed();
        (element.mfn, element.domain, element.reference) = (mfn, GRANTER, reference);
        call(guest, op::TRANSFER, element).expect("one element").status
    };
    set_word(&mut b, 3, 0xabcd);
    write_entry(&mut a, 20, entry_flags::ACCEPT_TRANSFER, GRANTEE, machine::addr::Mfn::new(0));
    let page = b.mfn(3).get();
    assert_eq!(transfer(&mut b, page, 20), status::BAD_PAGE, "it is still mapped");
    let (address, nothing) = (b.address(3), machine::paging::Entry::empty());
    drop(crate::memory::update::write_l1_for_va(&b.caller(), address, nothing).expect("a table"));
    assert_eq!(transfer(&mut b, page, 20), status::OKAY);
    assert_eq!(transfer(&mut b, page, 20), status::BAD_PAGE, "it is not the caller's any more");
    let done = entry_flags::ACCEPT_TRANSFER | entry_flags::TRANSFER_COMMITTED | entry_flags::TRANSFER_COMPLETED;
    assert_eq!(flags_of(&mut a, 20), done);
    let at = a.address(super::TABLE_PAGE).offset(20 * 8 + 4);
    let frame = machine::addr::Mfn::new(u64::from(a.read::<u32>(at)));
    map_own(&mut a, FREE_PAGE, frame);
    assert_eq!(word(&mut a, FREE_PAGE), Some(0xabcd));
    assert_eq!((a.domain.frames.len(), b.domain.frames.len()), (count_a + 1, count_b - 1));
    assert_eq!(frames::free_frames(), before);
}

#[test]
fn a_transfer_never_exceeds_the_receivers_limit() {
    let (mut a, mut b) = pair();
    write_entry(&mut a, 20, entry_flags::ACCEPT_TRANSFER, GRANTEE, machine::addr::Mfn::new(0));
    let transfer = |guest: &mut Guest, reference: u32| {
        let given = frames::allocate(GRANTEE).expect("a free frame");
        let mut element = Transfer::new_zeroed();
        (element.mfn, element.domain, element.reference) = (given.mfn().get(), GRANTER, reference);
        guest.domain.frames.push(given);
        call(guest, op::TRANSFER, element).expect("one element").status
    };
    let before = frames::free_frames();
    let count = a.domain.frames.len();
    a.domain.set_max_frames(count);
    assert_eq!(transfer(&mut b, 20), status::GENERAL_ERROR);
    assert_eq!(flags_of(&mut a, 20), entry_flags::ACCEPT_TRANSFER, "the transfer is not committed");
    a.domain.set_max_frames(count + 1);
    assert_eq!(transfer(&mut b, 21), status::GENERAL_ERROR, "the entry accepts no transfer");
    assert_eq!((a.domain.frames.len(), frames::free_frames()), (count, before));
    assert_eq!(transfer(&mut b, 20), status::OKAY);
    assert_eq!((a.domain.frames.len(), frames::free_frames()), (count + 1, before - 1));
    b.domain.set_max_frames(u32::MAX);
    assert_eq!(claim::stake(&b.domain, u64::from(b.domain.frames.len()) + before - 1), Ok(()));
    write_entry(&mut a, 20, entry_flags::ACCEPT_TRANSFER, GRANTEE, machine::addr::Mfn::new(0));
    a.domain.set_max_frames(count + 2);
    assert_eq!(transfer(&mut b, 20), status::GENERAL_ERROR, "all free frames are claimed by another domain");
    claim::release(&b.domain);
}

#[test]
fn entries_are_exchanged_unless_they_are_in_use() {
    let (mut a, mut b) = pair();
    let swap = |guest: &mut Guest, reference_a, reference_b| {
        let element = SwapGrantRef { reference_a, reference_b, status: 0, _pad: 0 };
        call(guest, op::SWAP_GRANT_REF, element).expect("one element").status
    };
    assert_eq!(swap(&mut a, 8, 30), status::OKAY);
    assert_eq!((flags_of(&mut a, 8), flags_of(&mut a, 30)), (0, entry_flags::PERMIT_ACCESS));
    let handle = map(&mut b, 30, 0).expect("granted");
    assert_eq!(swap(&mut a, 30, 8), status::EAGAIN);
    assert_eq!(swap(&mut a, 8, 30), status::EAGAIN);
    assert_eq!(swap(&mut a, 30, 30), status::OKAY);
    assert_eq!(swap(&mut a, 8, 512), status::BAD_GNTREF);
    assert_eq!(unmap(&mut b, handle), status::OKAY);
}

#[test]
fn caches_are_flushed_for_own_and_mapped_frames() {
    let (a, mut b) = pair();
    let flush = |guest: &mut Guest, address, offset, length, operation| {
        let element = CacheFlush { address_or_reference: address, offset, length, operation };
        call(guest, op::CACHE_FLUSH, element).map(|_| ())
    };
    let (own, foreign) = (b.mfn(1).address().get(), a.mfn(1).address().get());
    assert_eq!(flush(&mut b, own, 0, 4096, cache_flush::CLEAN), Ok(()));
    assert_eq!(flush(&mut b, own, 1, 4096, cache_flush::CLEAN), Err(Errno::EINVAL));
    assert_eq!(flush(&mut b, own, 0, 1, cache_flush::SOURCE_GREF), Err(Errno::EOPNOTSUPP));
    assert_eq!(flush(&mut b, own, 0, 1, 4), Err(Errno::EINVAL));
    assert_eq!(flush(&mut b, foreign, 0, 1, cache_flush::INVAL), Err(Errno::EINVAL));
    let handle = map(&mut b, 8, map_flags::READONLY).expect("granted");
    assert_eq!(flush(&mut b, foreign, 0, 1, cache_flush::INVAL), Ok(()));
    assert_eq!(unmap(&mut b, handle), status::OKAY);
}
