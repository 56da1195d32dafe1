//! A kernel's declaration of how it is to be started: its ELF notes (public header `elfnote.h`) or,
//! in kernels older than those, the text of its `__xen_guest` section.

mod legacy;

pub(super) use legacy::SECTION as LEGACY_SECTION;

use alloc::string::String;
use core::fmt;

use abi::elfnote::{OWNER, kind};
use abi::features::feature;
use machine::addr::GuestVirt;
use machine::speculation::MaskedIndex;

use super::bzimage::read_u32;

/// The features of this interface for unprivileged 64-bit guests, by bit.
const AVAILABLE: u32 = 1 << feature::WRITABLE_PAGE_TABLES
    | 1 << feature::PAE_PGDIR_ABOVE_4GB
    | 1 << feature::MMU_PT_UPDATE_PRESERVE_AD
    | 1 << feature::HIGHMEM_ASSIST
    | 1 << feature::GNTTAB_MAP_AVAIL_BITS
    | 1 << feature::DOM0;

/// Names of the features in `FEATURES` notes.
const FEATURE_NAMES: [(&str, u32); 9] = [
    ("writable_page_tables", feature::WRITABLE_PAGE_TABLES),
    ("writable_descriptor_tables", feature::WRITABLE_DESCRIPTOR_TABLES),
    ("auto_translated_physmap", feature::AUTO_TRANSLATED_PHYSMAP),
    ("supervisor_mode_kernel", feature::SUPERVISOR_MODE_KERNEL),
    ("pae_pgdir_above_4gb", feature::PAE_PGDIR_ABOVE_4GB),
    ("mmu_pt_update_preserve_ad", feature::MMU_PT_UPDATE_PRESERVE_AD),
    ("highmem_assist", feature::HIGHMEM_ASSIST),
    ("gnttab_map_avail_bits", feature::GNTTAB_MAP_AVAIL_BITS),
    ("dom0", feature::DOM0),
];

/// The reason why a kernel cannot be started according to its notes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoteError {
    /// There is no ELF note with the owner `Xen`.
    NoNotes,
    /// The notes name only the entry point for PVH.
    OnlyPvh,
    /// The kernel names another version of the interface, or none.
    Version(String),
    /// The kernel names another kind of loader, or none.
    Loader(String),
    /// The kernel requires a feature that Paravane does not have.
    Feature(String),
    /// The named value is malformed, or not an address that a guest can use.
    Value(&'static str),
    /// The `__xen_guest` section is malformed.
    Text(&'static str),
}

impl fmt::Display for NoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNotes => f.write_str("the kernel has no Xen ELF notes (CONFIG_XEN_PV is not set?)"),
            Self::OnlyPvh => f.write_str("the kernel supports PVH only (CONFIG_XEN_PV is not set?)"),
            Self::Version(version) => write!(f, "the kernel is for the interface {version:?}, not \"xen-3.0\""),
            Self::Loader(loader) => {
                write!(f, "the kernel requires the loader {loader:?}, not \"generic\", and is not Linux")
            }
            Self::Feature(name) => write!(f, "the kernel needs the feature {name}, which is not supported"),
            Self::Value(name) => write!(f, "the kernel's value of {name} is invalid"),
            Self::Text(why) => write!(f, "the kernel's __xen_guest section is malformed: {why}"),
        }
    }
}

/// The values of the notes, with defaults for those that are absent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Notes {
    /// Address of the first instruction.
    pub(super) entry: u64,
    /// Virtual address of the guest's first frame.
    pub(super) virtual_base: u64,
    /// Offset that is subtracted from the file's physical addresses.
    pub(super) physical_offset: u64,
    /// Address of the hypercall page.
    pub(super) hypercall_page: Option<u64>,
    /// Address at which the P2M list is to be mapped, if outside the initial mapping.
    pub(super) list_address: Option<u64>,
    /// Whether the ramdisk may be outside the initial mapping.
    pub(super) unmapped_ramdisk: bool,
    /// The kernel can be an initial domain's.
    pub(super) initial_domain: bool,
}

/// The notes read so far. The last of each type applies.
#[derive(Default)]
pub(super) struct Builder {
    any: bool,
    guest_os: String,
    version: String,
    loader: String,
    pvh_entry: bool,
    entry: Option<u64>,
    virtual_base: Option<u64>,
    physical_offset: Option<u64>,
    hypercall_page: Option<u64>,
    list_address: Option<u64>,
    unmapped_ramdisk: bool,
    /// Features of the note that lists them by bit, if there is one.
    supported: Option<u32>,
    /// Features that are listed by name.
    named: u32,
    required: u32,
    error: Option<NoteError>,
}

impl Builder {
    /// Whether a Xen note has been read.
    pub(super) const fn any(&self) -> bool {
        self.any
    }

    /// Reads a block of notes. Everything after a damaged note is ignored.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let Some((owner, kind, value, rest)) = split(bytes) {
            if owner == OWNER {
                self.any = true;
                if let Err(error) = self.take(kind, value) {
                    self.error.get_or_insert(error);
                }
            }
            bytes = rest;
        }
    }

    fn take(&mut self, kind: u32, value: &[u8]) -> Result<(), NoteError> {
        let number = || number(value).ok_or(NoteError::Value(name(kind)));
        match kind {
            kind::ENTRY => self.entry = Some(number()?),
            kind::HYPERCALL_PAGE => self.hypercall_page = Some(number()?),
            kind::VIRT_BASE => self.virtual_base = Some(number()?),
            kind::PADDR_OFFSET => self.physical_offset = Some(number()?),
            kind::INIT_P2M => self.list_address = Some(number()?),
            kind::MOD_START_PFN => self.unmapped_ramdisk = number()? != 0,
            kind::SUPPORTED_FEATURES => {
                let features = number()?;
                self.supported = Some(u32::try_from(features & u64::from(u32::MAX)).unwrap_or_default());
            }
            kind::PHYS32_ENTRY => self.pvh_entry = true,
            kind::FEATURES => self.take_features(text(value))?,
            kind::GUEST_OS => self.guest_os = printable(text(value)),
            kind::XEN_VERSION => self.version = printable(text(value)),
            kind::LOADER => self.loader = printable(text(value)),
            _ => {}
        }
        Ok(())
    }

    /// Reads `name|!name|…`: features that the kernel can use and, with `!`, requires.
    fn take_features(&mut self, value: &str) -> Result<(), NoteError> {
        for name in value.split('|') {
            let (name, required) = name.strip_prefix('!').map_or((name, false), |name| (name, true));
            match FEATURE_NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, bit)) => {
                    self.named |= 1 << bit;
                    self.required |= u32::from(required) << bit;
                }
                None if required => return Err(NoteError::Feature(printable(name))),
                None => {}
            }
        }
        Ok(())
    }

    /// Validates the values. The entry point is `file_entry`, from the ELF header, unless a note
    /// gives another.
    pub(super) fn finish(self, file_entry: u64) -> Result<Notes, NoteError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.any {
            return Err(NoteError::NoNotes);
        }
        if self.entry.is_none() && self.pvh_entry {
            return Err(NoteError::OnlyPvh);
        }
        if !self.loader.starts_with("generic") && !self.guest_os.starts_with("linux") {
            return Err(NoteError::Loader(self.loader));
        }
        if !self.version.starts_with("xen-3.0") {
            return Err(NoteError::Version(self.version));
        }
        let missing = self.required & !AVAILABLE;
        if let Some((name, _)) = FEATURE_NAMES.iter().find(|(_, bit)| missing & 1 << bit != 0) {
            return Err(NoteError::Feature(String::from(*name)));
        }
        let notes = Notes {
            entry: self.entry.unwrap_or(file_entry),
            virtual_base: self.virtual_base.unwrap_or(0),
            physical_offset: self.physical_offset.unwrap_or(0),
            hypercall_page: self.hypercall_page,
            list_address: self.list_address,
            unmapped_ramdisk: self.unmapped_ramdisk,
            // kernels that predate the note do not restrict this
            initial_domain: self.supported.is_none_or(|bits| (bits | self.named) & 1 << feature::DOM0 != 0),
        };
        let addresses = [
            (kind::ENTRY, Some(notes.entry), 1),
            (kind::VIRT_BASE, Some(notes.virtual_base), 4096),
            (kind::HYPERCALL_PAGE, notes.hypercall_page, 4096),
            (kind::INIT_P2M, notes.list_address, 4096),
        ];
        for (kind, address, alignment) in addresses {
            if address.is_some_and(|address| !GuestVirt::new(address).is_guest() || address % alignment != 0) {
                return Err(NoteError::Value(name(kind)));
            }
        }
        Ok(notes)
    }
}

/// Splits off the first note: owner, type, value, remaining bytes. Each part is padded to four
/// bytes.
#[expect(clippy::type_complexity, reason = "the only caller destructures it at once")]
fn split(bytes: &[u8]) -> Option<(&[u8], u32, &[u8], &[u8])> {
    let (owner_length, value_length) = (read_u32(bytes, 0)?, read_u32(bytes, 4)?);
    let kind = u32::try_from(read_u32(bytes, 8)?).ok()?;
    let value_start = 12usize.checked_add(owner_length)?.checked_next_multiple_of(4)?;
    let value_end = value_start.checked_add(value_length)?;
    let owner = bytes.part(12..12 + owner_length)?;
    let value = bytes.part(value_start..value_end)?;
    // the last note's padding may be missing
    let rest = bytes.part(value_end.checked_next_multiple_of(4)?..).unwrap_or(&[]);
    Some((owner, kind, value, rest))
}

/// The name of a note type whose value is a number.
const fn name(kind: u32) -> &'static str {
    match kind {
        kind::ENTRY => "ENTRY",
        kind::HYPERCALL_PAGE => "HYPERCALL_PAGE",
        kind::VIRT_BASE => "VIRT_BASE",
        kind::PADDR_OFFSET => "PADDR_OFFSET",
        kind::INIT_P2M => "INIT_P2M",
        kind::MOD_START_PFN => "MOD_START_PFN",
        kind::SUPPORTED_FEATURES => "SUPPORTED_FEATURES",
        _ => "an ELF note",
    }
}

fn number(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u64::from(u32::from_le_bytes(value.try_into().ok()?))),
        8 => Some(u64::from_le_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

fn text(value: &[u8]) -> &str {
    let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
    core::str::from_utf8(text).unwrap_or("?")
}

/// The printable ASCII characters of a kernel's text, at most 40, for a message.
fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(40).collect()
}

#[cfg(test)]
pub(super) mod tests;
