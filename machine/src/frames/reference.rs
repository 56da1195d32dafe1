#![expect(unsafe_code, reason = "makes references from counts that somebody else held")]
//! References to frames as values: holding one is the proof that its count is held (FT-1, FT-2).

use core::marker::PhantomData;
use core::mem;
use core::sync::atomic::Ordering;

use abi::xen::DomainId;

use super::slot::{self, KindCode, Slot, Use};
use super::{allocator, owner, teardown};
use crate::addr::Mfn;

/// A use that a frame can be held in.
pub trait Kind: sealed::Sealed {
    /// The kind's code in the frame table.
    const CODE: KindCode;
}

/// A page-table kind.
pub trait Level: Kind {
    /// 1 for the tables that map pages, 4 for roots.
    const LEVEL: u8;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $(= $level:literal)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Kind for $name {
            const CODE: KindCode = KindCode::$name;
        }
        $(impl Level for $name {
            const LEVEL: u8 = $level;
        })?
    )*};
}

kinds! {
    /// Writable by its guest.
    Writable;
    /// Page table whose entries map pages.
    L1 = 1;
    /// Page table of level 2.
    L2 = 2;
    /// Page table of level 3.
    L3 = 3;
    /// Root page table.
    L4 = 4;
    /// Page of segment descriptors.
    Descriptor;
    /// Written by Paravane, read by guests.
    SharedReadOnly;
}

/// Upper bound on the references that a guest can take: it gets there with enough page tables that
/// map one frame. A power of two, so that the check is one mask test.
pub(super) const MOST: u32 = 1 << 30;
/// Upper bound on all references. The room above [`MOST`] is for those that Paravane adds to one
/// that it holds.
const LIMIT: u32 = 1 << 31;

/// There is no free frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl From<NoMemory> for abi::errno::Errno {
    fn from(_: NoMemory) -> Self {
        Self::ENOMEM
    }
}

/// One existence reference: while this value lives, the frame keeps its owner and is not given to
/// anybody else. It holds the frame's slot in the frame table, so that no lookup by number is
/// needed.
pub struct FrameRef {
    slot: &'static Slot,
}

impl FrameRef {
    /// A reference to the frame `mfn`, if `owner` owns it. `None` for frames that are free, of
    /// another owner, or not RAM.
    #[inline]
    pub fn get(mfn: Mfn, owner: DomainId) -> Option<Self> {
        let slot = slot::slot(mfn)?;
        // Checked first without a count, so that a guest cannot disturb the counts of frames that
        // it merely names.
        if slot.owner.load(Ordering::SeqCst) != owner.0 {
            return None;
        }
        let frame = Self::count_up(slot, MOST)?;
        (slot.owner.load(Ordering::SeqCst) == owner.0).then_some(frame)
    }

    /// A reference to the frame, of any owner; the caller's policy decides what it may be used for.
    pub fn get_any(mfn: Mfn) -> Option<Self> {
        Self::count_up(slot::slot(mfn)?, MOST)
    }

    /// A further reference, for Paravane's own use, to a frame that an entry held when it was read.
    /// `None` if the frame has become free.
    #[inline]
    pub(super) fn get_held(slot: &'static Slot) -> Option<Self> {
        Self::count_up(slot, LIMIT)
    }

    #[inline]
    fn count_up(slot: &'static Slot, limit: u32) -> Option<Self> {
        slot.refs
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |refs| (refs != 0 && refs < limit).then(|| refs + 1))
            .ok()?;
        Some(Self { slot })
    }

    /// Takes over a reference that is already counted: one that an entry, a list or a queue held.
    ///
    /// # Safety
    /// The caller must hold one existence count of the frame (FT-1) and give it up: nobody else may
    /// release it.
    pub(super) unsafe fn from_counted(mfn: Mfn) -> Self {
        Self { slot: slot::referenced(mfn) }
    }

    /// Takes over the reference of an entry that maps `mfn`. `None` if the frame is not RAM: such
    /// an entry owns nothing.
    ///
    /// # Safety
    /// The entry must own what its bits stand for (FT-5), and the caller must give that up.
    #[inline]
    pub(super) unsafe fn from_entry(mfn: Mfn) -> Option<Self> {
        slot::ram_slot(mfn).map(|slot| Self { slot })
    }

    /// Gives the count to something that is not a value: an entry's bits, a queue link, a pin.
    pub(super) fn into_counted(self) -> Mfn {
        let mfn = self.mfn();
        mem::forget(self);
        mfn
    }

    /// A second reference to the same frame.
    pub fn again(&self) -> Self {
        let before = self.slot().refs.fetch_add(1, Ordering::SeqCst);
        assert!(before < LIMIT, "too many references to {:?}", self.mfn());
        Self { slot: self.slot }
    }

    /// The frame's number.
    #[inline]
    pub fn mfn(&self) -> Mfn {
        self.slot.mfn()
    }

    /// The domain that owns the frame.
    pub fn owner(&self) -> DomainId {
        DomainId(self.slot().owner.load(Ordering::SeqCst))
    }

    /// The kind and use count of the frame at this moment. Another CPU may change both at any time.
    pub fn current_kind(&self) -> (KindCode, u32) {
        let usage = self.slot().usage();
        (usage.kind, usage.count)
    }

    /// Whether one of the frame's uses is its owner's pin, at this moment.
    pub fn is_pinned(&self) -> bool {
        self.slot().usage().pinned
    }

    /// Whether the frame is a page table at this moment.
    pub fn is_page_table(&self) -> bool {
        self.slot().usage().kind.table_level().is_some()
    }

    /// How many existence references there are at this moment; only a hint.
    pub fn count(&self) -> u32 {
        self.slot().refs.load(Ordering::SeqCst)
    }

    #[inline]
    pub(super) const fn slot(&self) -> &'static Slot {
        self.slot
    }
}

impl PartialEq for FrameRef {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.slot, other.slot)
    }
}

impl Eq for FrameRef {}

impl core::fmt::Debug for FrameRef {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("FrameRef").field(&self.mfn()).finish()
    }
}

impl Drop for FrameRef {
    #[inline]
    fn drop(&mut self) {
        let before = self.slot.refs.fetch_sub(1, Ordering::SeqCst);
        if before <= 1 {
            end(self.slot, before);
        }
    }
}

/// Frees a frame whose last reference has gone: there were `before`.
#[inline(never)]
fn end(slot: &'static Slot, before: u32) {
    let mfn = slot.mfn();
    assert!(before != 0, "reference count of {mfn:?} fell below zero");
    let usage = slot.usage();
    assert!(usage.count == 0 && !usage.owns_entries(), "{mfn:?} is freed while in use: {usage:?}");
    let last = owner::count_down(DomainId(slot.owner.load(Ordering::SeqCst)));
    allocator::free(mfn);
    if last {
        owner::note_owner_emptied();
    }
}

/// The reference that stands for "this frame is allocated to its owner". There is one per frame.
/// Dropping it gives the frame up, and the frame becomes free when the last other reference is
/// dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Allocation {
    frame: FrameRef,
}

impl Allocation {
    /// Makes a frame, just taken from the allocator, the property of `owner`.
    ///
    /// # Safety
    /// The frame must have been taken off the free lists by the caller (FT-8), and no translation
    /// of it may be cached anywhere.
    pub(super) unsafe fn new(mfn: Mfn, owner: DomainId) -> Self {
        let slot = slot::referenced(mfn);
        slot.owner.store(owner.0, Ordering::SeqCst);
        if let Some(owner) = owner::make(owner) {
            owner.count_up();
        }
        let before = slot.refs.swap(1, Ordering::SeqCst);
        assert!(before == 0, "{mfn:?} was allocated while referenced");
        // SAFETY: the count was zero and is one now, and this value takes it.
        Self { frame: unsafe { FrameRef::from_counted(mfn) } }
    }

    pub(super) const fn from_frame(frame: FrameRef) -> Self {
        Self { frame }
    }

    /// Gives the allocation up but keeps a reference: the frame becomes free when that and all
    /// others are gone.
    pub fn into_reference(self) -> FrameRef {
        self.frame
    }

    /// An ordinary reference to the same frame.
    pub fn reference(&self) -> FrameRef {
        self.frame.again()
    }

    /// The frame's number.
    pub fn mfn(&self) -> Mfn {
        self.frame.mfn()
    }

    /// The domain that the frame is allocated to.
    pub fn owner(&self) -> DomainId {
        self.frame.owner()
    }
}

/// A reference to a frame in its use as `K`: while it lives, the frame stays of that kind.
#[derive(Debug)]
pub struct TypedRef<K: Kind> {
    frame: FrameRef,
    kind: PhantomData<K>,
}

impl<K: Kind> TypedRef<K> {
    /// Takes over a use that is already counted.
    ///
    /// # Safety
    /// The caller must hold one use of the frame as `K` (FT-2) and give it up: nobody else may
    /// release it.
    pub(super) const unsafe fn from_counted(frame: FrameRef) -> Self {
        Self { frame, kind: PhantomData }
    }

    /// Gives both counts to an entry's bits.
    pub(super) fn into_counted(self) -> Mfn {
        let mfn = self.frame.mfn();
        mem::forget(self);
        mfn
    }

    /// A further use of a frame that is in use as `K` already; `None` if it is not.
    #[inline]
    pub fn existing(frame: FrameRef) -> Result<Self, FrameRef> {
        if frame.slot().add_use(K::CODE, false) {
            // SAFETY: the use was just added.
            return Ok(unsafe { Self::from_counted(frame) });
        }
        Self::another(frame, MOST)
    }

    #[inline(never)]
    fn another(frame: FrameRef, limit: u32) -> Result<Self, FrameRef> {
        let counted = frame.slot().update_usage(|usage| {
            (usage.kind == K::CODE && usage.count != 0 && usage.count < limit)
                .then(|| Use { count: usage.count + 1, ..usage })
        });
        match counted {
            // SAFETY: the use was just counted.
            Ok(_) => Ok(unsafe { Self::from_counted(frame) }),
            Err(_) => Err(frame),
        }
    }

    /// The frame's number.
    pub fn mfn(&self) -> Mfn {
        self.frame.mfn()
    }

    /// The underlying existence reference.
    pub const fn frame(&self) -> &FrameRef {
        &self.frame
    }

    /// A second typed reference to the same frame.
    pub fn again(&self) -> Self {
        Self::another(self.frame.again(), LIMIT).expect("a frame held as a kind is of that kind")
    }

    /// Turns this use into the frame's pin, which lasts until [`TypedRef::unpin`]. Hands the value
    /// back if it is pinned already.
    pub fn pin(self) -> Result<(), Self> {
        let pinned = self.frame.slot().update_usage(|usage| (!usage.pinned).then_some(Use { pinned: true, ..usage }));
        match pinned {
            Ok(_) => {
                self.into_counted();
                Ok(())
            }
            Err(_) => Err(self),
        }
    }

    /// Takes a frame's pin back as a value, if it is pinned as `K`.
    pub fn unpin(frame: &FrameRef) -> Option<Self> {
        frame
            .slot()
            .update_usage(|usage| (usage.pinned && usage.kind == K::CODE).then_some(Use { pinned: false, ..usage }))
            .ok()?;
        // SAFETY: the pin held an existence count of its own (FT-1). It has been taken back just
        // now, by nobody else, and its count becomes this value's.
        let frame = unsafe { FrameRef::from_counted(frame.mfn()) };
        // SAFETY: the same holds for the pin's use (FT-2), which was one as `K`.
        Some(unsafe { Self::from_counted(frame) })
    }
}

impl<K: Kind> Drop for TypedRef<K> {
    #[inline]
    fn drop(&mut self) {
        release_use(&self.frame);
    }
}

/// Ends one use of a frame. A page table that nobody uses any more owns entries, and is queued for
/// teardown.
#[inline(always)]
pub(super) fn release_use(frame: &FrameRef) {
    if !frame.slot().take_use() {
        release_use_slowly(frame);
    }
}

#[inline(never)]
fn release_use_slowly(frame: &FrameRef) {
    let slot = frame.slot();
    slot.raise_stamp();
    let mut current = slot.usage();
    loop {
        assert!(current.count != 0, "use count of {:?} fell below zero", frame.mfn());
        let enqueue = current.count == 1 && current.owns_entries() && !current.queued;
        let next = Use { count: current.count - 1, queued: current.queued || enqueue, ..current };
        match slot.exchange_usage(current, next) {
            Ok(()) if enqueue => return teardown::push(frame.again()),
            Ok(()) => return,
            Err(found) => current = found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::NoEntries;
    use crate::frames::{Budget, allocate};

    #[test]
    fn a_frame_that_a_guest_has_mapped_as_often_as_it_can_is_no_trouble_to_paravane() {
        crate::hosted::start(64);
        let frame = allocate(DomainId(1)).expect("a free frame").into_reference();
        let page = TypedRef::<Writable>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1)).unwrap();
        let slot = frame.slot();
        let references = slot.refs.swap(MOST, Ordering::SeqCst);
        slot.update_usage(|usage| Some(Use { count: MOST, ..usage })).unwrap();
        assert!(FrameRef::get_any(frame.mfn()).is_none());
        let more = frame.again();
        assert!(TypedRef::<Writable>::existing(more.again()).is_err());
        assert!(TypedRef::<Writable>::acquire(more, &mut NoEntries, &mut Budget::new(1)).is_err());
        drop(page.again());
        assert_eq!((slot.refs.swap(references, Ordering::SeqCst), slot.usage().count), (MOST, MOST));
        slot.update_usage(|usage| Some(Use { count: 1, ..usage })).unwrap();
        drop((page, frame));
    }
}
