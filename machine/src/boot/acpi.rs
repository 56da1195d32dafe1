//! The ACPI tables that Paravane needs, read through bounds-checked slices: processors and
//! interrupt controllers (MADT), power management registers (FADT), the HPET, and the sleep type of
//! S5 (DSDT). A damaged table is treated as absent.

use arrayvec::ArrayVec;

use crate::addr::MAX_CPUS;
use crate::integers::{low_u16, u16_at, u32_at, u64_at};

const MAX_TABLE: u32 = 8 << 20;

/// Returns the bytes of a physical range, or `None` if it is not accessible.
pub(crate) type Map<'a> = &'a dyn Fn(u64, u64) -> Option<&'a [u8]>;

/// An I/O APIC and the first interrupt number it serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IoApic {
    pub(crate) address: u64,
    pub(crate) first_gsi: u32,
}

/// The interrupt number and polarity of a remapped ISA interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Override {
    pub(crate) irq: u8,
    pub(crate) gsi: u32,
    pub(crate) active_low: bool,
    pub(crate) level: bool,
}

/// A register: in memory (address space 0) or an I/O port (1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Register {
    pub(crate) space: u8,
    pub(crate) address: u64,
}

/// The maximum number of I/O APICs.
pub const MAX_IO_APICS: usize = 16;
/// The maximum number of interrupt source overrides.
pub const MAX_OVERRIDES: usize = 16;

/// The contents of the tables.
#[derive(Default, Debug)]
pub(crate) struct Acpi {
    /// Local APIC IDs of usable processors.
    pub(crate) cpus: ArrayVec<u32, MAX_CPUS>,
    /// ACPI processor UIDs of the same processors.
    pub(crate) cpu_numbers: ArrayVec<u32, MAX_CPUS>,
    /// The number of usable processors beyond those.
    pub(crate) cpus_left_out: usize,
    pub(crate) local_apic: Option<u64>,
    pub(crate) io_apics: ArrayVec<IoApic, MAX_IO_APICS>,
    pub(crate) overrides: ArrayVec<Override, MAX_OVERRIDES>,
    /// I/O port of the 3.58 MHz timer, and whether it has 32 bits rather than 24.
    pub(crate) pm_timer: Option<(u16, bool)>,
    /// Port and value that transfer power management to the operating system.
    pub(crate) enable: Option<(u16, u8)>,
    /// PM1 control ports.
    pub(crate) pm1_control: [u16; 2],
    /// Values of SLP_TYP for the two control ports in S5.
    pub(crate) s5: Option<[u8; 2]>,
    /// Reset register and the value to write.
    pub(crate) reset: Option<(Register, u8)>,
    pub(crate) hpet: Option<u64>,
    /// Address of the root pointer.
    pub(crate) rsdp: u64,
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

fn table<'a>(map: Map<'a>, address: u64) -> Option<&'a [u8]> {
    let length = u32_at(map(address, 36)?, 4)?;
    if !(36..=MAX_TABLE).contains(&length) {
        return None;
    }
    map(address, length.into()).filter(|bytes| sums_to_zero(bytes))
}

fn is_root_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RSD PTR ") && bytes.get(..20).is_some_and(sums_to_zero)
}

/// Searches the areas where a BIOS puts the root pointer.
fn find_root_pointer(map: Map<'_>) -> Option<u64> {
    let ebda = u64::from(u16_at(map(0x40e, 2)?, 0)?) << 4;
    let areas = [(ebda, 1024), (0xe0000, 0x20000)];
    areas.into_iter().filter(|&(start, _)| start >= 0x8_0000).find_map(|(start, length)| {
        let bytes = map(start, length)?;
        let found = (0..bytes.len() / 16).find(|&at| is_root_pointer(bytes.get(at * 16..).unwrap_or(&[])))?;
        Some(start + found as u64 * 16)
    })
}

impl Acpi {
    /// Reads the tables that start from the root pointer at `rsdp`, or from one found in the BIOS
    /// area.
    pub(crate) fn read(map: Map<'_>, rsdp: Option<u64>) -> Option<Self> {
        let checked = rsdp.filter(|&address| map(address, 20).is_some_and(is_root_pointer));
        let mut acpi = Self { rsdp: checked.or_else(|| find_root_pointer(map))?, ..Self::default() };
        let pointer = map(acpi.rsdp, 20)?;
        let extended = (*pointer.get(15)? >= 2).then(|| u64_at(map(acpi.rsdp, 36)?, 24)).flatten();
        let extended = extended.filter(|&address| address != 0).and_then(|address| table(map, address));
        let (root, width) = match extended {
            Some(root) => (root, 8),
            None => (table(map, u32_at(pointer, 16)?.into())?, 4),
        };
        for entry in root.get(36..)?.chunks_exact(width).take(256) {
            let address = if width == 8 { u64_at(entry, 0)? } else { u32_at(entry, 0)?.into() };
            let Some(bytes) = table(map, address) else { continue };
            // Fields after the damaged part of a table stay absent.
            let _ = match bytes.get(..4) {
                Some(b"APIC") => acpi.read_madt(bytes),
                Some(b"FACP") => acpi.read_fadt(bytes, map),
                Some(b"HPET") => acpi.read_hpet(bytes),
                _ => None,
            };
        }
        Some(acpi)
    }

    fn read_madt(&mut self, bytes: &[u8]) -> Option<()> {
        self.local_apic = Some(u32_at(bytes, 36)?.into());
        let mut rest = bytes.get(44..)?;
        while let [kind, length, ..] = *rest {
            let entry = rest.get(..usize::from(length)).filter(|entry| entry.len() >= 2)?;
            rest = rest.get(entry.len()..)?;
            let _ = match kind {
                0 => self.add_cpu(u32::from(*entry.get(3)?), u32_at(entry, 4)?, u32::from(*entry.get(2)?)),
                1 => self
                    .io_apics
                    .try_push(IoApic { address: u32_at(entry, 4)?.into(), first_gsi: u32_at(entry, 8)? })
                    .ok(),
                2 => self.add_override(entry),
                5 => u64_at(entry, 4).map(|address| self.local_apic = Some(address)),
                9 => self.add_cpu(u32_at(entry, 4)?, u32_at(entry, 8)?, u32_at(entry, 12)?),
                _ => None,
            };
        }
        Some(())
    }

    fn add_cpu(&mut self, apic: u32, flags: u32, number: u32) -> Option<()> {
        if flags & 1 == 0 || self.cpus.contains(&apic) {
            return None;
        }
        if self.cpus.try_push(apic).is_err() {
            self.cpus_left_out += 1;
            return None;
        }
        self.cpu_numbers.try_push(number).ok()
    }

    fn add_override(&mut self, entry: &[u8]) -> Option<()> {
        let flags = u16_at(entry, 8)?;
        let active_low = flags & 3 == 3;
        let level = flags >> 2 & 3 == 3;
        let (irq, gsi) = (*entry.get(3)?, u32_at(entry, 4)?);
        self.overrides.try_push(Override { irq, gsi, active_low, level }).ok()
    }

    fn read_fadt(&mut self, bytes: &[u8], map: Map<'_>) -> Option<()> {
        let dsdt = u64_at(bytes, 140).filter(|&address| address != 0).or(u32_at(bytes, 40).map(u64::from))?;
        self.pm1_control = [low_u16(u32_at(bytes, 64)?.into()), low_u16(u32_at(bytes, 68)?.into())];
        let (command, value) = (u32_at(bytes, 48)?, *bytes.get(52)?);
        self.enable = u16::try_from(command).ok().filter(|&port| port != 0 && value != 0).map(|port| (port, value));
        let flags = u32_at(bytes, 112)?;
        if let Ok(port @ 1..) = u16::try_from(u32_at(bytes, 76)?) {
            self.pm_timer = Some((port, flags & 1 << 8 != 0));
        }
        if flags & 1 << 10 != 0 {
            let register = Register { space: *bytes.get(116)?, address: u64_at(bytes, 120)? };
            self.reset = Some((register, *bytes.get(128)?));
        }
        self.s5 = table(map, dsdt).and_then(find_s5);
        Some(())
    }

    fn read_hpet(&mut self, bytes: &[u8]) -> Option<()> {
        // Only a HPET in memory space is supported.
        if *bytes.get(40)? == 0 {
            self.hpet = Some(u64_at(bytes, 44)?);
        }
        Some(())
    }
}

/// Finds `Name (_S5_, Package { a, b, ... })` in the byte code without an interpreter. It searches
/// for the name followed by a package, and reads the first two elements as small constants.
fn find_s5(code: &[u8]) -> Option<[u8; 2]> {
    let name = code.windows(5).position(|bytes| bytes == b"_S5_\x12")?;
    let length_at = name + 5;
    // Package length: the two high bits of the first byte count the bytes that follow. The element
    // count comes after it.
    let mut at = length_at + usize::from(*code.get(length_at)? >> 6) + 2;
    let mut element = || {
        let value = *code.get(at)?;
        at += 1;
        match value {
            0x00 => Some(0),
            0x01 => Some(1),
            0x0a => {
                at += 1;
                code.get(at - 1).copied()
            }
            _ => None,
        }
    };
    let first = element()?;
    Some([first & 7, element().unwrap_or(first) & 7])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
        let length = bytes.len() as u32;
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[9] = 0;
        bytes[9] = 0u8.wrapping_sub(bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte)));
        bytes
    }

    fn header(name: &[u8; 4]) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.resize(36, 0);
        bytes
    }

    /// A memory with a root pointer at 0xe0000 and tables after it.
    fn memory() -> Vec<u8> {
        let mut memory = std::vec![0u8; 0x10_4000];
        let mut madt = header(b"APIC");
        madt.extend(0xfee0_0000u32.to_le_bytes());
        madt.extend([1, 0, 0, 0]);
        madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
        madt.extend([0, 8, 1, 3, 1, 0, 0, 0]);
        madt.extend([0, 8, 2, 4, 0, 0, 0, 0]);
        madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
        madt.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        let mut dsdt = header(b"DSDT");
        dsdt.extend(b"xx_S5_\x12\x08\x04\x0a\x05\x00\x00\x00");
        let mut fadt = header(b"FACP");
        fadt.resize(276, 0);
        fadt[40..44].copy_from_slice(&0x10_2000u32.to_le_bytes());
        fadt[64..68].copy_from_slice(&0x604u32.to_le_bytes());
        fadt[76..80].copy_from_slice(&0x608u32.to_le_bytes());
        let mut root = header(b"RSDT");
        for address in [0x10_1000u32, 0x10_3000] {
            root.extend(address.to_le_bytes());
        }
        for (at, table) in [(0x10_0000, root), (0x10_1000, madt), (0x10_2000, dsdt), (0x10_3000, fadt)] {
            let table = finish(table);
            memory[at..at + table.len()].copy_from_slice(&table);
        }
        let mut pointer = b"RSD PTR \0".to_vec();
        pointer.resize(16, 0);
        pointer.extend(0x10_0000u32.to_le_bytes());
        pointer[8] = 0u8.wrapping_sub(pointer.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte)));
        memory[0xe0010..0xe0010 + 20].copy_from_slice(&pointer);
        memory
    }

    fn read(memory: &'static [u8]) -> Option<Acpi> {
        let map = |address: u64, length: u64| {
            let start = usize::try_from(address).ok()?;
            memory.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        };
        Acpi::read(&map, None)
    }

    #[test]
    fn tables_are_found_and_read() {
        let acpi = read(memory().leak()).unwrap();
        assert_eq!(acpi.cpus.as_slice(), [0, 3]);
        assert_eq!(acpi.local_apic, Some(0xfee0_0000));
        assert_eq!(acpi.io_apics[0], IoApic { address: 0xfec0_0000, first_gsi: 0 });
        assert_eq!((acpi.overrides[0].irq, acpi.overrides[0].gsi), (0, 2));
        assert_eq!((acpi.pm1_control[0], acpi.pm_timer), (0x604, Some((0x608, false))));
        assert_eq!(acpi.s5, Some([5, 0]));
    }

    #[test]
    fn damaged_tables_never_panic() {
        let mut seed = 3u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize
        };
        let base = memory();
        for _ in 0..if cfg!(miri) { 4 } else { 64 } {
            let mut memory = base.clone();
            for _ in 0..=next() % 6 {
                let at = 0x10_0000 + next() % 4 * 0x1000;
                memory[at + 10 + next() % 100] = next() as u8;
                // A wrong length has a valid checksum in half of the cases.
                if next() % 2 == 0 {
                    memory[at + 4] = next() as u8;
                }
                let length = u32_at(&memory, at + 4).unwrap().min(0x1000) as usize;
                memory[at + 9] = 0;
                let sum = memory[at..at + length.max(10)].iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
                memory[at + 9] = 0u8.wrapping_sub(sum);
            }
            read(memory.leak());
        }
    }
}
