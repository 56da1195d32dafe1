//! Bit maps of the characters, from the fonts of `embedded-graphics`. The screen's width selects
//! the font, so that text stays legible.

use core::iter::repeat_n;

use embedded_graphics::geometry::{OriginDimensions, Point};
use embedded_graphics::image::GetPixel;
use embedded_graphics::mono_font::MonoFont;
use embedded_graphics::mono_font::ascii::{FONT_8X13, FONT_10X20};
use embedded_graphics::pixelcolor::BinaryColor;

use crate::integers::saturating_u32;
use crate::speculation::MaskedIndex;

const FIRST: u8 = b' ';
const COUNT: usize = 95;
const MAX_HEIGHT: usize = 20;

/// Screens of at least this width in pixels get the larger font. Each multiple of it adds one to
/// the scale.
const WIDE: u32 = 1280;

/// The printable characters of ASCII as bit maps of one size.
pub(crate) struct Glyphs {
    width: u32,
    height: u32,
    /// Screen pixels per font pixel, in both directions.
    scale: u32,
    /// Rows from the top, the leftmost pixel in bit 0.
    rows: [[u16; MAX_HEIGHT]; COUNT],
}

impl Glyphs {
    /// The characters for a screen of this width.
    pub(crate) fn for_width(width: u32) -> Self {
        let scale = (width / WIDE).clamp(1, 8);
        Self::new(if width < WIDE { &FONT_8X13 } else { &FONT_10X20 }, scale)
    }

    fn new(font: &MonoFont<'_>, scale: u32) -> Self {
        let (width, height) =
            (font.character_size.width.min(u16::BITS), font.character_size.height.min(saturating_u32(MAX_HEIGHT)));
        let image_columns = (font.image.size().width / width).max(1);
        let mut rows = [[0; MAX_HEIGHT]; COUNT];
        for (glyph, character) in rows.iter_mut().zip(FIRST..) {
            let index = saturating_u32(font.glyph_mapping.index(char::from(character)));
            let (left, top) = (index % image_columns * width, index / image_columns * height);
            for (y, row) in (top..top + height).zip(glyph) {
                let pixel = |x: &u32| {
                    font.image.pixel(Point::new((left + x).cast_signed(), y.cast_signed())) == Some(BinaryColor::On)
                };
                *row = (0..width).filter(pixel).map(|x| 1 << x).sum();
            }
        }
        Self { width, height, scale, rows }
    }

    /// Width and height of a character on the screen.
    pub(crate) const fn cell(&self) -> (u32, u32) {
        (self.width * self.scale, self.height * self.scale)
    }

    /// The pixel lines of a character on the screen from the top. Each yields whether its pixels
    /// are lit, from the left.
    pub(crate) fn lines(&self, character: u8) -> impl Iterator<Item = impl Iterator<Item = bool>> {
        let glyph = self.rows.masked(usize::from(character.wrapping_sub(FIRST))).unwrap_or(&[0; MAX_HEIGHT]);
        let (width, scale) = (self.width, self.scale as usize);
        let pixels = move |row: u16| (0..width).flat_map(move |x| repeat_n(row >> x & 1 != 0, scale));
        glyph.iter().take(self.height as usize).flat_map(move |&row| repeat_n(row, scale)).map(pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn picture(glyphs: &Glyphs, character: u8) -> Vec<bool> {
        let (width, height) = glyphs.cell();
        let pixels: Vec<_> = glyphs.lines(character).flatten().collect();
        assert_eq!(pixels.len(), (width * height) as usize);
        pixels
    }

    #[test]
    fn every_printable_character_has_a_picture_of_its_own() {
        for width in [640, 1920, 3840] {
            let glyphs = Glyphs::for_width(width);
            let pictures: BTreeSet<_> = (b' '..=b'~').map(|character| picture(&glyphs, character)).collect();
            assert_eq!(pictures.len(), COUNT);
            assert!(!picture(&glyphs, b' ').contains(&true) && picture(&glyphs, b'|').contains(&true));
            assert!(!picture(&glyphs, 0).contains(&true) && !picture(&glyphs, 255).contains(&true));
        }
    }

    #[test]
    fn wide_screens_get_larger_characters() {
        let cells = [640, 1024, 1280, 1920, 2560, 3840].map(|width| Glyphs::for_width(width).cell());
        assert_eq!(cells, [(8, 13), (8, 13), (10, 20), (10, 20), (20, 40), (30, 60)]);
    }
}
