#![expect(unsafe_code, reason = "a mask in assembly, which the compiler cannot turn into a branch")]
//! Indices that stay in bounds during speculation (Spectre v1).
//!
//! A processor may run ahead past a bounds check whose outcome it predicted wrongly. What it reads
//! there leaves traces in the caches, so a guest that chooses the index reads Paravane's memory.
//! Here the index depends on the comparison by data flow as well: on the wrong path it is zero. No
//! prediction is involved, and no later instruction can be executed with another index.
//!
//! The crates `hypervisor` and `machine` take elements of slices by these functions only, where the
//! index is not a constant: Clippy refuses `slice::get` and brackets there (`clippy.toml`).

use core::ops::{Bound, RangeBounds};

/// All ones if `index` is below `length`, otherwise zero, without a branch.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn mask_below(index: usize, length: usize) -> usize {
    let mask;
    // SAFETY: the instructions change only the output and the flags.
    unsafe {
        core::arch::asm!(
            "cmp {index}, {length}",
            "sbb {mask}, {mask}",
            index = in(reg) index,
            length = in(reg) length,
            mask = lateout(reg) mask,
            options(pure, nomem, nostack),
        );
    }
    mask
}

/// All ones if `index` is below `length`, otherwise zero.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn mask_below(index: usize, length: usize) -> usize {
    plain_mask_below(index, length)
}

/// The mask by plain arithmetic, for tests and for processors on which only tests run.
#[cfg(any(test, not(all(target_arch = "x86_64", not(miri)))))]
fn plain_mask_below(index: usize, length: usize) -> usize {
    usize::from(core::hint::black_box(index) < core::hint::black_box(length)).wrapping_neg()
}

/// The index, if it is below `length`. On a mispredicted path it is zero if it is not.
#[inline]
pub fn bounded(index: usize, length: usize) -> Option<usize> {
    if index < length { Some(index & mask_below(index, length)) } else { None }
}

/// The number, which is at most `limit` where this code is reached. On a mispredicted path it is
/// zero if it is not.
///
/// This is for numbers whose range has been checked before, by a comparison that the processor may
/// have predicted wrongly.
#[inline]
pub fn at_most(number: usize, limit: usize) -> usize {
    number & !mask_below(limit, number)
}

/// The lower bits of a number, computed even if the compiler knows that it has no others.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(crate) fn low_bits<const MASK: u32>(number: usize) -> usize {
    const { assert!(MASK <= i32::MAX as u32, "the instruction extends the sign") };
    let mut masked = number;
    // SAFETY: the instruction changes only the output and the flags.
    unsafe { core::arch::asm!("and {0}, {1}", inlateout(reg) masked, const MASK, options(pure, nomem, nostack)) };
    masked
}

/// The lower bits of a number.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn low_bits<const MASK: u32>(number: usize) -> usize {
    core::hint::black_box(number) & MASK as usize
}

/// `wanted` if the numbers are equal, otherwise `other`, without a branch.
///
/// This is for a reference to something that may be used only if a check succeeds: on a
/// mispredicted path, on which it has failed, nothing of it is read.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(crate) fn if_equal<'a, T>(a: u16, b: u16, wanted: &'a T, other: &'a T) -> &'a T {
    let mut chosen = core::ptr::from_ref(wanted);
    // SAFETY: the instructions change only the output and the flags.
    unsafe {
        core::arch::asm!(
            "cmp {a:x}, {b:x}",
            "cmovne {chosen}, {other}",
            a = in(reg) a,
            b = in(reg) b,
            other = in(reg) core::ptr::from_ref(other),
            chosen = inlateout(reg) chosen,
            options(pure, readonly, nostack),
        );
    }
    // SAFETY: the pointer is that of one of the two references.
    unsafe { &*chosen }
}

/// `wanted` if the numbers are equal, otherwise `other`.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn if_equal<'a, T>(a: u16, b: u16, wanted: &'a T, other: &'a T) -> &'a T {
    if core::hint::black_box(a) == core::hint::black_box(b) { wanted } else { other }
}

/// The number, or zero if its bits from `SHIFT` on are `UPPER`, without a branch.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only the bare machine has such addresses"))]
#[inline(always)]
pub(crate) fn unless_upper_bits<const SHIFT: u32, const UPPER: u64>(number: u64) -> u64 {
    const { assert!(SHIFT >= 33 && UPPER < 1 << (64 - SHIFT), "the instruction compares 31 bits") };
    let mut masked = number;
    // SAFETY: the instructions change only the outputs and the flags.
    unsafe {
        core::arch::asm!(
            "mov {upper}, {masked}",
            "shr {upper}, {shift}",
            "cmp {upper:e}, {value}",
            "cmove {masked}, {zero}",
            upper = out(reg) _,
            masked = inout(reg) masked,
            zero = in(reg) 0_u64,
            shift = const SHIFT,
            value = const UPPER,
            options(pure, nomem, nostack),
        );
    }
    masked
}

/// The number, or zero if its bits from `SHIFT` on are `UPPER`.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only the bare machine has such addresses"))]
pub(crate) fn unless_upper_bits<const SHIFT: u32, const UPPER: u64>(number: u64) -> u64 {
    if core::hint::black_box(number) >> SHIFT == UPPER { 0 } else { number }
}

/// Waits until all earlier instructions are complete. No later one is executed on a mispredicted
/// path of an earlier branch: for a check after which no index can be masked, such as that of a
/// caller's privilege.
#[inline(always)]
pub fn fence() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction only waits. It is a barrier for the compiler too.
    unsafe {
        core::arch::asm!("lfence", options(nostack, preserves_flags));
    }
}

/// Elements and parts of a slice by an index that a guest may have chosen.
pub trait MaskedIndex {
    /// The type of the elements.
    type Element;

    /// The element at `index`; `None` beyond the end. On a mispredicted path it is the first one.
    fn masked(&self, index: usize) -> Option<&Self::Element>;

    /// The element at `index`, for a change.
    fn masked_mut(&mut self, index: usize) -> Option<&mut Self::Element>;

    /// The elements in `range`; `None` if it is not in the slice. On a mispredicted path it is
    /// empty.
    fn part(&self, range: impl RangeBounds<usize>) -> Option<&[Self::Element]>;

    /// The elements in `range`, for a change.
    fn part_mut(&mut self, range: impl RangeBounds<usize>) -> Option<&mut [Self::Element]>;

    /// The first `length` elements and those after them; `None` if there are fewer.
    fn divide(&self, length: usize) -> Option<[&[Self::Element]; 2]>;

    /// The first `length` elements and those after them, for a change.
    fn divide_mut(&mut self, length: usize) -> Option<[&mut [Self::Element]; 2]>;
}

/// Start and end of a range in `length` elements. On a mispredicted path both are at most `length`,
/// and the start at most the end.
#[inline]
fn bounds(range: &impl RangeBounds<usize>, length: usize) -> Option<(usize, usize)> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.checked_add(1)?,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => length,
    };
    if start > end || end > length {
        return None;
    }
    let end = if let Bound::Unbounded = range.end_bound() { end } else { at_most(end, length) };
    let start = if let Bound::Unbounded = range.start_bound() { start } else { at_most(start, end) };
    Some((start, end))
}

impl<T> MaskedIndex for [T] {
    type Element = T;

    #[inline]
    fn masked(&self, index: usize) -> Option<&T> {
        let index = bounded(index, self.len())?;
        // SAFETY: `bounded` returns an index below the length.
        Some(unsafe { self.get_unchecked(index) })
    }

    #[inline]
    fn masked_mut(&mut self, index: usize) -> Option<&mut T> {
        let index = bounded(index, self.len())?;
        // SAFETY: as in `masked`.
        Some(unsafe { self.get_unchecked_mut(index) })
    }

    #[inline]
    fn part(&self, range: impl RangeBounds<usize>) -> Option<&[T]> {
        let (start, end) = bounds(&range, self.len())?;
        // SAFETY: `bounds` returns an end of at most the length, and a start of at most the end.
        Some(unsafe { self.get_unchecked(start..end) })
    }

    #[inline]
    fn part_mut(&mut self, range: impl RangeBounds<usize>) -> Option<&mut [T]> {
        let (start, end) = bounds(&range, self.len())?;
        // SAFETY: as in `part`.
        Some(unsafe { self.get_unchecked_mut(start..end) })
    }

    #[inline]
    #[expect(clippy::disallowed_methods, reason = "the length is masked")]
    fn divide(&self, length: usize) -> Option<[&[T]; 2]> {
        let (_, middle) = bounds(&(..length), self.len())?;
        self.split_at_checked(middle).map(Into::into)
    }

    #[inline]
    #[expect(clippy::disallowed_methods, reason = "the length is masked")]
    fn divide_mut(&mut self, length: usize) -> Option<[&mut [T]; 2]> {
        let (_, middle) = bounds(&(..length), self.len())?;
        self.split_at_mut_checked(middle).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers near the ends of the range and near each other.
    fn number() -> impl Strategy<Value = usize> {
        prop_oneof![0..20_usize, (usize::MAX - 20)..=usize::MAX, (1_usize << 63) - 10..(1 << 63) + 10, any::<usize>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 20 } else { 4096 }))]

        #[test]
        fn a_mask_in_assembly_equals_the_plain_one(index in number(), length in number()) {
            prop_assert_eq!(mask_below(index, length), plain_mask_below(index, length));
            prop_assert_eq!(mask_below(index, length), if index < length { usize::MAX } else { 0 });
        }

        #[test]
        fn an_index_in_bounds_is_itself_and_others_are_none(index in number(), length in number()) {
            prop_assert_eq!(bounded(index, length), (index < length).then_some(index));
        }

        #[test]
        fn a_number_up_to_the_limit_is_itself_and_others_are_zero(number in number(), limit in number()) {
            prop_assert_eq!(at_most(number, limit), if number <= limit { number } else { 0 });
        }

        #[test]
        fn lower_bits_are_the_remainder(number in number()) {
            prop_assert_eq!(low_bits::<4095>(number), number % 4096);
            prop_assert_eq!(low_bits::<63>(number), number % 64);
        }

        #[test]
        fn a_reference_depends_on_the_comparison(a in 0..4_u16, b in 0..4_u16) {
            let (wanted, other) = (1, 2);
            prop_assert_eq!(*if_equal(a, b, &wanted, &other), if a == b { wanted } else { other });
        }

        #[test]
        fn a_number_with_these_upper_bits_becomes_zero(low: u64, upper in 0x1f_fff0_u64 - 2..0x1f_fff0 + 2) {
            let number = low >> 21 | upper << 43;
            let expected = if upper == 0x1f_fff0 { 0 } else { number };
            prop_assert_eq!(unless_upper_bits::<43, 0x1f_fff0>(number), expected);
        }

        #[test]
        fn elements_and_parts_are_those_of_the_slice(length in 0..12_usize, start in number(), end in number()) {
            let mut list: [usize; 12] = core::array::from_fn(|index| index);
            let list = &mut list[..length];
            prop_assert_eq!(list.masked(start), list.get(start));
            prop_assert_eq!(list.part(start..end), list.get(start..end));
            prop_assert_eq!(list.part(start..=end), list.get(start..=end));
            prop_assert_eq!(list.part(start..), list.get(start..));
            prop_assert_eq!(list.part(..end), list.get(..end));
            prop_assert_eq!(list.part(..=end), list.get(..=end));
            prop_assert_eq!(list.part(..), Some(&*list));
            prop_assert_eq!(list.masked_mut(start).copied(), list.get(start).copied());
            prop_assert_eq!(list.divide(start), list.split_at_checked(start).map(Into::into));
            let divided = list.split_at_checked(start).map(|(first, rest)| [first.to_vec(), rest.to_vec()]);
            prop_assert_eq!(list.divide_mut(start).map(|parts| parts.map(|part| part.to_vec())), divided);
            let part = list.get(start..end).map(<[usize]>::to_vec);
            prop_assert_eq!(list.part_mut(start..end).map(|part| part.to_vec()), part);
        }
    }

    #[test]
    fn the_fence_can_be_executed() {
        fence();
    }
}
