//! Frames that a device with short addresses can reach.

use abi::xen::DomainId;
use machine::frames;

const OWNER: DomainId = DomainId(3);

#[test]
#[cfg_attr(miri, ignore = "takes and clears a thousand frames, which takes Miri an hour")]
fn others_get_the_highest_frames_and_the_low_ones_are_there_for_whoever_needs_them() {
    machine::hosted::start(1024);
    let high: Vec<_> = (0..512).map(|_| frames::allocate(OWNER).expect("a free frame")).collect();
    assert!(high.iter().all(|frame| frame.mfn().get() >= 512));
    // 20 bits of address are 256 frames
    let low = frames::allocate_addressable(6, OWNER, 20).expect("a low run");
    assert!(low.iter().all(|frame| frame.mfn().get() < 256));
    assert!(low[0].mfn().get().is_multiple_of(64));
    assert!(frames::allocate_addressable(0, OWNER, 11).is_none(), "not even a page has so few");
    let rest: Vec<_> = core::iter::from_fn(|| frames::allocate_addressable(0, OWNER, 20)).collect();
    assert_eq!(rest.len(), 256 - 64);
    let middle: Vec<_> = core::iter::from_fn(|| frames::allocate(OWNER)).collect();
    assert_eq!(middle.len(), 256);
    drop((high, low, rest, middle));
    assert_eq!(frames::free_frames(), 1024);
    assert!(frames::allocate_contiguous(9, OWNER).is_some(), "merged again");
}
