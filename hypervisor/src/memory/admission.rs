//! The policy for page-table entries: a domain maps its own frames, and those of a domain it controls when it says so.

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::addr::Mfn;
use machine::frames::{self, AcquireError, Budget, FrameRef, L1, TypedRef, Writable};
use machine::hardware::Hardware;
use machine::paging::{Admission, Entry, LeafFlags, NoEntries, RawEntry};

use crate::call::PageOwner;
use crate::domain::Domain;
use crate::hardware;

/// Bits that choose a memory type. A domain without devices has no use for them, and a frame mapped in two memory types is trouble for whoever
/// does it: the hardware domain may.
pub(super) const CACHE_ATTRIBUTES: LeafFlags =
    LeafFlags::WRITE_THROUGH.union(LeafFlags::CACHE_DISABLED).union(LeafFlags::PAT_OR_SIZE);

/// Admits what `tables` may have in its page tables when the frames mapped belong to `frames`.
pub(crate) struct GuestAdmission {
    tables: DomainId,
    frames: DomainId,
    /// The right to map devices, where the frames may be the machine's own.
    hardware: Option<&'static Hardware>,
}

impl GuestAdmission {
    /// For a domain that maps its own frames.
    pub(crate) fn of(domain: &Domain) -> Self {
        Self { tables: domain.id(), frames: domain.id(), hardware: hardware::of(domain) }
    }

    /// For a domain that maps frames of another, or of the machine, which it has been found to control.
    pub(crate) fn foreign(tables: &Domain, frames: &PageOwner) -> Self {
        let has_devices = frames.id() == tables.id() || frames.id() == DomainId::IO;
        let hardware = if has_devices { hardware::of(tables) } else { None };
        Self { tables: tables.id(), frames: frames.id(), hardware }
    }
}

/// Decides on an entry that maps memory of whose frames may be mapped.
#[inline(always)]
fn memory(frame: FrameRef, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
    if !raw.is_writable() {
        return Ok(Entry::read_only(frame, raw));
    }
    match TypedRef::<Writable>::acquire(frame, &mut NoEntries, budget) {
        Ok(frame) => Ok(Entry::writable(frame, raw)),
        // What is in use as a table is busy, as the interface has it; a frame that cannot become a table is invalid.
        Err(AcquireError::Conflict) => Err(Errno::EBUSY.into()),
        Err(error) => Err(error),
    }
}

impl GuestAdmission {
    /// Decides on an entry that maps none of the frames, or one in another memory type.
    #[inline(never)]
    fn unusual(&self, frame: Option<FrameRef>, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        match frame {
            Some(frame) => {
                let hardware = self.hardware.ok_or(Errno::EINVAL)?;
                Ok(memory(frame, raw, budget)?.with_cache_attributes(hardware, raw))
            }
            None if frames::is_ram(raw.frame()) => Err(Errno::EINVAL.into()),
            // A device's memory, if anything.
            None => {
                let device = self.hardware.and_then(|hardware| Entry::device(hardware, raw));
                device.ok_or_else(|| Errno::EPERM.into())
            }
        }
    }
}

impl Admission for GuestAdmission {
    #[inline(always)]
    fn leaf(&mut self, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        if !raw.is_present() {
            return Ok(Entry::absent(raw));
        }
        if self.frames == DomainId::XEN {
            // The tools read the M2P. Nothing else of Paravane's is anybody's to see.
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
}
