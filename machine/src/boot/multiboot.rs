//! Multiboot 1 and 2 boot information, read through a function that copies physical memory and
//! returns whether it succeeded.

use super::video::Claim;
use super::{BootInfo, Text, Vesa};

use crate::integers::to_usize;

/// In eax after a Multiboot 1 loader.
pub(crate) const MULTIBOOT1_MAGIC: u32 = 0x2bad_b002;
/// In eax after a Multiboot 2 loader.
pub(crate) const MULTIBOOT2_MAGIC: u32 = 0x36d7_6289;

/// The maximum length of a string, and of the Multiboot 2 information.
const MAX_STRING: usize = 16 * 1024;
const MAX_INFORMATION: u64 = 1 << 20;

/// Copies physical memory; returns false if there is none at that address.
type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

/// Physical memory with typed reads.
#[derive(Clone, Copy)]
struct Source<'a>(Read<'a>);

impl Source<'_> {
    fn bytes<const N: usize>(self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.0)(address, &mut bytes).then_some(bytes)
    }

    fn u32(self, address: u64) -> Option<u32> {
        self.bytes(address).map(u32::from_le_bytes)
    }

    fn u64(self, address: u64) -> Option<u64> {
        self.bytes(address).map(u64::from_le_bytes)
    }

    /// The bytes of a string, up to `limit` or the end of memory.
    fn string(self, address: u64, limit: usize) -> impl Iterator<Item = u8> {
        (0..limit.min(MAX_STRING) as u64).map_while(move |at| self.bytes::<1>(address.checked_add(at)?).map(|[b]| b))
    }
}

/// The screen description, which has the same layout in both versions. `colors` is the address of
/// the description of red, green and blue.
fn video(source: Source<'_>, at: u64, colors: u64) -> Option<Claim> {
    let [depth, kind] = source.bytes(at + 20)?;
    Some(Claim {
        address: source.u64(at)?,
        pitch: source.u32(at + 8)?,
        width: source.u32(at + 12)?,
        height: source.u32(at + 16)?,
        depth,
        kind,
        channels: source.bytes(colors)?,
    })
}

/// The VESA BIOS's information about its controller and the mode.
fn vesa(source: Source<'_>, controller: u64, mode: u64) -> Option<Vesa> {
    Some(Vesa { capabilities: source.u32(controller + 10)?, attributes: source.bytes(mode).map(u16::from_le_bytes)? })
}

/// Parses the information at `information`. Returns `None` if the magic number is unknown or the
/// information cannot be read.
pub(crate) fn parse(magic: u32, information: u64, read: Read<'_>, into: &mut BootInfo) -> Option<()> {
    match magic {
        MULTIBOOT1_MAGIC => multiboot1(Source(read), information, into),
        MULTIBOOT2_MAGIC => multiboot2(Source(read), information, into),
        _ => None,
    }
}

fn multiboot1(source: Source<'_>, at: u64, info: &mut BootInfo) -> Option<()> {
    let flags = source.u32(at)?;
    if flags & 1 << 2 != 0 {
        let line = u64::from(source.u32(at + 16)?);
        info.command_line = info.add_text(source.string(line, MAX_STRING));
    }
    if flags & 1 << 3 != 0 {
        let (count, table) = (source.u32(at + 20)?, u64::from(source.u32(at + 24)?));
        for number in 0..u64::from(count.min(1024)) {
            let entry = table + number * 16;
            let (start, end, string) = (source.u32(entry)?, source.u32(entry + 4)?, source.u32(entry + 8)?);
            let arguments =
                if string == 0 { Text::default() } else { info.add_text(source.string(string.into(), MAX_STRING)) };
            info.add_module(start.into(), end.into(), arguments);
        }
    }
    if flags & 1 << 6 != 0 {
        let (length, mut entry) = (u64::from(source.u32(at + 44)?), u64::from(source.u32(at + 48)?));
        let end = entry + length.min(1 << 16);
        while entry + 24 <= end {
            let size = u64::from(source.u32(entry)?);
            info.add_memory(source.u64(entry + 4)?, source.u64(entry + 12)?, source.u32(entry + 20)?);
            entry += size.max(20) + 4;
        }
    } else if flags & 1 != 0 {
        let (lower, upper) = (u64::from(source.u32(at + 4)?), u64::from(source.u32(at + 8)?));
        info.add_memory(0, lower.min(640) << 10, 1);
        info.add_memory(1 << 20, upper << 10, 1);
    }
    if flags & 1 << 11 != 0 {
        let (controller, mode) = (source.u32(at + 72)?, source.u32(at + 76)?);
        info.vesa = vesa(source, controller.into(), mode.into()).unwrap_or_default();
    }
    if flags & 1 << 12 != 0 {
        info.video = video(source, at + 88, at + 110);
    }
    Some(())
}

fn multiboot2(source: Source<'_>, at: u64, info: &mut BootInfo) -> Option<()> {
    let total = u64::from(source.u32(at)?).min(MAX_INFORMATION);
    let mut offset = 8;
    while offset + 8 <= total {
        let tag = at + offset;
        let (kind, size) = (source.u32(tag)?, u64::from(source.u32(tag + 4)?));
        if kind == 0 || size < 8 || offset + size > total {
            break;
        }
        multiboot2_tag(source, kind, tag, size, info)?;
        offset += size.next_multiple_of(8);
    }
    Some(())
}

fn multiboot2_tag(source: Source<'_>, kind: u32, tag: u64, size: u64, info: &mut BootInfo) -> Option<()> {
    match kind {
        1 => info.command_line = info.add_text(source.string(tag + 8, to_usize(size - 8))),
        3 if size >= 16 => {
            let (start, end) = (source.u32(tag + 8)?, source.u32(tag + 12)?);
            let arguments = info.add_text(source.string(tag + 16, to_usize(size - 16)));
            info.add_module(start.into(), end.into(), arguments);
        }
        6 if size >= 16 => {
            let entry_size = u64::from(source.u32(tag + 8)?);
            let mut entry = 16;
            while entry_size >= 24 && entry + entry_size <= size {
                let at = tag + entry;
                info.add_memory(source.u64(at)?, source.u64(at + 8)?, source.u32(at + 16)?);
                entry += entry_size;
            }
        }
        7 if size >= 784 => info.vesa = vesa(source, tag + 16, tag + 528)?,
        8 if size >= 38 => info.video = video(source, tag + 8, tag + 32),
        // Text modes have no description of colours.
        8 if size >= 32 => {
            info.video = video(source, tag + 8, tag + 8).map(|claim| Claim { channels: [0; 6], ..claim })
        }
        // EFI's system table of 64-bit firmware.
        12 if size >= 16 => info.efi_system_table = Some(source.u64(tag + 8)?),
        // A copy of ACPI's root pointer, old (14) or new (15); the new one is preferred.
        14 if info.rsdp.is_none() => info.rsdp = Some(tag + 8),
        15 => info.rsdp = Some(tag + 8),
        // EFI's memory map; only the runtime services' part is used.
        17 if size >= 16 => {
            let entry_size = u64::from(source.u32(tag + 8)?);
            let mut entry = 16;
            while entry_size >= 40 && entry + entry_size <= size {
                let at = tag + entry;
                let (start, pages) = (source.u64(at + 8)?, source.u64(at + 24)?);
                info.add_efi_memory(source.u32(at)?, start, pages, source.u64(at + 32)?);
                entry += entry_size;
            }
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::{MemoryKind, Video};
    use std::boxed::Box;
    use std::vec::Vec;

    const BASE: u64 = 0x1000;

    fn parse_bytes(magic: u32, bytes: &[u8]) -> Option<Box<BootInfo>> {
        let read = |address: u64, into: &mut [u8]| {
            let start = address.checked_sub(BASE).and_then(|start| usize::try_from(start).ok());
            let source = start.and_then(|start| bytes.get(start..start.checked_add(into.len())?));
            source.map(|source| into.copy_from_slice(source)).is_some()
        };
        let mut info = Box::<BootInfo>::default();
        parse(magic, BASE, &read, &mut info).map(|()| info)
    }

    fn sample1() -> Vec<u8> {
        let mut bytes = std::vec![0u8; 512];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(0, 1 << 2 | 1 << 3 | 1 << 6);
        put(16, 0x1100);
        put(20, 1);
        put(24, 0x1080);
        put(44, 24);
        put(48, 0x10c0);
        put(0x80, 0x10_0000);
        put(0x84, 0x10_0800);
        put(0x88, 0x1180);
        put(0xc0, 20);
        put(0xc4, 0x10_0000);
        put(0xcc, 0x100_0000);
        put(0xd4, 1);
        bytes[0x100..0x10c].copy_from_slice(b"loglvl=all\x01\0");
        bytes[0x180..0x186].copy_from_slice(b"guest\0");
        bytes
    }

    #[test]
    fn multiboot1_is_read_whole() {
        let info = parse_bytes(MULTIBOOT1_MAGIC, &sample1()).unwrap();
        assert_eq!(info.command_line(), "loglvl=all?");
        let module = info.modules()[0];
        assert_eq!((module.start().get(), module.len(), info.arguments(&module)), (0x10_0000, 0x800, "guest"));
        let range = info.memory_map()[0];
        assert_eq!((range.start, range.end, range.kind), (0x10_0000, 0x110_0000, MemoryKind::Usable));
    }

    #[test]
    fn multiboot2_is_read_whole() {
        let mut bytes = Vec::new();
        let mut tag = |kind: u32, content: &[u8]| {
            bytes.extend(kind.to_le_bytes());
            bytes.extend((content.len() as u32 + 8).to_le_bytes());
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        tag(1, b"noreboot\0");
        tag(3, &[&0x20_0000u32.to_le_bytes()[..], &0x20_1000u32.to_le_bytes(), b"ramdisk\0"].concat());
        let map =
            [&24u32.to_le_bytes()[..], &[0; 4], &0u64.to_le_bytes(), &0x9000u64.to_le_bytes(), &2u64.to_le_bytes()];
        tag(6, &map.concat());
        tag(14, b"RSD PTR ");
        tag(0, &[]);
        let mut whole = (bytes.len() as u64 + 8).to_le_bytes().to_vec();
        whole.extend(bytes);
        let info = parse_bytes(MULTIBOOT2_MAGIC, &whole).unwrap();
        assert_eq!((info.command_line(), info.arguments(&info.modules()[0])), ("noreboot", "ramdisk"));
        assert_eq!(info.memory_map()[0].kind, MemoryKind::Reserved);
        assert!(info.rsdp().is_some());
    }

    #[test]
    fn the_screen_is_read_from_both_versions() {
        let screen =
            [&0x8000_0000u64.to_le_bytes()[..], &[5120u32, 1280, 800].map(u32::to_le_bytes).concat(), &[32, 1]]
                .concat();
        let claim = Claim {
            address: 0x8000_0000,
            pitch: 5120,
            width: 1280,
            height: 800,
            depth: 32,
            kind: 1,
            channels: [16, 8, 8, 8, 0, 8],
        };
        let mut first = sample1();
        first[1] |= 1 << 4;
        first[88..110].copy_from_slice(&screen);
        first[110..116].copy_from_slice(&claim.channels);
        let info = parse_bytes(MULTIBOOT1_MAGIC, &first).unwrap();
        assert_eq!(info.video(), Some((claim, Vesa::default())));

        let tag = |size: u32, rest: &[u8]| {
            let mut bytes = [&[0; 8][..], &8u32.to_le_bytes(), &size.to_le_bytes(), &screen, rest].concat();
            bytes.resize(64, 0);
            bytes[0] = 64;
            parse_bytes(MULTIBOOT2_MAGIC, &bytes).unwrap().video().map(|(claim, _)| claim)
        };
        assert_eq!(tag(38, &[0, 0, 16, 8, 8, 8, 0, 8]), Some(claim));
        assert_eq!(tag(32, &[0, 0]), Some(Claim { channels: [0; 6], ..claim }));
        assert_eq!(tag(31, &[]), None);
    }

    #[test]
    fn corrupt_information_never_panics() {
        let mut seed = 7u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize
        };
        for round in 0..if cfg!(miri) { 50 } else { 20_000 } {
            let mut bytes = sample1();
            for _ in 0..next() % 16 {
                let at = next() % bytes.len();
                bytes[at] = if next() % 3 == 0 { 0xff } else { next() as u8 };
            }
            if next() % 2 == 0 {
                // A screen and the VESA BIOS's information.
                bytes[1] |= 0x18;
            }
            bytes.truncate(next() % (bytes.len() + 1));
            let magic = if round % 2 == 0 { MULTIBOOT1_MAGIC } else { MULTIBOOT2_MAGIC };
            let claimed = parse_bytes(magic, &bytes).and_then(|info| Some((info.video()?, info.memory_map().to_vec())));
            if let Some(((claim, vesa), map)) = claimed
                && let Ok(Video::Framebuffer(found)) = claim.check(&map, vesa, 1 << 40)
            {
                assert!(found.address + found.size() <= 1 << 40 && found.width * found.pixel_size() <= found.pitch);
            }
        }
    }
}
