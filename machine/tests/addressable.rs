//! Allocation of frames within a device's address limit.

use abi::xen::DomainId;
use machine::frames::{self, Block, Extent};

const OWNER: DomainId = DomainId(3);

fn addressable(order: u8, address_bits: u32) -> Option<Extent> {
    Block::take(order, address_bits).map(|block| block.give_to(OWNER))
}

#[test]
#[cfg_attr(miri, ignore = "takes and clears a thousand frames, which takes Miri an hour")]
fn others_get_the_highest_frames_and_the_low_ones_are_there_for_whoever_needs_them() {
    machine::hosted::start(1024);
    let high: Vec<_> = (0..512).map(|_| frames::allocate(OWNER).expect("a free frame")).collect();
    assert!(high.iter().all(|frame| frame.mfn().get() >= 512));
    // 256 frames have addresses of 20 bits.
    let low: Vec<_> = addressable(6, 20).expect("a low run").collect();
    assert!(low.iter().all(|frame| frame.mfn().get() < 256));
    assert!(low[0].mfn().get().is_multiple_of(64));
    assert!(addressable(0, 11).is_none(), "no page has addresses of 11 bits");
    let rest: Vec<_> = core::iter::from_fn(|| addressable(0, 20)).flatten().collect();
    assert_eq!(rest.len(), 256 - 64);
    let middle: Vec<_> = core::iter::from_fn(|| frames::allocate(OWNER)).collect();
    assert_eq!(middle.len(), 256);
    drop((high, low, rest, middle));
    assert_eq!(frames::free_frames(), 1024);
    assert!(addressable(9, 64).is_some(), "merged again");
}
