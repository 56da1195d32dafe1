//! What EFI firmware tells of itself in its system table (UEFI 2.10, 4.3), for the hardware domain: its kernel finds the firmware's other tables, ACPI's among
//! them, from here. Paravane itself calls no firmware.

use arrayvec::ArrayVec;

use super::acpi::Map;

const SIGNATURE: &[u8] = b"IBI SYST";
/// Bytes of the system table, and of an entry of the list of tables.
const SYSTEM_TABLE: u64 = 120;
const TABLE_ENTRY: u64 = 24;
/// More tables than that are nonsense.
const MAX_TABLES: u64 = 1024;
/// Characters of the vendor's name that are kept.
pub const VENDOR_LENGTH: usize = 100;

/// The firmware's description of itself.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Efi {
    /// Version of the specification.
    pub revision: u32,
    /// Where the list of tables lies in memory.
    pub tables: u64,
    /// How many tables it has.
    pub table_count: u32,
    /// Version of the firmware.
    pub firmware_revision: u32,
    /// Who made it, in 16-bit characters.
    pub vendor: ArrayVec<u16, VENDOR_LENGTH>,
}

impl Efi {
    /// Reads the system table at a physical address; `None` if there is none, or its list of tables is out of reach.
    pub(crate) fn read(map: Map<'_>, address: u64) -> Option<Self> {
        let table = map(address, SYSTEM_TABLE)?;
        let u64_at = |at: usize| Some(u64::from_le_bytes(table.get(at..at + 8)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(table.get(at..at + 4)?.try_into().ok()?));
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
            let characters = name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            vendor.extend(characters.take_while(|&character| character != 0).take(VENDOR_LENGTH));
        }
        Some(Self {
            revision: u32_at(8)?,
            tables,
            // At most 1024.
            table_count: count as u32,
            firmware_revision: u32_at(32)?,
            vendor,
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
        memory.leak()
    }

    #[test]
    fn the_system_table_leads_to_the_others() {
        let memory = memory();
        let map = |start: u64, length: u64| memory.get(start as usize..start.checked_add(length)? as usize);
        let efi = Efi::read(&map, 0).expect("a system table");
        assert_eq!((efi.revision, efi.tables, efi.table_count), (2 << 16 | 70, 0x200, 3));
        assert_eq!(core::char::decode_utf16(efi.vendor).flatten().collect::<std::string::String>(), "EDK II");
        assert_eq!(Efi::read(&map, 8), None, "no signature");
        assert_eq!(Efi::read(&map, 0x10_0000), None, "out of reach");
    }
}
