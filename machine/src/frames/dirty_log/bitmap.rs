//! One bit for each page number of a domain.

use super::chunks::Chunks;
use crate::addr::Pfn;
use crate::integers::to_usize;

/// Words that are added at once: a page.
const GROWTH: u64 = 512;

/// A bitmap, which is complete when it has memory for all of its pages.
#[derive(Debug)]
pub(super) struct Bitmap {
    pages: u64,
    words: Chunks<u64>,
    set: u64,
}

impl Bitmap {
    /// A bitmap for the numbers below `pages`, without memory.
    pub(super) const fn of(pages: u64) -> Self {
        Self { pages, words: Chunks::new(), set: 0 }
    }

    /// The number of words of the complete bitmap.
    pub(super) const fn words(&self) -> u64 {
        self.pages.div_ceil(64)
    }

    /// Whether it has memory for all of its pages.
    pub(super) fn is_complete(&self) -> bool {
        self.words.len() as u64 >= self.words()
    }

    /// Adds memory for more pages.
    pub(super) fn grow(&mut self) {
        let missing = self.words() - self.words.len() as u64;
        (0..missing.min(GROWTH)).for_each(|_| self.words.push(0));
    }

    /// The number of pages.
    pub(super) const fn pages(&self) -> u64 {
        self.pages
    }

    /// The number of bits that are set.
    pub(super) const fn count(&self) -> u64 {
        self.set
    }

    /// Whether the page has a bit.
    pub(super) const fn covers(&self, page: Pfn) -> bool {
        page.get() < self.pages
    }

    /// Whether the page's bit is set.
    pub(super) fn is_set(&self, page: Pfn) -> bool {
        self.word(page.get() / 64) >> (page.get() % 64) & 1 != 0
    }

    /// Sets the page's bit, if it has one.
    pub(super) fn set(&mut self, page: Pfn) {
        if self.covers(page) {
            self.add_word(page.get() / 64, 1 << (page.get() % 64));
        }
    }

    /// The bits of 64 pages; zero beyond the last.
    pub(super) fn word(&self, index: u64) -> u64 {
        self.words.get(to_usize(index)).copied().unwrap_or(0)
    }

    /// Sets bits of 64 pages.
    pub(super) fn add_word(&mut self, index: u64, bits: u64) {
        if let Some(word) = self.words.get_mut(to_usize(index)) {
            self.set += u64::from((bits & !*word).count_ones());
            *word |= bits;
        }
    }

    /// Clears the bits of 64 pages and returns them.
    pub(super) fn take_word(&mut self, index: u64) -> u64 {
        let bits = self.words.get_mut(to_usize(index)).map_or(0, core::mem::take);
        self.set -= u64::from(bits.count_ones());
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_and_taken() {
        let mut bitmap = Bitmap::of(40_000);
        while !bitmap.is_complete() {
            bitmap.grow();
        }
        for page in [0, 63, 64, 39_999, 63, 40_000, u64::MAX] {
            bitmap.set(Pfn::new(page));
        }
        assert_eq!(bitmap.count(), 4);
        assert!(bitmap.is_set(Pfn::new(39_999)) && !bitmap.is_set(Pfn::new(1)) && !bitmap.is_set(Pfn::new(40_000)));
        assert_eq!((bitmap.take_word(0), bitmap.word(0), bitmap.count()), (1 | 1 << 63, 0, 2));
        bitmap.add_word(1, 3);
        assert_eq!(bitmap.count(), 3);
        assert_eq!((bitmap.take_word(1), bitmap.take_word(700), bitmap.count()), (3, 0, 1));
    }
}
