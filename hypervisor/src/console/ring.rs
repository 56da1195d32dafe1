//! One direction of a byte ring in a page that is shared with a guest.
//!
//! The guest can write both indices and the bytes at any time. Each index is read once per
//! operation. Contradictory indices are reported and not used.

use core::sync::atomic::Ordering;

use machine::frames::SharedPage;
use machine::integers::low_u32;
use machine::speculation::MaskedIndex;

/// The layout of a ring in its page. The indices are free-running, and the size is a power of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteRing {
    /// Offset of the bytes.
    pub(crate) data: usize,
    /// Size in bytes.
    pub(crate) size: u32,
    /// Offset of the index of the next byte to read.
    pub(crate) consumer: usize,
    /// Offset of the index of the next byte to write.
    pub(crate) producer: usize,
}

/// The indices imply more bytes than the ring can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Corrupt;

impl ByteRing {
    /// The number of bytes that can be read.
    pub(crate) fn used(&self, page: &SharedPage) -> Result<u32, Corrupt> {
        self.indices(page).map(|(_, used)| used)
    }

    /// Reads bytes from the ring, up to the length of `to`. Returns the number of bytes.
    pub(crate) fn take(&self, page: &SharedPage, to: &mut [u8]) -> Result<usize, Corrupt> {
        let (consumer, used) = self.indices(page)?;
        let length = to.len().min(used as usize);
        let to = to.part_mut(..length).unwrap_or_default();
        let [first, second] = to.divide_mut(self.until_wrap(consumer, length)).unwrap_or_default();
        page.frame().copy_out(self.data + self.offset(consumer), first);
        page.frame().copy_out(self.data, second);
        page.atomic_u32(self.consumer).store(consumer.wrapping_add(low_u32(length as u64)), Ordering::SeqCst);
        Ok(length)
    }

    /// Writes bytes to the ring until it is full. Returns the number of bytes.
    pub(crate) fn put(&self, page: &SharedPage, from: &[u8]) -> Result<usize, Corrupt> {
        let (consumer, used) = self.indices(page)?;
        let producer = consumer.wrapping_add(used);
        let length = from.len().min((self.size - used) as usize);
        let from = from.part(..length).unwrap_or_default();
        let [first, second] = from.divide(self.until_wrap(producer, length)).unwrap_or_default();
        page.writable().copy_in(self.data + self.offset(producer), first);
        page.writable().copy_in(self.data, second);
        page.atomic_u32(self.producer).store(producer.wrapping_add(low_u32(length as u64)), Ordering::SeqCst);
        Ok(length)
    }

    /// The consumer index and the number of bytes between the two indices.
    fn indices(&self, page: &SharedPage) -> Result<(u32, u32), Corrupt> {
        let consumer = page.atomic_u32(self.consumer).load(Ordering::SeqCst);
        let producer = page.atomic_u32(self.producer).load(Ordering::SeqCst);
        let used = producer.wrapping_sub(consumer);
        if used <= self.size { Ok((consumer, used)) } else { Err(Corrupt) }
    }

    const fn offset(&self, index: u32) -> usize {
        (index & (self.size - 1)) as usize
    }

    fn until_wrap(&self, index: u32, length: usize) -> usize {
        length.min(self.size as usize - self.offset(index))
    }
}
