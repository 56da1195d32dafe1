//! One direction of a byte ring in a page that a guest shares. The guest writes both indices and the bytes, at any time: each
//! is read once, and indices that contradict each other are reported, never followed.

use core::sync::atomic::Ordering;

use machine::frames::SharedPage;
use machine::integers::low_u32;

/// Where a ring lies in its page. Its indices run freely; its size is a power of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteRing {
    /// Offset of the bytes.
    pub(crate) data: usize,
    /// How many bytes there are.
    pub(crate) size: u32,
    /// Offset of the index of the next byte to be taken.
    pub(crate) consumer: usize,
    /// Offset of the index of the next byte to be put.
    pub(crate) producer: usize,
}

/// The indices say that the ring holds more than it has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Corrupt;

impl ByteRing {
    /// How many bytes wait to be taken.
    pub(crate) fn used(&self, page: &SharedPage) -> Result<u32, Corrupt> {
        self.indices(page).map(|(_, used)| used)
    }

    /// Takes bytes out, as many as there are and fit.
    pub(crate) fn take(&self, page: &SharedPage, to: &mut [u8]) -> Result<usize, Corrupt> {
        let (consumer, used) = self.indices(page)?;
        let length = to.len().min(used as usize);
        let to = to.get_mut(..length).unwrap_or_default();
        let (first, second) = to.split_at_mut(self.until_wrap(consumer, length));
        page.frame().copy_out(self.data + self.offset(consumer), first);
        page.frame().copy_out(self.data, second);
        page.atomic_u32(self.consumer).store(consumer.wrapping_add(low_u32(length as u64)), Ordering::SeqCst);
        Ok(length)
    }

    /// Puts bytes in, as many as there is room for.
    pub(crate) fn put(&self, page: &SharedPage, from: &[u8]) -> Result<usize, Corrupt> {
        let (consumer, used) = self.indices(page)?;
        let producer = consumer.wrapping_add(used);
        let length = from.len().min((self.size - used) as usize);
        let from = from.get(..length).unwrap_or_default();
        let (first, second) = from.split_at(self.until_wrap(producer, length));
        page.writable().copy_in(self.data + self.offset(producer), first);
        page.writable().copy_in(self.data, second);
        page.atomic_u32(self.producer).store(producer.wrapping_add(low_u32(length as u64)), Ordering::SeqCst);
        Ok(length)
    }

    /// The consumer's index and the bytes between the two indices.
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
