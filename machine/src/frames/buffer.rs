#![expect(unsafe_code, reason = "returns slices of frames that nothing else can access")]
//! Frames as memory for Paravane's own use, for data that is too large for its heap: a kernel that
//! is decompressed, the list of a new domain's frames.

use abi::xen::DomainId;
use core::sync::atomic::Ordering;

use super::allocator::ADDRESS_BITS;
use super::extent::Block;
use super::reference::{Allocation, FrameRef};
use super::slot;
use crate::addr::{Mfn, PAGE_SIZE};
use crate::ram;

/// Contiguous frames that no `FrameRef` can name: their existence count is zero and they are on no
/// free list (FT-8). So `&mut Buffer` is exclusive access to their contents.
#[derive(Debug)]
pub struct Buffer {
    first: Mfn,
    frames: u64,
    length: usize,
}

impl Buffer {
    /// Allocates `length` zero bytes; `None` if there is no such run of free frames.
    pub fn new(length: usize) -> Option<Self> {
        let frames = u64::try_from(length.div_ceil(PAGE_SIZE)).ok()?;
        let mut buffer = Self { first: Mfn::new(0), frames: 0, length };
        if frames == 0 {
            return Some(buffer);
        }
        let order = u8::try_from(frames.checked_next_power_of_two()?.trailing_zeros()).ok()?;
        for allocation in Block::take(order, ADDRESS_BITS)?.give_to(DomainId::XEN) {
            // Frames beyond the last one needed are freed immediately.
            if buffer.frames < frames {
                buffer.take_in(allocation)?;
            }
        }
        Some(buffer)
    }

    /// Adds the next frame. Returns `None` if a reference to it was taken since its allocation.
    fn take_in(&mut self, allocation: Allocation) -> Option<()> {
        let refs = &slot::referenced(allocation.mfn()).refs;
        refs.compare_exchange(1, 0, Ordering::SeqCst, Ordering::SeqCst).ok()?;
        let mfn = allocation.into_reference().into_counted();
        if self.frames == 0 {
            self.first = mfn;
        }
        self.frames += 1;
        Some(())
    }

    /// The first frame. Its contents belong to this buffer.
    pub(super) const fn first_frame(&self) -> Mfn {
        self.first
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        if self.frames == 0 {
            return &[];
        }
        // SAFETY: the frames are contiguous, and so is the direct map. They are initialised (the
        // allocator clears them) and belong only to this buffer until it is dropped, so nothing
        // writes them while `self` is borrowed.
        unsafe { core::slice::from_raw_parts(ram::direct_map(self.first), self.length) }
    }

    /// The bytes, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        if self.frames == 0 {
            return &mut [];
        }
        // SAFETY: as in `as_slice`, and `&mut self` makes this the only access.
        unsafe { core::slice::from_raw_parts_mut(ram::direct_map(self.first), self.length) }
    }
}

#[cfg(target_os = "none")]
impl Buffer {
    /// The bytes, which are never freed.
    pub(crate) fn leak(self) -> &'static mut [u8] {
        let mut buffer = core::mem::ManuallyDrop::new(self);
        let bytes = buffer.as_mut_slice();
        // SAFETY: the frames stay allocated to this buffer, which is never dropped, and nothing
        // else refers to it.
        unsafe { core::slice::from_raw_parts_mut(bytes.as_mut_ptr(), bytes.len()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        for number in self.first.get()..self.first.get() + self.frames {
            let mfn = Mfn::new(number);
            let before = slot::referenced(mfn).refs.swap(1, Ordering::SeqCst);
            assert!(before == 0, "{mfn:?} of a buffer has {before} references");
            // SAFETY: no reference could name the frame (FT-8). Its count was just set to one, and
            // is released here.
            drop(unsafe { FrameRef::from_counted(mfn) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::free_frames;

    #[test]
    fn a_buffer_is_clear_and_unreachable_and_is_freed() {
        crate::hosted::start(1024);
        let free = free_frames();
        let length = 5 * PAGE_SIZE + 1;
        let mut buffer = Buffer::new(length).unwrap();
        assert_eq!(free_frames(), free - 6);
        assert!(buffer.as_slice() == [0; 5 * PAGE_SIZE + 1]);
        buffer.as_mut_slice().fill(7);
        for number in 0..6 {
            assert_eq!(FrameRef::get_any(Mfn::new(buffer.first.get() + number)), None);
        }
        drop(buffer);
        assert_eq!(free_frames(), free);
        assert!(Buffer::new(length).unwrap().as_slice() == [0; 5 * PAGE_SIZE + 1]);
        assert!(Buffer::new(2 * 1024 * PAGE_SIZE).is_none() && Buffer::new(usize::MAX).is_none());
        assert!(Buffer::new(0).unwrap().as_slice().is_empty());
        assert_eq!(free_frames(), free);
    }
}
