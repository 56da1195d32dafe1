#![expect(unsafe_code, reason = "removes allocations from extents and chains")]
//! Groups of frames that need no memory for a list, since a guest chooses their number.

use core::sync::atomic::Ordering;

use abi::xen::DomainId;

use super::allocator;
use super::list::{link, link_slot};
use super::reference::{Allocation, FrameRef};
use super::slot::NO_FRAME;
use crate::addr::Mfn;
use crate::integers::to_usize;

/// A run of free frames that has been taken off the free lists. The frames are not cleared or
/// assigned yet, so taking them is fast. Dropping the value frees them.
#[derive(Debug)]
pub struct Block {
    first: u64,
    order: u8,
}

impl Block {
    /// Takes 2^order contiguous, aligned free frames with addresses of at most `address_bits` bits,
    /// from the highest available block. Returns `None` if there is no such block.
    pub fn take(order: u8, address_bits: u32) -> Option<Self> {
        allocator::take(order, address_bits).map(|first| Self { first, order })
    }

    /// Clears the frames and assigns them to `owner`.
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

/// Allocations of contiguous frames, which are removed from the first on. Dropping the extent
/// releases the rest.
#[derive(Debug)]
pub struct Extent {
    next: u64,
    /// The frames from `next` to here have a reference each, which is the allocation's.
    end: u64,
}

impl Extent {
    /// The first frame that has not been removed.
    pub fn first(&self) -> Option<Mfn> {
        (self.next < self.end).then(|| Mfn::new(self.next))
    }
}

impl Iterator for Extent {
    type Item = Allocation;

    fn next(&mut self) -> Option<Allocation> {
        let mfn = self.first()?;
        self.next += 1;
        // SAFETY: the extent holds a reference to each frame that has not been removed (FT-1), and
        // no longer counts this one.
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

/// Allocations that are on no domain's list, in last-in, first-out order. They are linked through
/// the frame table.
#[derive(Debug)]
pub struct Chain {
    head: u32,
}

impl Chain {
    /// An empty chain.
    pub const fn new() -> Self {
        Self { head: NO_FRAME }
    }

    /// Adds an allocation.
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
        // removed.
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
    fn frames_that_are_not_removed_are_freed() {
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
    fn a_chain_is_last_in_first_out() {
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
