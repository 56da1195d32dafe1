//! The EFI firmware's system table (UEFI 2.10, 4.3), for the hardware domain. Its kernel finds the
//! firmware's other tables, ACPI's among them, through it, and calls the runtime services.

use arrayvec::ArrayVec;

use super::acpi::Map;
use crate::integers;

const SIGNATURE: &[u8] = b"IBI SYST";
/// Sizes of the system table and of an entry of the configuration table list, in bytes.
const SYSTEM_TABLE: u64 = 120;
const TABLE_ENTRY: u64 = 24;
/// A larger count is treated as invalid.
const MAX_TABLES: u64 = 1024;
/// Characters of the vendor's name that are stored.
pub const VENDOR_LENGTH: usize = 100;

/// A range of EFI's memory map that the runtime services use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EfiRange {
    /// First byte, page-aligned.
    pub start: u64,
    /// End: one byte beyond the last.
    pub end: u64,
    /// Memory type (UEFI 2.10, 7.2).
    pub kind: u32,
    /// EFI memory attributes.
    pub attributes: u64,
}

impl EfiRange {
    const RUNTIME_CODE: u32 = 5;
    const RUNTIME_DATA: u32 = 6;
    const WRITE_BACK: u64 = 1 << 3;
    const NO_EXECUTE: u64 = 1 << 14;
    const READ_ONLY: u64 = 1 << 17;
    const RUNTIME: u64 = 1 << 63;
    /// Physical addresses from here on cannot be virtual addresses of the lower half.
    const LIMIT: u64 = 1 << 47;

    /// An entry of the memory map, if the runtime services use it.
    pub(crate) fn of_runtime(kind: u32, start: u64, pages: u64, attributes: u64) -> Option<Self> {
        let end = pages.checked_mul(4096).and_then(|size| start.checked_add(size)).filter(|&end| end <= Self::LIMIT)?;
        let used = attributes & Self::RUNTIME != 0 && start.is_multiple_of(4096) && start < end;
        used.then_some(Self { start, end, kind, attributes })
    }

    /// Whether the range is code or data of the firmware, as opposed to a device.
    pub const fn is_memory(&self) -> bool {
        matches!(self.kind, Self::RUNTIME_CODE | Self::RUNTIME_DATA)
    }

    pub(crate) const fn is_executable(&self) -> bool {
        self.kind == Self::RUNTIME_CODE && self.attributes & Self::NO_EXECUTE == 0
    }

    pub(crate) const fn is_read_only(&self) -> bool {
        self.attributes & Self::READ_ONLY != 0
    }

    pub(crate) const fn is_cached(&self) -> bool {
        self.attributes & Self::WRITE_BACK != 0
    }
}

/// The table of the runtime services (UEFI 2.10, 4.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuntimeTable {
    /// Version of the specification.
    pub revision: u32,
    /// Addresses of the functions in the specification's order; zero for one outside the firmware's
    /// code.
    pub functions: [u64; FUNCTIONS],
}

const FUNCTIONS: usize = 14;
const RUNTIME_SIGNATURE: &[u8] = b"RUNTSERV";
/// Bytes of the table: a header and the functions.
const RUNTIME_TABLE: u64 = 24 + FUNCTIONS as u64 * 8;

impl RuntimeTable {
    /// Reads the table at a physical address. `ranges` is the runtime services' part of the memory
    /// map.
    fn read(map: Map<'_>, address: u64, ranges: &[EfiRange]) -> Option<Self> {
        let table = map(address, RUNTIME_TABLE).filter(|table| table.starts_with(RUNTIME_SIGNATURE))?;
        let is_code = |address: &u64| {
            ranges.iter().any(|range| range.is_executable() && (range.start..range.end).contains(address))
        };
        let mut functions = [0; FUNCTIONS];
        for (function, bytes) in functions.iter_mut().zip(table.get(24..)?.chunks_exact(8)) {
            *function = Some(u64::from_le_bytes(bytes.try_into().ok()?)).filter(is_code).unwrap_or(0);
        }
        let revision = integers::u32_at(table, 8)?;
        functions.iter().any(|&function| function != 0).then_some(Self { revision, functions })
    }
}

/// The contents of the system table.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Efi {
    /// Version of the specification.
    pub revision: u32,
    /// Physical address of the configuration table list.
    pub tables: u64,
    /// Number of entries in it.
    pub table_count: u32,
    /// Version of the firmware.
    pub firmware_revision: u32,
    /// The firmware's vendor, in 16-bit characters.
    pub vendor: ArrayVec<u16, VENDOR_LENGTH>,
    /// The runtime services, if they can be called.
    pub runtime: Option<RuntimeTable>,
}

impl Efi {
    /// Reads the system table at a physical address. Returns `None` if there is none or its list of
    /// tables is not accessible. `ranges` is the runtime services' part of the memory map.
    pub(crate) fn read(map: Map<'_>, address: u64, ranges: &[EfiRange]) -> Option<Self> {
        let table = map(address, SYSTEM_TABLE)?;
        let u64_at = |at| integers::u64_at(table, at);
        let u32_at = |at| integers::u32_at(table, at);
        if !table.starts_with(SIGNATURE) {
            return None;
        }
        let (count, tables) = (u64_at(104)?, u64_at(112)?);
        if count > MAX_TABLES {
            return None;
        }
        map(tables, count * TABLE_ENTRY)?;
        let mut vendor = ArrayVec::new();
        if let Some(name) = u64_at(24).filter(|&name| name != 0).and_then(|name| map(name, VENDOR_LENGTH as u64 * 2)) {
            let characters = name.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair));
            vendor.extend(characters.take_while(|&character| character != 0).take(VENDOR_LENGTH));
        }
        Some(Self {
            revision: u32_at(8)?,
            tables,
            table_count: u32::try_from(count).ok()?,
            firmware_revision: u32_at(32)?,
            vendor,
            runtime: RuntimeTable::read(map, u64_at(88)?, ranges),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A system table at zero, its list at 0x200 and a name at 0x100.
    fn memory() -> &'static [u8] {
        let mut memory = std::vec![0u8; 0x1000];
        let mut put = |at: usize, value: &[u8]| memory[at..at + value.len()].copy_from_slice(value);
        put(0, SIGNATURE);
        put(8, &(2u32 << 16 | 70).to_le_bytes());
        put(24, &0x100u64.to_le_bytes());
        put(32, &0x10000u32.to_le_bytes());
        put(104, &3u64.to_le_bytes());
        put(112, &0x200u64.to_le_bytes());
        let name: Vec<u8> = "EDK II".encode_utf16().flat_map(u16::to_le_bytes).collect();
        put(0x100, &name);
        put(88, &0x800u64.to_le_bytes());
        put(0x800, RUNTIME_SIGNATURE);
        put(0x808, &(2u32 << 16 | 70).to_le_bytes());
        put(0x818 + 6 * 8, &0x10_1234u64.to_le_bytes());
        put(0x818 + 7 * 8, &0x20_0000u64.to_le_bytes());
        memory.leak()
    }

    #[test]
    fn the_system_table_leads_to_the_others() {
        let memory = memory();
        let map = |start: u64, length: u64| memory.get(start as usize..start.checked_add(length)? as usize);
        let code = EfiRange::of_runtime(5, 0x10_0000, 2, 1 << 63 | 8).expect("the runtime services use it");
        let efi = Efi::read(&map, 0, &[code]).expect("a system table");
        assert_eq!((efi.revision, efi.tables, efi.table_count), (2 << 16 | 70, 0x200, 3));
        assert_eq!(core::char::decode_utf16(efi.vendor).flatten().collect::<std::string::String>(), "EDK II");
        assert_eq!(Efi::read(&map, 8, &[]), None, "no signature");
        assert_eq!(Efi::read(&map, 0x10_0000, &[]), None, "not accessible");
        let runtime = efi.runtime.expect("a table");
        assert_eq!((runtime.revision, runtime.functions[6], runtime.functions[7]), (2 << 16 | 70, 0x10_1234, 0));
        assert_eq!(
            Efi::read(&map, 0, &[]).expect("a system table").runtime,
            None,
            "no function in the firmware's code"
        );
    }

    #[test]
    fn ranges_of_the_runtime_services_are_kept() {
        let range = |kind, start, pages, attributes| EfiRange::of_runtime(kind, start, pages, attributes);
        assert_eq!(range(5, 0x1000, 1, 8), None, "not used at run time");
        assert_eq!(range(5, 0x1000, 0, 1 << 63), None, "empty");
        assert_eq!(range(5, 0x1001, 1, 1 << 63), None, "not a page");
        assert_eq!(range(5, 0x1000, u64::MAX, 1 << 63), None, "too long");
        assert_eq!(range(5, !0xfff, 1, 1 << 63), None, "too high");
        let code = range(5, 0x1000, 3, 1 << 63 | 8).expect("good");
        assert_eq!((code.end, code.is_memory(), code.is_executable(), code.is_cached()), (0x4000, true, true, true));
        let flash = range(11, 0xffc0_0000, 0x400, 1 << 63 | 1).expect("good");
        assert!(!flash.is_memory() && !flash.is_executable() && !flash.is_cached());
        assert!(!range(5, 0x1000, 1, 1 << 63 | 1 << 14).expect("good").is_executable());
    }
}
