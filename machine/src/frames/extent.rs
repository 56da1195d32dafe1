#![expect(unsafe_code, reason = "takes allocations out of extents and chains")]
//! Several frames at a time, without memory for a list of them: a guest decides how many there are.

use core::sync::atomic::Ordering;

use abi::xen::DomainId;

use super::allocator;
use super::list::{link, link_slot};
use super::reference::{Allocation, FrameRef};
use super::slot::NO_FRAME;
use crate::addr::Mfn;
use crate::integers::to_usize;

/// A run of free frames that has been taken from the free lists. Nothing has been done to the
/// frames yet, so taking them is short; dropping the value gives them back.
#[derive(Debug)]
pub struct Block {
    first: u64,
    order: u8,
}

impl Block {
    /// 2^order free frames at a boundary of that many, with addresses of at most so many bits; the
    /// highest there are. `None` if there is no such run.
    pub fn take(order: u8, address_bits: u32) -> Option<Self> {
        allocator::take(order, address_bits).map(|first| Self { first, order })
    }

    /// Clears the frames and makes them the property of `owner`.
    pub fn give_to(self, owner: DomainId) -> Extent {
        let end = self.first + (1 << self.order);
        let mut extent = Extent { next: self.first, end: self.first };
        while extent.end < end {
            // SAFETY: the block's frames were taken off the free lists with it, and each is
            // prepared once, since the block is forgotten afterwards.
            let allocation = unsafe { allocator::prepare(extent.end, owner) };
            allocation.into_reference().into_counted();
            extent.end += 1;
        }
        core::mem::forget(self);
        extent
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        allocator::put_back(self.first, self.order);
    }
}

/// Allocations of contiguous frames, taken out from the first on. Dropping the extent gives up the
/// rest.
#[derive(Debug)]
pub struct Extent {
    next: u64,
    /// The frames from `next` to here have a reference each, which is the allocation's.
    end: u64,
}

impl Extent {
    /// The first frame that has not been taken out.
    pub fn first(&self) -> Option<Mfn> {
        (self.next < self.end).then(|| Mfn::new(self.next))
    }
}

impl Iterator for Extent {
    type Item = Allocation;

    fn next(&mut self) -> Option<Allocation> {
        let mfn = self.first()?;
        self.next += 1;
        // SAFETY: the extent holds a reference to each frame that has not been taken out (FT-1),
        // and counts this one as taken out from here on.
        Some(Allocation::from_frame(unsafe { FrameRef::from_counted(mfn) }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = to_usize(self.end - self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Extent {}

impl Drop for Extent {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// Allocations that are on no domain's list, the last one first. They are linked through the frame
/// table.
#[derive(Debug)]
pub struct Chain {
    head: u32,
}

impl Chain {
    /// None.
    pub const fn new() -> Self {
        Self { head: NO_FRAME }
    }

    /// Adds one.
    pub fn push(&mut self, allocation: Allocation) {
        let index = link(allocation.into_reference().into_counted());
        link_slot(index).next.store(self.head, Ordering::Relaxed);
        self.head = index;
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Chain {
    type Item = Allocation;

    fn next(&mut self) -> Option<Allocation> {
        if self.head == NO_FRAME {
            return None;
        }
        let mfn = Mfn::new(u64::from(self.head));
        self.head = link_slot(self.head).next.load(Ordering::Relaxed);
        // SAFETY: the chain holds a reference to each of its frames (FT-1), and this one was just
        // taken out.
        Some(Allocation::from_frame(unsafe { FrameRef::from_counted(mfn) }))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{FrameList, free_frames, owned_by};

    const OWNER: DomainId = DomainId(3);

    #[test]
    fn what_is_not_taken_out_goes_back() {
        crate::hosted::start(1024);
        let free = free_frames();
        let block = Block::take(4, 64).unwrap();
        assert_eq!((free_frames(), owned_by(OWNER)), (free - 16, 0));
        drop(block);
        assert_eq!(free_frames(), free);
        let mut extent = Block::take(4, 64).unwrap().give_to(OWNER);
        let first = extent.first().unwrap();
        let taken = extent.next().unwrap();
        assert_eq!((taken.mfn(), extent.len(), owned_by(OWNER)), (first, 15, 16));
        drop(extent);
        assert_eq!((free_frames(), owned_by(OWNER)), (free - 1, 1));
        drop(taken);
        assert_eq!((free_frames(), owned_by(OWNER)), (free, 0));
        assert!(Block::take(9, 64).is_some(), "merged again");
    }

    #[test]
    fn a_chain_hands_back_the_last_first() {
        crate::hosted::start(1024);
        let free = free_frames();
        let list = FrameList::new(OWNER);
        assert!(list.push_within(Block::take(2, 64).unwrap().give_to(OWNER), 4));
        let mut chain = Chain::new();
        let mut taken: [Option<Mfn>; 4] = [None; 4];
        for place in &mut taken {
            let allocation = list.pop().unwrap();
            *place = Some(allocation.mfn());
            chain.push(allocation);
        }
        taken.reverse();
        assert!(list.is_empty());
        assert_eq!([(); 3].map(|()| chain.next().map(|last| last.mfn()))[..], taken[..3]);
        assert_eq!(free_frames(), free - 1);
        drop(chain);
        assert_eq!(free_frames(), free);
    }
}
