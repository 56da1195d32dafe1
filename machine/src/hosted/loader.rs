//! Parsing of a loader's and firmware's data as at boot, for fuzz targets, which generate that
//! memory.

use std::vec::Vec;

use crate::boot::acpi::Acpi;
use crate::boot::{BootInfo, Efi, EfiRange, multiboot};

/// Start of the generated memory: the area where a BIOS puts ACPI's root pointer.
const BASE: u64 = 0xe_0000;
/// Size of a table header in bytes.
const HEADER: usize = 36;
/// Offset of a table's checksum.
const SUM: usize = 9;

/// Parses Multiboot information, of version 2 or 1, at the start of a physical memory with these
/// bytes.
pub fn multiboot(second: bool, memory: &[u8]) {
    let read = |address: u64, to: &mut [u8]| {
        let start = address.checked_sub(BASE).and_then(|start| usize::try_from(start).ok());
        let from = start.and_then(|start| memory.get(start..)?.get(..to.len()));
        from.inspect(|from| to.copy_from_slice(from)).is_some()
    };
    let magic = if second { multiboot::MULTIBOOT2_MAGIC } else { multiboot::MULTIBOOT1_MAGIC };
    let mut info = BootInfo::default();
    let _ = multiboot::parse(magic, BASE, &read, &mut info);
    for module in info.modules() {
        assert!(module.frames().start <= module.frames().end && info.arguments(module).is_ascii());
    }
    assert!(info.command_line().is_ascii());
}

/// Parses ACPI's tables and EFI's system table from a physical memory with these bytes.
pub fn firmware(memory: &[u8]) {
    let map = |address: u64, length: u64| {
        let start = usize::try_from(address.checked_sub(BASE)?).ok()?;
        memory.get(start..)?.get(..usize::try_from(length).ok()?)
    };
    let _ = Acpi::read(&map, Some(BASE));
    let code = EfiRange::of_runtime(5, 0, 1 << 32, 1 << 63);
    let _ = Efi::read(&map, BASE, code.as_slice());
}

/// A memory with tables of these names and contents, with correct checksums, and a root pointer to
/// them. Addresses in a FADT point to the next table.
pub fn tables(contents: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut memory = root_pointer();
    let mut entries = Vec::new();
    for (name, body) in contents {
        let start = memory.len();
        entries.extend((BASE + start as u64).to_le_bytes());
        let mut table = header(name, HEADER + body.len());
        table.extend_from_slice(body);
        if *name == b"FACP" && table.len() >= 148 {
            let behind = BASE + (start + table.len()) as u64;
            table[140..148].copy_from_slice(&behind.to_le_bytes());
        }
        set_sum(&mut table, SUM);
        memory.extend(table);
    }
    let mut root = header(b"XSDT", HEADER + entries.len());
    root.extend(entries);
    set_sum(&mut root, SUM);
    let place = BASE + memory.len() as u64;
    memory[24..32].copy_from_slice(&place.to_le_bytes());
    memory.extend(root);
    memory
}

fn root_pointer() -> Vec<u8> {
    let mut pointer = b"RSD PTR \0......\x02\0\0\0\0\x24\0\0\0".to_vec();
    pointer.resize(HEADER, 0);
    set_sum(&mut pointer[..20], 8);
    pointer
}

fn header(name: &[u8; 4], length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut header = [name.as_slice(), &length.to_le_bytes()].concat();
    header.resize(HEADER, 0);
    header
}

fn set_sum(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_sub(byte));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_tables_are_found() {
        let memory = tables(&[(b"HPET", &[0; 20]), (b"APIC", &[1; 8])]);
        let map = |address: u64, length: u64| memory.get((address - BASE) as usize..)?.get(..length as usize);
        let acpi = Acpi::read(&map, Some(BASE)).expect("a root table");
        assert_eq!((acpi.hpet, acpi.local_apic), (Some(0), Some(0x0101_0101)));
    }
}
