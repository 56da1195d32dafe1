//! The description of the screen for the initial domain (public header `xen.h`,
//! `dom0_vga_console_info`), with which its kernel takes the screen over from Paravane.

use abi::xen::{VgaConsoleFramebuffer, VgaConsoleTextMode, vga_type};
use machine::boot::{self, Framebuffer, TextMode, Video};
use machine::integers::low_u32;
use zerocopy::{FromZeros, IntoBytes};

/// Size of the description in bytes.
pub(crate) const DESCRIPTION_SIZE: usize = size_of::<VgaConsoleFramebuffer>();
/// Unit of the field `framebuffer_size`.
const SIZE_UNIT: u64 = 64 << 10;

/// The description, if there is a screen that the format can express.
pub(crate) fn description() -> Option<[u8; DESCRIPTION_SIZE]> {
    describe(boot::video()?, boot::efi().is_some(), machine::console::screen_cursor())
}

fn describe(video: &Video, efi: bool, cursor: (u16, u16)) -> Option<[u8; DESCRIPTION_SIZE]> {
    let mut bytes = [0; DESCRIPTION_SIZE];
    match video {
        Video::Text(mode) => text(*mode, cursor).write_to(&mut bytes).ok()?,
        Video::Framebuffer(format) => framebuffer(format, efi)?.write_to(&mut bytes).ok()?,
    }
    Some(bytes)
}

fn text(mode: TextMode, (column, row): (u16, u16)) -> VgaConsoleTextMode {
    let mut info = VgaConsoleTextMode::new_zeroed();
    info.video_type = vga_type::TEXT_MODE_3;
    info.font_height = mode.font_height;
    (info.cursor_x, info.cursor_y) = (column, row);
    (info.columns, info.rows) = (mode.columns, mode.rows);
    info
}

fn framebuffer(format: &Framebuffer, efi: bool) -> Option<VgaConsoleFramebuffer> {
    let mut info = VgaConsoleFramebuffer::new_zeroed();
    info.video_type = if efi { vga_type::EFI_LFB } else { vga_type::VESA_LFB };
    info.width = u16::try_from(format.width).ok()?;
    info.height = u16::try_from(format.height).ok()?;
    info.bytes_per_line = u16::try_from(format.pitch).ok()?;
    info.bits_per_pixel = format.depth.into();
    info.framebuffer_base = low_u32(format.address);
    info.framebuffer_base_high = (format.address >> 32) as u32;
    info.framebuffer_size = u32::try_from(format.size().div_ceil(SIZE_UNIT)).ok()?;
    let [red, green, blue] = format.channels;
    (info.red_position, info.red_size) = (red.position, red.size);
    (info.green_position, info.green_size) = (green.position, green.size);
    (info.blue_position, info.blue_size) = (blue.position, blue.size);
    // The bits above all colours are reserved.
    let used = format.channels.iter().map(|channel| channel.position + channel.size).max()?;
    (info.reserved_position, info.reserved_size) =
        if used < format.depth { (used, format.depth - used) } else { (0, 0) };
    (info.global_capabilities, info.mode_attributes) = (format.vesa.capabilities, format.vesa.attributes);
    Some(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine::hosted::SCREEN;
    use zerocopy::FromBytes;

    #[test]
    fn all_fields_of_a_framebuffer_are_described() {
        for (efi, kind) in [(true, 0x70), (false, 0x23)] {
            let bytes = describe(&Video::Framebuffer(SCREEN), efi, (0, 0)).expect("it fits");
            let info = VgaConsoleFramebuffer::read_from_bytes(&bytes).expect("the size is right");
            assert_eq!((info.video_type, info.width, info.height, info.bytes_per_line), (kind, 1280, 800, 5120));
            assert_eq!((info.framebuffer_base, info.framebuffer_base_high), (0x8000_0000, 0x12));
            assert_eq!((info.framebuffer_size, info.bits_per_pixel), (63, 32));
            assert_eq!((info.red_position, info.green_position, info.blue_position), (16, 8, 0));
            assert_eq!((info.reserved_position, info.reserved_size), (24, 8));
            assert_eq!((info.global_capabilities, info.mode_attributes), (1, 0xbb));
        }
        let long = Framebuffer { pitch: 0x1_0000, ..SCREEN };
        assert_eq!(describe(&Video::Framebuffer(long), true, (0, 0)), None, "the field is too small");
    }

    #[test]
    fn text_is_described_with_its_cursor() {
        let mode = TextMode { columns: 80, rows: 25, font_height: 16 };
        let bytes = describe(&Video::Text(mode), false, (7, 24)).expect("it fits");
        let info = VgaConsoleTextMode::read_from_bytes(&bytes).expect("the size is right");
        assert_eq!((info.video_type, info.font_height), (3, 16));
        assert_eq!((info.columns, info.rows, info.cursor_x, info.cursor_y), (80, 25, 7, 24));
    }
}
