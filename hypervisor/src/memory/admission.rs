//! The policy for page-table entries: a domain can map its own frames, and those of another domain
//! if it controls that one and names it.

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::addr::Mfn;
use machine::frames::{self, AcquireError, Budget, FrameRef, L1, TypedRef, Writable};
use machine::hardware::Hardware;
use machine::paging::{Admission, Entry, LeafFlags, NoEntries, RawEntry};

use crate::call::PageOwner;
use crate::domain::Domain;
use crate::guest_log::guest_log;
use crate::hardware;

/// Bits that select a memory type. Only the hardware domain may set them: other domains have no use
/// for them. A frame that is mapped with two memory types only harms the domain that maps it.
pub(super) const CACHE_ATTRIBUTES: LeafFlags =
    LeafFlags::WRITE_THROUGH.union(LeafFlags::CACHE_DISABLED).union(LeafFlags::PAT_OR_SIZE);

/// Admits entries of the page tables of `tables` that map frames of `frames`.
pub(crate) struct GuestAdmission<'a> {
    domain: &'a Domain,
    tables: DomainId,
    frames: DomainId,
    /// Whether the frames may be the machine's own.
    may_be_devices: bool,
}

impl<'a> GuestAdmission<'a> {
    /// For a domain that maps its own frames.
    pub(crate) fn of(domain: &'a Domain) -> Self {
        Self { domain, tables: domain.id(), frames: domain.id(), may_be_devices: true }
    }

    /// For a domain that maps frames of another domain or of the machine. The caller has checked
    /// the privilege.
    pub(crate) fn foreign(tables: &'a Domain, frames: &PageOwner) -> Self {
        let may_be_devices = frames.id() == tables.id() || frames.id() == DomainId::IO;
        Self { domain: tables, tables: tables.id(), frames: frames.id(), may_be_devices }
    }
}

/// Admits a leaf entry that maps RAM owned by the permitted domain.
#[inline(always)]
fn memory(frame: FrameRef, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
    if !raw.is_writable() {
        return Ok(Entry::read_only(frame, raw));
    }
    match TypedRef::<Writable>::acquire(frame, &mut NoEntries, budget) {
        Ok(frame) => Ok(Entry::writable(frame, raw)),
        // The interface has `EBUSY` for a frame that is in use as a table, and `EINVAL` for one
        // that cannot become a table.
        Err(AcquireError::Conflict) => Err(Errno::EBUSY.into()),
        Err(error) => Err(error),
    }
}

impl GuestAdmission<'_> {
    /// The token for mapping devices and for memory types.
    fn hardware(&self) -> Option<&'static Hardware> {
        if self.may_be_devices { hardware::of(self.domain) } else { None }
    }

    /// Admits a leaf entry that does not map RAM of the permitted domain, or has another memory
    /// type.
    #[inline(never)]
    fn unusual(&self, frame: Option<FrameRef>, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        match frame {
            Some(frame) => {
                let hardware = self.hardware().ok_or(Errno::EINVAL)?;
                Ok(memory(frame, raw, budget)?.with_cache_attributes(hardware, raw))
            }
            None if frames::is_ram(raw.frame()) => Err(Errno::EINVAL.into()),
            // The frame is not RAM, so it may be device memory.
            None => {
                let device = self.hardware().and_then(|hardware| Entry::device(hardware, raw));
                device.ok_or_else(|| Errno::EPERM.into())
            }
        }
    }
}

impl Admission for GuestAdmission<'_> {
    #[inline(always)]
    fn leaf(&mut self, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        if !raw.is_present() {
            return Ok(Entry::absent(raw, self)?);
        }
        if self.frames == DomainId::XEN {
            // The tools read the M2P. No other memory of Paravane may be mapped.
            return Entry::machine_to_physical(raw).ok_or_else(|| Errno::EPERM.into());
        }
        match FrameRef::get(raw.frame(), self.frames) {
            Some(frame) if !raw.flags().intersects(CACHE_ATTRIBUTES) => memory(frame, raw, budget),
            frame => self.unusual(frame, raw, budget),
        }
    }

    fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno> {
        FrameRef::get(mfn, self.tables).ok_or(Errno::EINVAL)
    }

    #[cold]
    fn absent_naming_memory(&mut self, raw: RawEntry) -> Result<(), Errno> {
        if !self.domain.refuses_absent_entries() {
            return Ok(());
        }
        guest_log!(self.domain, Warn, "a page-table entry is not present but names memory (L1TF): {:#x}", raw.get());
        Err(Errno::EINVAL)
    }
}
