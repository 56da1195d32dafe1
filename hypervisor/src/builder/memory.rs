//! The memory of a domain under construction: its frames by pseudo-physical number.

use alloc::sync::Arc;
use machine::addr::{Mfn, PAGE_SIZE, Pfn};
use machine::frames::{self, Budget, Buffer, NoMemory, TypedRef, Writable};
use machine::integers::to_usize;
use machine::m2p;
use machine::paging::NoEntries;
use machine::speculation::MaskedIndex;

use crate::domain::Domain;

/// All frames of a new domain, and the P2M list that the guest will get.
pub(super) struct Memory<'a> {
    domain: &'a Arc<Domain>,
    /// Machine frame numbers as 64-bit words, by pseudo-physical number.
    list: Buffer,
}

impl<'a> Memory<'a> {
    /// Allocates `count` frames to the domain. On failure, the domain keeps those that have been
    /// allocated.
    pub(super) fn allocate(domain: &'a Arc<Domain>, count: u64) -> Result<Self, NoMemory> {
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(8)).ok_or(NoMemory)?;
        let mut list = Buffer::new(length).ok_or(NoMemory)?;
        for (word, pfn) in list.as_mut_slice().chunks_exact_mut(8).zip(0..) {
            let frame = frames::allocate(domain.id()).ok_or(NoMemory)?;
            frames::set_number(frame.mfn(), Pfn::new(pfn));
            word.copy_from_slice(&frame.mfn().get().to_le_bytes());
            domain.frames.push(frame);
        }
        Ok(Self { domain, list })
    }

    /// The P2M list in the format of the interface.
    pub(super) fn list(&self) -> &[u8] {
        self.list.as_slice()
    }

    /// The machine frame of a pseudo-physical frame.
    pub(super) fn mfn(&self, pfn: u64) -> Mfn {
        let word = usize::try_from(pfn).ok().and_then(|pfn| self.list().as_chunks().0.masked(pfn));
        Mfn::new(word.copied().map(u64::from_le_bytes).expect("the builder stays inside the domain's memory"))
    }

    /// A writable reference to a frame.
    pub(super) fn writable(&self, pfn: u64) -> TypedRef<Writable> {
        let frame = self.domain.frame(self.mfn(pfn));
        let page = frame.map(|frame| TypedRef::acquire(frame, &mut NoEntries, &mut Budget::new(1)));
        // no other code uses the frame yet, and tables are written before they are promoted
        page.and_then(Result::ok).expect("a frame of a domain under construction is writable")
    }

    /// Copies bytes to a pseudo-physical address.
    pub(super) fn write(&self, address: u64, mut bytes: &[u8]) {
        let mut pfn = address / PAGE_SIZE as u64;
        let mut offset = to_usize(address) % PAGE_SIZE;
        while !bytes.is_empty() {
            let [now, later] = bytes.divide(bytes.len().min(PAGE_SIZE - offset)).unwrap_or_default();
            self.writable(pfn).copy_in(offset, now);
            bytes = later;
            offset = 0;
            pfn += 1;
        }
    }
}

/// Releases all frames of a domain that could not be built.
pub(super) fn give_back(domain: &Domain) {
    while let Some(frame) = domain.frames.pop() {
        frames::set_number(frame.mfn(), m2p::INVALID);
    }
    // page tables that were not complete
    while !domain.teardown.advance(&mut Budget::new(Budget::HYPERCALL)) {}
}

/// Whether `count` frames are free. The other allocations of a domain are not included.
pub(super) fn is_available(count: u64) -> bool {
    frames::free_frames() >= count
}
