//! The granter's side: the shared entries and their uses.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use abi::grant_table::{EntryV1, entry_flags, status};
use abi::xen::DomainId;
use machine::addr::{Mfn, PAGE_SIZE};
use machine::frames::{FrameRef, NoMemory, SharedPage};
use machine::heap;
use machine::integers::{low_u32, saturating_u32};
use machine::speculation::MaskedIndex;

use super::frame_of;

/// Number of entries in a frame of the table.
pub(super) const ENTRIES_PER_FRAME: u32 = saturating_u32(PAGE_SIZE / size_of::<EntryV1>());
/// Number of attempts to claim an entry that the guest changes concurrently. It suffices for all
/// changes that the protocol allows.
const ATTEMPTS: u32 = 5;
const MAX_PINS: u32 = u32::MAX / 2;

const DOMAIN_SHIFT: u32 = 8 * saturating_u32(offset_of!(EntryV1, domain));

/// A grant reference, the number of an entry in a domain's grant table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrantRef(u32);

impl GrantRef {
    /// The reference with this number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}

/// The uses of an entry.
#[derive(Clone, Copy)]
struct Active {
    readers: u32,
    writers: u32,
    /// The domain that uses it, valid while there is a use.
    grantee: DomainId,
    /// The frame number that the entry contained when its first use began.
    frame: u32,
}

const UNUSED: Active = Active { readers: 0, writers: 0, grantee: DomainId::INVALID, frame: 0 };

impl Active {
    const fn is_pinned(&self) -> bool {
        self.readers != 0 || self.writers != 0
    }
}

/// A frame of the table, and the uses of its entries.
pub(super) struct Frame {
    page: SharedPage,
    active: Vec<Active>,
}

impl Frame {
    pub(super) fn new(page: SharedPage) -> Result<Self, NoMemory> {
        if heap::is_short() {
            return Err(NoMemory);
        }
        let mut active = Vec::new();
        active.try_reserve_exact(ENTRIES_PER_FRAME as usize).map_err(|_| NoMemory)?;
        active.resize(ENTRIES_PER_FRAME as usize, UNUSED);
        Ok(Self { page, active })
    }
}

/// The words of an entry in the shared frame.
struct Words<'a> {
    /// Flags and domain, which are changed together.
    header: &'a AtomicU32,
    flags: &'a AtomicU16,
    frame: &'a AtomicU32,
    whole: &'a AtomicU64,
}

/// The intended use of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Use {
    pub(super) reference: GrantRef,
    pub(super) write: bool,
    /// For a mapping: an entry that grants only part of its page is refused.
    pub(super) whole_page: bool,
}

/// A status for the guest, of [`abi::grant_table::status`].
pub(super) type Status = i16;

/// A domain's grant table.
pub(super) struct Table {
    frames: Vec<Frame>,
    limit: u32,
    /// The domain is being destroyed. The remaining uses are of entries that no longer exist.
    closed: bool,
}

impl Table {
    pub(super) const fn new(limit: u32) -> Self {
        Self { frames: Vec::new(), limit, closed: false }
    }

    pub(super) const fn set_limit(&mut self, frames: u32) {
        self.limit = frames;
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn frames(&self) -> u32 {
        // At most the limit, or the number when the limit was set.
        low_u32(self.frames.len() as u64)
    }

    pub(super) fn frame_number(&self, index: u32) -> Option<Mfn> {
        self.frames.masked(index as usize).map(|frame| frame.page.frame().mfn())
    }

    /// Counts the references to the pages, for the recount of the frame table.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn count_held(&self, tally: &mut crate::testing::Tally) {
        self.frames.iter().for_each(|frame| tally.typed(frame.page.frame().mfn()));
    }

    /// Adds a frame to a table that has fewer than `most` frames, otherwise returns it.
    pub(super) fn add_frame(&mut self, frame: Frame, most: u32) -> Result<Option<Frame>, NoMemory> {
        if self.closed {
            return Err(NoMemory);
        }
        if self.frames() >= most {
            return Ok(Some(frame));
        }
        self.frames.try_reserve(1).map_err(|_| NoMemory)?;
        self.frames.push(frame);
        Ok(None)
    }

    /// The number of entries in use in a frame of the table, and a description of at most the first
    /// `most`. `None` after the last frame.
    pub(super) fn describe_in_use(&self, frame: u32, most: usize) -> Option<(usize, Vec<String>)> {
        let active = &self.frames.masked(frame as usize)?.active;
        let in_use =
            || (frame * ENTRIES_PER_FRAME..).map(GrantRef).zip(active).filter(|(_, active)| active.is_pinned());
        let in_words = |(GrantRef(reference), active): (GrantRef, &Active)| {
            let Active { readers, writers, grantee, frame } = active;
            format!("grant {reference}: frame {frame:#x} to d{}, {readers} readers, {writers} writers", grantee.0)
        };
        Some((in_use().count(), in_use().take(most).map(in_words).collect()))
    }

    /// Closes the table, which then has no entries. Remaining uses keep the frame, not the entry.
    pub(super) const fn close(&mut self) {
        self.closed = true;
    }

    /// Removes a frame of a closed table.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// The words and the uses of an entry.
    fn entry(&mut self, reference: GrantRef) -> Result<(Words<'_>, &mut Active), Status> {
        if self.closed {
            return Err(status::BAD_GNTREF);
        }
        let frame = self.frames.masked_mut((reference.0 / ENTRIES_PER_FRAME) as usize).ok_or(status::BAD_GNTREF)?;
        let index = (reference.0 % ENTRIES_PER_FRAME) as usize;
        let active = frame.active.masked_mut(index).ok_or(status::BAD_GNTREF)?;
        let at = index * size_of::<EntryV1>();
        let words = Words {
            header: frame.page.atomic_u32(at),
            flags: frame.page.atomic_u16(at + offset_of!(EntryV1, flags)),
            frame: frame.page.atomic_u32(at + offset_of!(EntryV1, frame)),
            whole: frame.page.atomic_u64(at),
        };
        Ok((words, active))
    }

    pub(super) fn seed(&mut self, reference: GrantRef, to: DomainId, frame: Mfn) -> bool {
        let (Ok((words, _)), Ok(number)) = (self.entry(reference), u32::try_from(frame.get())) else { return false };
        words.frame.store(number, Ordering::SeqCst);
        words.header.store(header(entry_flags::PERMIT_ACCESS, to), Ordering::SeqCst);
        true
    }

    /// Starts a use of an entry of `owner`'s table by `grantee`. Returns the frame. The use ends
    /// with [`Table::unpin`].
    pub(super) fn pin(&mut self, owner: DomainId, grantee: DomainId, wanted: Use) -> Result<FrameRef, Status> {
        let (words, active) = self.entry(wanted.reference)?;
        let pinned = active.is_pinned();
        if pinned && (active.grantee != grantee || active.readers >= MAX_PINS || active.writers >= MAX_PINS) {
            return Err(status::GENERAL_ERROR);
        }
        let claims = !pinned || (wanted.write && active.writers == 0);
        if claims {
            words.claim(grantee, wanted, pinned)?;
        }
        if !pinned {
            active.frame = words.frame.load(Ordering::SeqCst);
            active.grantee = grantee;
        }
        let Some(frame) = frame_of(owner, u64::from(active.frame)) else {
            words.clear_flags(active);
            return Err(status::BAD_PAGE);
        };
        *if wanted.write { &mut active.writers } else { &mut active.readers } += 1;
        Ok(frame)
    }

    /// Ends a use.
    pub(super) fn unpin(&mut self, wanted: Use) {
        // The table may have been closed since.
        let Ok((words, active)) = self.entry(wanted.reference) else { return };
        let count = if wanted.write { &mut active.writers } else { &mut active.readers };
        assert!(*count != 0, "grant {} was unpinned more often than pinned", wanted.reference.0);
        *count -= 1;
        words.clear_flags(active);
    }

    /// Commits an entry that accepts a transfer from `from`. The guest does not change the entry
    /// from then on.
    pub(super) fn commit_transfer(&mut self, reference: GrantRef, from: DomainId) -> bool {
        let Ok((words, _)) = self.entry(reference) else { return false };
        let expected = header(entry_flags::ACCEPT_TRANSFER, from);
        let committed = header(entry_flags::ACCEPT_TRANSFER | entry_flags::TRANSFER_COMMITTED, from);
        words.header.compare_exchange(expected, committed, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Completes a transfer by writing the frame number into the entry.
    pub(super) fn complete_transfer(&mut self, reference: GrantRef, frame: Mfn) {
        let (Ok((words, _)), Ok(number)) = (self.entry(reference), u32::try_from(frame.get())) else { return };
        words.frame.store(number, Ordering::SeqCst);
        words.flags.fetch_or(entry_flags::TRANSFER_COMPLETED, Ordering::SeqCst);
    }

    /// Exchanges two unused entries.
    pub(super) fn swap(&mut self, a: GrantRef, b: GrantRef) -> Result<(), Status> {
        let mut contents = [0; 2];
        for (content, reference) in contents.iter_mut().zip([a, b]) {
            let (words, active) = self.entry(reference)?;
            if active.is_pinned() && a != b {
                return Err(status::EAGAIN);
            }
            *content = words.whole.load(Ordering::SeqCst);
        }
        for (content, reference) in contents.iter().zip([b, a]) {
            self.entry(reference)?.0.whole.store(*content, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn header(flags: u16, domain: DomainId) -> u32 {
    u32::from(flags) | u32::from(domain.0) << DOMAIN_SHIFT
}

impl Words<'_> {
    /// Sets the flags that mark the entry as in use, provided that it grants the intended use. The
    /// grantee in the entry is checked only for the first use: a guest that changes it later
    /// violates the protocol.
    fn claim(&self, grantee: DomainId, wanted: Use, pinned: bool) -> Result<(), Status> {
        let mut mask = entry_flags::TYPE_MASK;
        if wanted.whole_page {
            mask |= entry_flags::SUB_PAGE;
        }
        let permitted = header(entry_flags::PERMIT_ACCESS, grantee);
        let compared = header(mask, DomainId(u16::MAX));
        let mut found = self.header.load(Ordering::SeqCst);
        for _ in 0..ATTEMPTS {
            if !pinned && found & compared != permitted {
                return Err(status::GENERAL_ERROR);
            }
            let mut claimed = found | u32::from(entry_flags::READING);
            if wanted.write {
                if found & u32::from(entry_flags::READONLY) != 0 {
                    return Err(status::GENERAL_ERROR);
                }
                claimed |= u32::from(entry_flags::WRITING);
            }
            match self.header.compare_exchange(found, claimed, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Ok(()),
                Err(now) => found = now,
            }
        }
        Err(status::GENERAL_ERROR)
    }

    /// Clears the flags that the remaining uses do not require (GT-1).
    fn clear_flags(&self, active: &Active) {
        let mut unneeded = 0;
        if active.writers == 0 {
            unneeded |= entry_flags::WRITING;
        }
        if !active.is_pinned() {
            unneeded |= entry_flags::READING;
        }
        if unneeded != 0 {
            self.flags.fetch_and(!unneeded, Ordering::SeqCst);
        }
    }
}
