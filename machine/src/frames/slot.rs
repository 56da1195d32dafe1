#![expect(unsafe_code, reason = "the frame table is an array at an address that boot has mapped")]
//! One slot of the frame table and the word that holds a frame's kind.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use abi::xen::DomainId;

use super::reference::MAX_GUEST_REFERENCES;
use super::{dirty_log, owner};
use crate::addr::Mfn;
use crate::integers::{low_u32, to_usize};
use crate::ram;
use crate::speculation;
use crate::tlb::clock as tlb_clock;

/// End of a list of frames.
pub(super) const NO_FRAME: u32 = u32::MAX;

/// The use of a machine frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum KindCode {
    /// No particular use; read-only mappings only.
    None = 0,
    /// Mapped writable by a guest, or shared between a guest and Paravane.
    Writable = 1,
    /// Page table of level 1 (its entries map pages).
    L1 = 2,
    /// Page table of level 2.
    L2 = 3,
    /// Page table of level 3.
    L3 = 4,
    /// Page table of level 4: a root.
    L4 = 5,
    /// Segment descriptors (a page of a GDT or LDT).
    Descriptor = 6,
    /// Readable by guests, written only by Paravane.
    SharedReadOnly = 7,
}

impl KindCode {
    /// The level of a page-table kind, 1 to 4.
    pub(super) const fn table_level(self) -> Option<u8> {
        match self {
            Self::L1 => Some(1),
            Self::L2 => Some(2),
            Self::L3 => Some(3),
            Self::L4 => Some(4),
            _ => None,
        }
    }

    /// Whether the contents of a frame of this kind have been validated.
    pub(super) const fn has_contents(self) -> bool {
        self.table_level().is_some() || matches!(self, Self::Descriptor)
    }

    const fn from_bits(bits: u64) -> Self {
        match bits & 7 {
            0 => Self::None,
            1 => Self::Writable,
            2 => Self::L1,
            3 => Self::L2,
            4 => Self::L3,
            5 => Self::L4,
            6 => Self::Descriptor,
            _ => Self::SharedReadOnly,
        }
    }
}

/// The state of a frame's use, unpacked from its word.
///
/// Bits: 0-31 use count, 32-34 kind, 36 busy, 37 pinned, 38 queued, 39 shared, 40 shared for
/// writing, 41 written by the host, 48-57 progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Use {
    pub(super) count: u32,
    pub(super) kind: KindCode,
    /// A thread is validating or tearing down the frame.
    pub(super) busy: bool,
    /// One of the uses is the owner's pin.
    pub(super) pinned: bool,
    /// In its owner's teardown queue.
    pub(super) queued: bool,
    /// A table of a domain other than the owner has mapped it since it was allocated (TC-3).
    pub(super) shared: bool,
    /// Such a table has mapped it writable, and the flush that clears this mark has not happened
    /// (TC-4).
    pub(super) shared_writable: bool,
    /// Paravane has shared the page with the guest, and writes to it at any time.
    pub(super) written_by_host: bool,
    /// Entries `[0, progress)` own references (FT-5).
    pub(super) progress: u16,
}

/// The amount by which one use changes the word.
const ONE_USE: u64 = 1;
const COUNT_MASK: u64 = 0xffff_ffff;
const BUSY: u64 = 1 << 36;
const SHARED: u64 = 1 << 39;
const SHARED_WRITABLE: u64 = 1 << 40;
const WRITTEN_BY_HOST: u64 = 1 << 41;
/// The bits of counts from `MAX_GUEST_REFERENCES` on.
const TOO_MANY_MASK: u64 = COUNT_MASK & !(MAX_GUEST_REFERENCES as u64 - 1);
const _: () = assert!(MAX_GUEST_REFERENCES.is_power_of_two(), "one mask test checks a count");
/// The bits that decide whether a frame can be used as a kind without further work: kind, busy,
/// progress.
const FINAL_MASK: u64 = 7 << 32 | BUSY | 0x3ff << 48;

impl Use {
    pub(super) const NONE: Self = Self::unpack(0);

    /// Whether entries of the frame own references. (A validated page of descriptors owns nothing.)
    pub(super) const fn owns_entries(self) -> bool {
        self.kind.table_level().is_some() && self.progress != 0
    }

    const fn unpack(word: u64) -> Self {
        Self {
            count: low_u32(word),
            kind: KindCode::from_bits(word >> 32),
            busy: word & 1 << 36 != 0,
            pinned: word & 1 << 37 != 0,
            queued: word & 1 << 38 != 0,
            shared: word & SHARED != 0,
            shared_writable: word & SHARED_WRITABLE != 0,
            written_by_host: word & WRITTEN_BY_HOST != 0,
            progress: ((word >> 48) & 0x3ff) as u16,
        }
    }

    const fn pack(self) -> u64 {
        self.count as u64
            | (self.kind as u64) << 32
            | (self.busy as u64) << 36
            | (self.pinned as u64) << 37
            | (self.queued as u64) << 38
            | (self.shared as u64) << 39
            | (self.shared_writable as u64) << 40
            | (self.written_by_host as u64) << 41
            | (self.progress as u64) << 48
    }
}

/// One slot of the frame table.
#[repr(C, align(32))]
pub(super) struct Slot {
    /// Existence count (FT-1); zero while free.
    pub(super) refs: AtomicU32,
    /// The domain that owns the frame. Valid and constant while `refs` is above zero.
    pub(super) owner: AtomicU16,
    /// Allocator state: `FREE_HEAD | order` on the first frame of a free block.
    pub(super) block: AtomicU16,
    use_word: AtomicU64,
    /// TLB clock at the end of the last use, or at the last free.
    pub(super) stamp: AtomicU32,
    /// Links of the list that the frame is on: its owner's, or a free list.
    pub(super) next: AtomicU32,
    pub(super) previous: AtomicU32,
    /// Link of the teardown queue.
    pub(super) queue_next: AtomicU32,
}

const _: () = assert!(size_of::<Slot>() == ram::FRAME_SLOT_SIZE);

impl Slot {
    /// The number of this slot's frame.
    #[inline]
    pub(super) fn mfn(&self) -> Mfn {
        let offset = core::ptr::from_ref(self).addr() - ram::frame_table().addr();
        Mfn::new((offset / size_of::<Self>()) as u64)
    }

    pub(super) fn usage(&self) -> Use {
        Use::unpack(self.use_word.load(Ordering::SeqCst))
    }

    /// Fast path of acquiring: adds a use to a frame that is in use as `kind`, without unpacking
    /// the word. With `first`, it also accepts a frame of that kind without a use. Returns `false`
    /// without a change in every other case, and when another CPU changes the word concurrently.
    #[inline]
    pub(super) fn add_use(&self, kind: KindCode, first: bool) -> bool {
        let progress = if kind.has_contents() { u64::from(super::transition::ENTRIES) } else { 0 };
        let expected = (kind as u64) << 32 | progress << 48;
        let word = self.use_word.load(Ordering::SeqCst);
        let count = word & COUNT_MASK;
        word & (FINAL_MASK | TOO_MANY_MASK) == expected
            && (first || count != 0)
            && self.use_word.compare_exchange(word, word + ONE_USE, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Fast path of releasing: removes one use, unless it is the last use of a table. Returns
    /// `false` without a change in that case, if there is no use, or when another CPU changes the
    /// word concurrently.
    #[inline]
    pub(super) fn take_use(&self) -> bool {
        let word = self.use_word.load(Ordering::SeqCst);
        match word & COUNT_MASK {
            0 => return false,
            1 if word & (0x3ff << 48) != 0 => return false,
            _ => {}
        }
        self.raise_stamp();
        self.use_word.compare_exchange(word, word - ONE_USE, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Records the clock for a use that is about to end, whose mapping has been removed. Every use
    /// does so, not only the last one. The thread that ends the last use may have read the clock
    /// long before it decrements the count. Uses that begin and end in between are invisible to it,
    /// since it compares only their number. With the stamp raised by each of them, a CPU that finds
    /// the count at zero also finds a stamp that demands a flush of every translation that could
    /// still exist.
    ///
    /// The stamp never decreases: the clock is read after the stamp that it replaces.
    #[inline]
    pub(super) fn raise_stamp(&self) {
        loop {
            let stamp = self.stamp.load(Ordering::SeqCst);
            let now = tlb_clock::now();
            if stamp == now || self.stamp.compare_exchange(stamp, now, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return;
            }
        }
    }

    /// Records that a table of another domain is about to map the frame.
    pub(super) fn mark_shared(&self, writable: bool) {
        let marks = if writable { SHARED | SHARED_WRITABLE } else { SHARED };
        // Setting the marks once is enough. `SHARED` is cleared only when no reference to the frame
        // is left, and the caller holds one. `SHARED_WRITABLE` is cleared only while there is no
        // use as writable memory, and for a writable entry the caller holds one.
        if self.use_word.load(Ordering::SeqCst) & marks != marks {
            self.use_word.fetch_or(marks, Ordering::SeqCst);
        }
        if writable {
            dirty_log::hold(self);
        }
    }

    /// Records that Paravane shares the page with its guest. The caller holds a use as writable
    /// memory, and a change of kind from that clears the mark.
    pub(super) fn mark_written_by_host(&self) {
        self.use_word.fetch_or(WRITTEN_BY_HOST, Ordering::SeqCst);
        dirty_log::hold(self);
    }

    /// Returns when no CPU holds a translation of the frame that is older than the end of its last
    /// use. For a change of owner: the new owner's data must not be readable either.
    pub(super) fn ensure_flushed(&self) {
        self.flush_stale(self.usage().shared);
        #[cfg(not(target_os = "none"))]
        super::reach::check_flushed(self);
    }

    /// Returns when no CPU holds a translation from the frame's ended use as `from` that is harmful
    /// in its next use: one that is writable, or one that was made by walking the frame as a table.
    /// Only the owner has the latter. The caller has set BUSY, and clears the mark
    /// `shared_writable` afterwards.
    pub(super) fn ensure_flushed_of(&self, from: KindCode) {
        let usage = self.usage();
        self.flush_stale(from == KindCode::Writable && usage.shared_writable);
        #[cfg(not(target_os = "none"))]
        super::reach::check_flushed_of(self, from);
    }

    fn flush_stale(&self, shared: bool) {
        let owner = DomainId(self.owner.load(Ordering::SeqCst));
        let may_map = |holder| holder == owner || shared && owner::maps_others(holder);
        tlb_clock::ensure_flushed_since(self.stamp.load(Ordering::SeqCst), may_map);
    }

    /// Replaces `from` by `to` if nothing has changed; otherwise returns the current state.
    pub(super) fn exchange_usage(&self, from: Use, to: Use) -> Result<(), Use> {
        self.use_word
            .compare_exchange(from.pack(), to.pack(), Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
            .map_err(Use::unpack)
    }

    /// Applies `change` until the exchange succeeds. If `change` returns `None`, the word is not
    /// changed. Returns the state before.
    pub(super) fn update_usage(&self, mut change: impl FnMut(Use) -> Option<Use>) -> Result<Use, Use> {
        let mut current = self.usage();
        loop {
            let Some(next) = change(current) else { return Err(current) };
            match self.exchange_usage(current, next) {
                Ok(()) => return Ok(current),
                Err(found) => current = found,
            }
        }
    }
}

/// The slot of a frame, if the frame table covers it. The number is masked, so a reference, which
/// holds a slot, needs no further mask.
#[inline]
pub(super) fn slot(mfn: Mfn) -> Option<&'static Slot> {
    let index = speculation::bounded(to_usize(mfn.get()), to_usize(ram::frame_count()))?;
    // SAFETY: boot has permanently mapped and zeroed `frame_count` slots at this address, and the
    // index is below that.
    Some(unsafe { &*ram::frame_table().cast::<Slot>().wrapping_add(index) })
}

/// The slot of a frame whose owner is `owner`. On a mispredicted path, on which another domain owns
/// the frame, it is the slot of frame 0.
#[inline]
pub(super) fn owned_slot(mfn: Mfn, owner: DomainId) -> Option<&'static Slot> {
    let slot = slot(mfn)?;
    let found = slot.owner.load(Ordering::SeqCst);
    if found != owner.0 {
        return None;
    }
    // SAFETY: as in `slot`; the number of a frame has been found below the end of the table, which
    // therefore has a slot 0.
    let other = unsafe { &*ram::frame_table().cast::<Slot>() };
    Some(speculation::if_equal(found, owner.0, slot, other))
}

/// The number of frames that the frame table covers.
pub fn table_size() -> u64 {
    ram::frame_count()
}

/// Whether the frame is RAM managed by the allocator, as opposed to a device, a hole, or Paravane's
/// own image.
#[inline]
pub fn is_ram(mfn: Mfn) -> bool {
    ram_slot(mfn).is_some()
}

/// The slot of a frame that is RAM.
#[inline]
pub(super) fn ram_slot(mfn: Mfn) -> Option<&'static Slot> {
    slot(mfn).filter(|slot| slot.block.load(Ordering::Relaxed) & super::allocator::RAM != 0)
}

/// The slot of a frame with a live reference.
#[inline]
pub(super) fn referenced(mfn: Mfn) -> &'static Slot {
    slot(mfn).expect("a reference names a frame beyond the frame table")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(usage: Use) -> Slot {
        Slot {
            refs: AtomicU32::new(1),
            owner: AtomicU16::new(0),
            block: AtomicU16::new(0),
            use_word: AtomicU64::new(usage.pack()),
            stamp: AtomicU32::new(0),
            next: AtomicU32::new(0),
            previous: AtomicU32::new(0),
            queue_next: AtomicU32::new(0),
        }
    }

    /// All relevant combinations of the parts.
    fn states() -> impl Iterator<Item = Use> {
        (0..8u64 * 3 * 8 * 4).map(|number| {
            let flag = |bit: u32| number >> (5 + bit) & 1 != 0;
            Use {
                kind: KindCode::from_bits(number & 7),
                count: [0, 1, 2, MAX_GUEST_REFERENCES][(number >> 3 & 3) as usize],
                busy: flag(0),
                pinned: flag(1),
                queued: flag(2),
                // Independent of the other flags.
                shared: (number / 256 + number) % 2 == 0,
                shared_writable: (number / 256 + number) % 4 == 0,
                written_by_host: (number / 256 + number) % 3 == 0,
                progress: [0, 300, 512][(number / 256 % 3) as usize],
            }
        })
    }

    #[test]
    fn a_frame_in_any_state_is_marked_as_shared() {
        for usage in states() {
            for writable in [false, true] {
                let slot = slot(usage);
                slot.mark_shared(writable);
                let shared_writable = usage.shared_writable || writable;
                assert_eq!(slot.usage(), Use { shared: true, shared_writable, ..usage });
            }
        }
    }

    #[test]
    fn adding_a_use_agrees_with_a_check_of_each_part() {
        for usage in states() {
            for bits in 0..8 {
                let kind = KindCode::from_bits(bits);
                for first in [false, true] {
                    let progress = if kind.has_contents() { 512 } else { 0 };
                    let due = usage.kind == kind
                        && !usage.busy
                        && usage.progress == progress
                        && (first || usage.count != 0)
                        && usage.count < MAX_GUEST_REFERENCES;
                    let slot = slot(usage);
                    assert_eq!(slot.add_use(kind, first), due, "{usage:?} as {kind:?}");
                    let count = usage.count + u32::from(due);
                    assert_eq!(slot.usage(), Use { count, ..usage });
                }
            }
        }
    }

    #[test]
    fn a_use_that_begins_and_ends_while_the_last_one_ends_raises_the_stamp() {
        let usage = Use { kind: KindCode::Writable, count: 1, ..Use::unpack(0) };
        let slot = slot(usage);
        // One CPU has read the clock and is about to decrement the count.
        slot.raise_stamp();
        let word = slot.use_word.load(Ordering::SeqCst);
        tlb_clock::advance();
        assert!(slot.add_use(KindCode::Writable, false) && slot.take_use(), "on another CPU");
        assert!(slot.use_word.compare_exchange(word, word - ONE_USE, Ordering::SeqCst, Ordering::SeqCst).is_ok());
        assert_eq!((slot.usage().count, slot.stamp.load(Ordering::SeqCst)), (0, tlb_clock::now()));
    }

    #[test]
    fn removing_a_use_fails_for_the_last_use_of_a_table() {
        for usage in states() {
            let due = usage.count > 1 || usage.count == 1 && usage.progress == 0;
            let slot = slot(usage);
            assert_eq!(slot.take_use(), due, "{usage:?}");
            assert_eq!(slot.usage(), Use { count: usage.count - u32::from(due), ..usage });
        }
    }
}
