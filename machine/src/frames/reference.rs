#![expect(unsafe_code, reason = "makes references from counts that are held elsewhere")]
//! References to frames as values: a value is the proof that its count is held (FT-1, FT-2).

use core::marker::PhantomData;
use core::mem;
use core::sync::atomic::Ordering;

use abi::xen::DomainId;

use super::slot::{self, KindCode, Slot, Use};
use super::{allocator, dirty_log, owner, teardown};
use crate::addr::Mfn;
use crate::m2p;

/// A kind of use of a frame.
pub trait Kind: sealed::Sealed {
    /// The kind's code in the frame table.
    const CODE: KindCode;
}

/// A page-table kind.
pub trait Level: Kind {
    /// 1 for tables whose entries map pages, 4 for roots.
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

/// Upper bound on the references that a guest can take. It can reach this number with enough page
/// tables that map one frame. A power of two, so that the check is one mask test.
pub(super) const MAX_GUEST_REFERENCES: u32 = 1 << 30;
/// Upper bound on all references. The range above [`MAX_GUEST_REFERENCES`] is for references that
/// Paravane adds to one that it holds.
const MAX_REFERENCES: u32 = 1 << 31;

/// There is no free frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl From<NoMemory> for abi::errno::Errno {
    fn from(_: NoMemory) -> Self {
        Self::ENOMEM
    }
}

/// An existence reference: while this value lives, the frame keeps its owner and is not freed. It
/// contains the frame's slot in the frame table, so that no lookup by number is needed.
pub struct FrameRef {
    slot: &'static Slot,
}

impl FrameRef {
    /// A reference to the frame `mfn` if `owner` owns it. Returns `None` for frames that are free,
    /// owned by another domain, or not RAM.
    #[inline]
    pub fn get(mfn: Mfn, owner: DomainId) -> Option<Self> {
        // Checked first without a count, so that a guest cannot change the counts of frames of
        // others.
        let slot = slot::owned_slot(mfn, owner)?;
        let frame = Self::count_up(slot, MAX_GUEST_REFERENCES)?;
        (slot.owner.load(Ordering::SeqCst) == owner.0).then_some(frame)
    }

    /// A reference to the frame, of any owner. The caller's policy decides on its permitted use.
    pub fn get_any(mfn: Mfn) -> Option<Self> {
        Self::count_up(slot::slot(mfn)?, MAX_GUEST_REFERENCES)
    }

    /// A further reference, for Paravane's own use, to a frame that was referenced by an entry when
    /// the entry was read. Returns `None` if the frame has become free.
    #[inline]
    pub(super) fn get_held(slot: &'static Slot) -> Option<Self> {
        Self::count_up(slot, MAX_REFERENCES)
    }

    #[inline]
    fn count_up(slot: &'static Slot, limit: u32) -> Option<Self> {
        slot.refs
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |refs| (refs != 0 && refs < limit).then(|| refs + 1))
            .ok()?;
        Some(Self { slot })
    }

    /// Takes ownership of a reference that is already counted, by an entry, a list or a queue.
    ///
    /// # Safety
    /// The caller must hold one existence count of the frame (FT-1) and give it up: nothing else
    /// may release it.
    pub(super) unsafe fn from_counted(mfn: Mfn) -> Self {
        Self { slot: slot::referenced(mfn) }
    }

    /// Takes ownership of the reference of an entry that maps `mfn`. Returns `None` if the frame is
    /// not RAM: such an entry owns nothing.
    ///
    /// # Safety
    /// The entry must own the reference named by its bits (FT-5), and the caller must give it up.
    #[inline]
    pub(super) unsafe fn from_entry(mfn: Mfn) -> Option<Self> {
        slot::ram_slot(mfn).map(|slot| Self { slot })
    }

    /// Converts the value to a count owned by an entry's bits, a queue link or a pin.
    pub(super) fn into_counted(self) -> Mfn {
        let mfn = self.mfn();
        mem::forget(self);
        mfn
    }

    /// A second reference to the same frame.
    pub fn again(&self) -> Self {
        let before = self.slot().refs.fetch_add(1, Ordering::SeqCst);
        assert!(before < MAX_REFERENCES, "too many references to {:?}", self.mfn());
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

    /// The current kind and use count of the frame. Another CPU may change both at any time.
    pub fn current_kind(&self) -> (KindCode, u32) {
        let usage = self.slot().usage();
        (usage.kind, usage.count)
    }

    /// Whether the frame is currently pinned.
    pub fn is_pinned(&self) -> bool {
        self.slot().usage().pinned
    }

    /// Whether the frame is currently a page table.
    pub fn is_page_table(&self) -> bool {
        self.slot().usage().kind.table_level().is_some()
    }

    /// The current number of existence references; only a hint.
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

/// Frees a frame whose last reference has been dropped. `before` is the count before that.
#[inline(never)]
fn end(slot: &'static Slot, before: u32) {
    let mfn = slot.mfn();
    assert!(before != 0, "reference count of {mfn:?} fell below zero");
    let usage = slot.usage();
    assert!(usage.count == 0 && !usage.owns_entries(), "{mfn:?} is freed while in use: {usage:?}");
    let last = owner::count_down(DomainId(slot.owner.load(Ordering::SeqCst)));
    // The next owner must not find a number that it has not set.
    m2p::set(mfn, m2p::INVALID);
    allocator::free(mfn);
    if last {
        owner::note_owner_emptied();
    }
}

/// The reference that represents the allocation of a frame to its owner. There is one per frame.
/// Dropping it releases the frame, which becomes free when the last other reference is dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Allocation {
    frame: FrameRef,
}

impl Allocation {
    /// Assigns a frame that has just been taken from the allocator to `owner`.
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
        // SAFETY: the count was zero and is now one; this value owns it.
        Self { frame: unsafe { FrameRef::from_counted(mfn) } }
    }

    pub(super) const fn from_frame(frame: FrameRef) -> Self {
        Self { frame }
    }

    /// Ends the allocation but keeps a reference: the frame becomes free when that reference and
    /// all others are dropped.
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

/// A reference to a frame in use as `K`: while it lives, the frame keeps that kind.
#[derive(Debug)]
pub struct TypedRef<K: Kind> {
    frame: FrameRef,
    kind: PhantomData<K>,
}

impl<K: Kind> TypedRef<K> {
    /// Takes ownership of a use that is already counted.
    ///
    /// # Safety
    /// The caller must hold one use of the frame as `K` (FT-2) and give it up: nothing else may
    /// release it.
    pub(super) const unsafe fn from_counted(frame: FrameRef) -> Self {
        Self { frame, kind: PhantomData }
    }

    /// Converts the value to counts owned by an entry's bits.
    pub(super) fn into_counted(self) -> Mfn {
        let mfn = self.frame.mfn();
        mem::forget(self);
        mfn
    }

    /// Adds a use of a frame that is in use as `K` already; returns the frame if it is not.
    #[inline]
    pub fn existing(frame: FrameRef) -> Result<Self, FrameRef> {
        if frame.slot().add_use(K::CODE, false) {
            // SAFETY: the use was just added.
            return Ok(unsafe { Self::from_counted(frame) });
        }
        Self::another(frame, MAX_GUEST_REFERENCES)
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
        Self::another(self.frame.again(), MAX_REFERENCES).expect("a frame held as a kind is of that kind")
    }

    /// Converts this use to the frame's pin, which lasts until [`TypedRef::unpin`]. Returns the
    /// value if the frame is pinned already.
    pub fn pin(self) -> Result<(), Self> {
        let pinned = self.frame.slot().update_usage(|usage| (!usage.pinned).then_some(Use { pinned: true, ..usage }));
        match pinned {
            Ok(_) => {
                dirty_log::mark(self.frame.slot());
                self.into_counted();
                Ok(())
            }
            Err(_) => Err(self),
        }
    }

    /// Converts a frame's pin to a value, if the frame is pinned as `K`.
    pub fn unpin(frame: &FrameRef) -> Option<Self> {
        frame
            .slot()
            .update_usage(|usage| (usage.pinned && usage.kind == K::CODE).then_some(Use { pinned: false, ..usage }))
            .ok()?;
        dirty_log::mark(frame.slot());
        // SAFETY: the pin held an existence count of its own (FT-1). This thread has just removed
        // the pin, so its count becomes this value's.
        let frame = unsafe { FrameRef::from_counted(frame.mfn()) };
        // SAFETY: the same holds for the pin's use (FT-2), which was a use as `K`.
        Some(unsafe { Self::from_counted(frame) })
    }
}

impl<K: Kind> Drop for TypedRef<K> {
    #[inline]
    fn drop(&mut self) {
        release_use(&self.frame);
    }
}

/// Ends one use of a frame. A page table whose last use ends owns entries, and is queued for
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
            Ok(()) => {
                if next.count == 0 {
                    // A table without a use is plain memory.
                    dirty_log::mark(slot);
                }
                if enqueue {
                    teardown::push(frame.again());
                }
                return;
            }
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
    fn paravane_can_reference_a_frame_at_the_guests_limit() {
        crate::hosted::start(64);
        let frame = allocate(DomainId(1)).expect("a free frame").into_reference();
        let page = TypedRef::<Writable>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1)).unwrap();
        let slot = frame.slot();
        let references = slot.refs.swap(MAX_GUEST_REFERENCES, Ordering::SeqCst);
        slot.update_usage(|usage| Some(Use { count: MAX_GUEST_REFERENCES, ..usage })).unwrap();
        assert!(FrameRef::get_any(frame.mfn()).is_none());
        let more = frame.again();
        assert!(TypedRef::<Writable>::existing(more.again()).is_err());
        assert!(TypedRef::<Writable>::acquire(more, &mut NoEntries, &mut Budget::new(1)).is_err());
        drop(page.again());
        assert_eq!(
            (slot.refs.swap(references, Ordering::SeqCst), slot.usage().count),
            (MAX_GUEST_REFERENCES, MAX_GUEST_REFERENCES)
        );
        slot.update_usage(|usage| Some(Use { count: 1, ..usage })).unwrap();
        drop((page, frame));
    }
}
