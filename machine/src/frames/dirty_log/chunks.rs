//! A list that grows by parts of a page, so that it needs no contiguous memory and no copying.

use alloc::vec::Vec;

use crate::speculation::MaskedIndex;

/// Bytes of a part, at most.
const PART: usize = 4096;

/// A list of `T` in parts of at most 4096 bytes.
#[derive(Debug)]
pub(super) struct Chunks<T> {
    parts: Vec<Vec<T>>,
}

impl<T> Chunks<T> {
    const LENGTH: usize = PART / size_of::<T>();

    pub(super) const fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// The number of elements.
    pub(super) fn len(&self) -> usize {
        let last = self.parts.last().map_or(0, Vec::len);
        self.parts.len().saturating_sub(1) * Self::LENGTH + last
    }

    /// Adds an element.
    pub(super) fn push(&mut self, element: T) {
        match self.parts.last_mut() {
            Some(last) if last.len() < Self::LENGTH => last.push(element),
            _ => {
                let mut part = Vec::with_capacity(Self::LENGTH);
                part.push(element);
                self.parts.push(part);
            }
        }
    }

    /// Removes the last element.
    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.parts.last_mut()?;
        let element = last.pop();
        if last.is_empty() {
            self.parts.pop();
        }
        element
    }

    /// The element at `index`.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.parts.masked(index / Self::LENGTH)?.masked(index % Self::LENGTH)
    }

    /// The element at `index`, mutable.
    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.parts.masked_mut(index / Self::LENGTH)?.masked_mut(index % Self::LENGTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_across_parts() {
        let mut list = Chunks::new();
        assert_eq!((list.len(), list.pop(), list.get(0)), (0, None, None));
        for number in 0..1500_u64 {
            list.push(number);
            assert_eq!(list.len() as u64, number + 1);
        }
        assert!((0..1500).all(|number| list.get(number as usize) == Some(&number)));
        *list.get_mut(700).unwrap() = 9;
        assert_eq!((list.get(700), list.get(1500)), (Some(&9), None));
        assert_eq!(list.get_mut(1500), None);
        assert!((701..1500).rev().all(|number| list.pop() == Some(number)));
        assert_eq!((list.pop(), list.len()), (Some(9), 700));
    }
}
