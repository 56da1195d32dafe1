//! The screen as configured by the boot loader. The loader's description is validated once, before
//! anything is drawn.

use core::fmt;

use super::{MemoryKind, MemoryRange};

/// Physical address of the VGA text buffer.
pub(crate) const TEXT_BASE: u64 = 0xb8000;

/// The maximum width and height in pixels, and bytes of a line, that are accepted.
const MAX_SIDE: u32 = 16_384;
const MAX_PITCH: u32 = MAX_SIDE * 4;
/// The minimum width and height in pixels that are accepted.
const MIN_SIDE: u32 = 160;
/// Columns and rows of text modes.
const COLUMNS: core::ops::RangeInclusive<u32> = 40..=132;
const ROWS: core::ops::RangeInclusive<u32> = 25..=60;
const LARGEST: u64 = 256 << 20;

/// Kinds of framebuffer, as Multiboot numbers them.
const KIND_RGB: u8 = 1;
const KIND_TEXT: u8 = 2;

/// The loader's description, unchecked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Claim {
    pub(crate) address: u64,
    pub(crate) pitch: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) depth: u8,
    pub(crate) kind: u8,
    /// Position and size of red, green and blue.
    pub(crate) channels: [u8; 6],
}

/// The VESA BIOS's description of the mode, for callers of that BIOS.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Vesa {
    /// Capabilities of the controller.
    pub capabilities: u32,
    /// Attributes of the mode.
    pub attributes: u16,
}

/// A screen that can be drawn on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Video {
    /// VGA text mode 3: colour, at its usual place.
    Text(TextMode),
    /// A linear framebuffer.
    Framebuffer(Framebuffer),
}

/// A text mode, in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TextMode {
    /// Characters of a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
    /// Pixel rows of a character.
    pub font_height: u16,
}

/// A framebuffer with direct colour. It does not overlap RAM of the memory map, and all its lines
/// are within its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framebuffer {
    /// Physical address of the first pixel.
    pub address: u64,
    /// Bytes from one line to the next.
    pub pitch: u32,
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel: 15, 16, 24 or 32.
    pub depth: u8,
    /// Red, green and blue.
    pub channels: [Channel; 3],
    /// The VESA BIOS's description; zeros under EFI.
    pub vesa: Vesa,
}

/// The position of a colour in a pixel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Its lowest bit.
    pub position: u8,
    /// Its number of bits.
    pub size: u8,
}

/// The reason why a screen is not drawn on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unusable {
    /// A kind that is not supported: indexed colours, or unknown. The number is Multiboot's.
    Kind(u8),
    /// An unsupported number of bits per pixel, or channels that do not fit.
    Pixels(u8),
    /// Width, height or line length are invalid.
    Size(u32, u32),
    /// The framebuffer would overlap memory, or is beyond the mapped range.
    Place(u64),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "a framebuffer of kind {kind}"),
            Self::Pixels(depth) => write!(f, "pixels of {depth} bits in an unknown format"),
            Self::Size(width, height) => write!(f, "a size of {width}x{height}"),
            Self::Place(address) => write!(f, "a framebuffer at {address:#x}"),
        }
    }
}

impl fmt::Display for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(TextMode { columns, rows, .. }) => write!(f, "text of {columns}x{rows}"),
            Self::Framebuffer(Framebuffer { width, height, depth, address, .. }) => {
                write!(f, "{width}x{height}, {depth} bits per pixel, at {address:#x}")
            }
        }
    }
}

impl Claim {
    /// The screen, if the description is valid on a machine with this memory map and physical
    /// addresses below `limit`.
    pub(crate) fn check(&self, memory: &[MemoryRange], vesa: Vesa, limit: u64) -> Result<Video, Unusable> {
        match self.kind {
            KIND_TEXT => self.text(),
            KIND_RGB => self.framebuffer(memory, vesa, limit).map(Video::Framebuffer),
            kind => Err(Unusable::Kind(kind)),
        }
    }

    fn text(&self) -> Result<Video, Unusable> {
        let mode = TextMode::of_size(self.width, self.height).filter(|mode| self.pitch == u32::from(mode.columns) * 2);
        let mode = mode.ok_or(Unusable::Size(self.width, self.height))?;
        if self.address != TEXT_BASE {
            return Err(Unusable::Place(self.address));
        }
        Ok(Video::Text(mode))
    }

    fn framebuffer(&self, memory: &[MemoryRange], vesa: Vesa, limit: u64) -> Result<Framebuffer, Unusable> {
        let &Self { address, pitch, width, height, depth, channels, .. } = self;
        let [red, red_size, green, green_size, blue, blue_size] = channels;
        let channels = [(red, red_size), (green, green_size), (blue, blue_size)];
        let channels = channels.map(|(position, size)| Channel { position, size });
        if !matches!(depth, 15 | 16 | 24 | 32) || !are_sound(&channels, depth) {
            return Err(Unusable::Pixels(depth));
        }
        let side = MIN_SIDE..=MAX_SIDE;
        let line = width.saturating_mul(bytes_of(depth))..=MAX_PITCH;
        if !side.contains(&width) || !side.contains(&height) || !line.contains(&pitch) {
            return Err(Unusable::Size(width, height));
        }
        let size = u64::from(pitch) * u64::from(height);
        let end = address.checked_add(size).filter(|&end| address != 0 && end <= limit && size <= LARGEST);
        let end = end.ok_or(Unusable::Place(address))?;
        // The first MiB contains VGA windows and data of the firmware.
        let in_memory = memory
            .iter()
            .filter(|range| range.kind != MemoryKind::Reserved)
            .any(|range| range.start < end && address < range.end);
        if in_memory || address < 1 << 20 {
            return Err(Unusable::Place(address));
        }
        Ok(Framebuffer { address, pitch, width, height, depth, channels, vesa })
    }
}

impl TextMode {
    /// The mode with this many columns and rows on 400 lines, if it is possible.
    pub(crate) fn of_size(columns: u32, rows: u32) -> Option<Self> {
        let font_height = (400 / rows.max(1)).min(16) as u16;
        let plausible = COLUMNS.contains(&columns) && ROWS.contains(&rows);
        let (columns, rows) = (u16::try_from(columns).ok()?, u16::try_from(rows).ok()?);
        plausible.then_some(Self { columns, rows, font_height })
    }
}

/// Whether each channel has one to eight bits within the pixel, and no two overlap.
fn are_sound(channels: &[Channel; 3], depth: u8) -> bool {
    let mut used = 0u32;
    channels.iter().all(|channel| {
        let fits = (1..=8).contains(&channel.size) && channel.position <= depth - channel.size.min(depth);
        let mask = if fits { channel.mask() } else { 0 };
        let free = used & mask == 0;
        used |= mask;
        fits && free
    })
}

const fn bytes_of(depth: u8) -> u32 {
    depth.div_ceil(8) as u32
}

impl Channel {
    const fn mask(self) -> u32 {
        ((1 << self.size) - 1) << self.position
    }
}

impl Framebuffer {
    /// Size in bytes.
    pub const fn size(&self) -> u64 {
        self.pitch as u64 * self.height as u64
    }

    /// Bytes per pixel.
    pub const fn pixel_size(&self) -> u32 {
        bytes_of(self.depth)
    }

    /// A grey of brightness 0 to 255 as a pixel value.
    pub fn grey(&self, brightness: u8) -> u32 {
        let part = |channel: &Channel| u32::from(brightness >> (8 - channel.size)) << channel.position;
        self.channels.iter().map(part).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1 << 40;
    const CLAIM: Claim = Claim {
        address: 0xfd00_0000,
        pitch: 4096,
        width: 1024,
        height: 768,
        depth: 32,
        kind: KIND_RGB,
        channels: [16, 8, 8, 8, 0, 8],
    };

    fn check(claim: Claim) -> Result<Video, Unusable> {
        let memory = [
            MemoryRange { start: 0, end: 0x4000_0000, kind: MemoryKind::Usable },
            MemoryRange { start: 0xe000_0000, end: 0xf000_0000, kind: MemoryKind::Reserved },
        ];
        claim.check(&memory, Vesa::default(), LIMIT)
    }

    #[test]
    fn a_valid_framebuffer_is_accepted() {
        let Ok(Video::Framebuffer(found)) = check(CLAIM) else { panic!("refused") };
        assert_eq!((found.size(), found.pixel_size(), found.grey(0xff)), (4096 * 768, 4, 0xff_ffff));
        let narrow = Claim { depth: 16, pitch: 2048, channels: [11, 5, 5, 6, 0, 5], ..CLAIM };
        let Ok(Video::Framebuffer(narrow)) = check(narrow) else { panic!("refused") };
        assert_eq!((narrow.pixel_size(), narrow.grey(0xff), narrow.grey(0x80)), (2, 0xffff, 0x8410));
        assert!(check(Claim { depth: 24, pitch: 3072, ..CLAIM }).is_ok());
        // Reserved ranges of the memory map may contain devices.
        assert!(check(Claim { address: 0xe000_0000, ..CLAIM }).is_ok());
    }

    #[test]
    fn an_invalid_framebuffer_is_refused() {
        let pixels = |claim| matches!(check(claim), Err(Unusable::Pixels(_)));
        for depth in [0, 1, 8, 17, 64, 255] {
            assert!(pixels(Claim { depth, ..CLAIM }), "{depth}");
        }
        for channels in [[0; 6], [16, 8, 16, 8, 0, 8], [30, 8, 8, 8, 0, 8], [255, 1, 8, 8, 0, 8], [16, 255, 8, 8, 0, 8]]
        {
            assert!(pixels(Claim { channels, ..CLAIM }), "{channels:?}");
        }
        let size = |claim| matches!(check(claim), Err(Unusable::Size(..)));
        for (width, height, pitch) in [
            (0, 768, 4096),
            (1024, 0, 4096),
            (1024, 768, 4095),
            (1024, 768, u32::MAX),
            (u32::MAX, 768, u32::MAX),
            (1024, u32::MAX, 4096),
            (0x4000_0001, 768, 4096),
        ] {
            assert!(size(Claim { width, height, pitch, ..CLAIM }), "{width} {height} {pitch}");
        }
        let place = |claim| matches!(check(claim), Err(Unusable::Place(_)));
        for address in [0, 0x1000, 0xa0000, 0x10_0000, 0x3fff_f000, LIMIT - 4096, u64::MAX, u64::MAX - 4096] {
            assert!(place(Claim { address, ..CLAIM }), "{address:#x}");
        }
        assert!(place(Claim { pitch: MAX_PITCH, width: 16_384, height: 16_384, ..CLAIM }), "too large");
        for kind in [0, 3, 255] {
            assert_eq!(check(Claim { kind, ..CLAIM }), Err(Unusable::Kind(kind)));
        }
    }

    #[test]
    fn text_is_accepted_only_at_the_vga_address() {
        let text = Claim { address: TEXT_BASE, pitch: 160, width: 80, height: 25, depth: 16, kind: 2, ..CLAIM };
        assert_eq!(check(text), Ok(Video::Text(TextMode { columns: 80, rows: 25, font_height: 16 })));
        let small = TextMode { columns: 80, rows: 50, font_height: 8 };
        assert_eq!(check(Claim { height: 50, ..text }), Ok(Video::Text(small)));
        assert!(check(Claim { address: 0xb0000, ..text }).is_err());
        assert!(check(Claim { pitch: 162, ..text }).is_err());
        assert!(check(Claim { height: 300, ..text }).is_err());
        assert!(check(Claim { width: 0, pitch: 0, ..text }).is_err());
    }
}
