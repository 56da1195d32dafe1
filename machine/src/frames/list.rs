#![expect(unsafe_code, reason = "removes allocations from the list")]
//! The frames that belong to one domain, as a list linked through the frame table. It needs no
//! memory of its own; insertion and removal take constant time.

use core::sync::atomic::Ordering;

use abi::xen::DomainId;

use super::reference::{Allocation, FrameRef};
use super::slot::{self, NO_FRAME, Slot};
use crate::addr::Mfn;
use crate::sync::{Level, SpinLock};

struct Links {
    head: u32,
    length: u32,
    /// The domain is being destroyed: no more frames are added.
    closed: bool,
}

/// A set of allocations that are owned by the list.
pub struct FrameList {
    owner: DomainId,
    links: SpinLock<Links>,
}

pub(super) fn link_slot(index: u32) -> &'static Slot {
    slot::referenced(Mfn::new(u64::from(index)))
}

/// Checks that the frame number fits 32 bits: otherwise the frame table would need 128 GiB.
pub(super) fn link(mfn: Mfn) -> u32 {
    u32::try_from(mfn.get()).expect("frame numbers fit 32 bits")
}

impl FrameList {
    /// The empty list of a domain's frames. A domain has one list, since a frame's links can be on
    /// one list only.
    pub const fn new(owner: DomainId) -> Self {
        Self { owner, links: SpinLock::new(Level::FrameList, Links { head: NO_FRAME, length: 0, closed: false }) }
    }

    /// The number of frames owned by the list.
    pub fn len(&self) -> u32 {
        self.links.lock().length
    }

    /// Whether the list owns no frame.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes the list, because the domain is being destroyed: frames that are added later are
    /// released immediately.
    pub fn close(&self) {
        self.links.lock().closed = true;
    }

    /// Adds an allocation.
    ///
    /// # Panics
    /// If the frame belongs to another domain.
    pub fn push(&self, allocation: Allocation) {
        let rest = self.insert(core::iter::once(allocation), u32::MAX);
        drop(rest);
    }

    /// Adds all allocations if the list then owns at most `limit` frames; otherwise releases them.
    /// Returns `false` if they were released, also because the list is closed.
    ///
    /// # Panics
    /// If a frame belongs to another domain.
    pub fn push_within(&self, allocations: impl ExactSizeIterator<Item = Allocation>, limit: u32) -> bool {
        let rest = self.insert(allocations, limit);
        rest.len() == 0
    }

    /// Adds allocations and returns those that were not added: none, or all. The caller must drop
    /// them without holding the lock.
    fn insert<I: ExactSizeIterator<Item = Allocation>>(&self, mut allocations: I, limit: u32) -> I {
        let mut links = self.links.lock();
        let fits = u32::try_from(allocations.len()).is_ok_and(|more| links.length.saturating_add(more) <= limit);
        if links.closed || !fits {
            return allocations;
        }
        for allocation in &mut allocations {
            assert!(allocation.owner() == self.owner, "a frame is listed under a domain that does not own it");
            let index = link(allocation.into_reference().into_counted());
            let slot = link_slot(index);
            slot.previous.store(NO_FRAME, Ordering::Relaxed);
            slot.next.store(links.head, Ordering::Relaxed);
            if links.head != NO_FRAME {
                link_slot(links.head).previous.store(index, Ordering::Relaxed);
            }
            slot.block.fetch_or(super::allocator::LISTED, Ordering::Relaxed);
            links.head = index;
            links.length += 1;
        }
        allocations
    }

    /// Removes an arbitrary allocation.
    pub fn pop(&self) -> Option<Allocation> {
        let mut links = self.links.lock();
        if links.head == NO_FRAME {
            return None;
        }
        let index = links.head;
        Some(unlink(&mut links, index))
    }

    /// Passes the frames to `act`, which holds the list's lock, from the one at `cursor` on or from
    /// the first, until `act` returns `false`. Returns whether all have been visited; if not,
    /// `cursor` is the next. A frame that was removed at `cursor` restarts the visit.
    pub(super) fn visit(&self, cursor: &mut Option<Mfn>, mut act: impl FnMut(&Slot) -> bool) -> bool {
        let links = self.links.lock();
        let listed = |slot: &&Slot| {
            slot.owner.load(Ordering::SeqCst) == self.owner.0
                && slot.block.load(Ordering::Relaxed) & super::allocator::LISTED != 0
        };
        let start = cursor.take().and_then(slot::slot).filter(listed).map(|slot| link(slot.mfn()));
        let mut index = start.unwrap_or(links.head);
        while index != NO_FRAME {
            let slot = link_slot(index);
            index = slot.next.load(Ordering::Relaxed);
            if !act(slot) && index != NO_FRAME {
                *cursor = Some(Mfn::new(u64::from(index)));
                return false;
            }
        }
        true
    }

    /// Whether the list currently owns the allocation of `frame`.
    pub fn contains(&self, frame: &FrameRef) -> bool {
        let _links = self.links.lock();
        frame.owner() == self.owner && frame.slot().block.load(Ordering::Relaxed) & super::allocator::LISTED != 0
    }

    /// Removes the allocation of `frame`; `None` if it belongs to another domain or has been
    /// released.
    pub fn remove(&self, frame: &FrameRef) -> Option<Allocation> {
        if frame.owner() != self.owner {
            return None;
        }
        let mut links = self.links.lock();
        let listed = frame.slot().block.load(Ordering::Relaxed) & super::allocator::LISTED != 0;
        listed.then(|| unlink(&mut links, link(frame.mfn())))
    }
}

fn unlink(links: &mut Links, index: u32) -> Allocation {
    let slot = link_slot(index);
    let next = slot.next.load(Ordering::Relaxed);
    let previous = slot.previous.load(Ordering::Relaxed);
    if next != NO_FRAME {
        link_slot(next).previous.store(previous, Ordering::Relaxed);
    }
    if previous == NO_FRAME {
        links.head = next;
    } else {
        link_slot(previous).next.store(next, Ordering::Relaxed);
    }
    links.length -= 1;
    slot.block.fetch_and(!super::allocator::LISTED, Ordering::Relaxed);
    // SAFETY: the list holds a reference to each of its frames (FT-1), and this one was just
    // removed under its lock.
    Allocation::from_frame(unsafe { FrameRef::from_counted(Mfn::new(u64::from(index))) })
}

impl Drop for FrameList {
    fn drop(&mut self) {
        assert!(self.is_empty(), "a frame list is dropped with {} frames in it", self.len());
    }
}
