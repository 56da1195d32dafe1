//! Pictures of a screen, and the text in them: recognised by a known font, or compared with
//! expected text.

use std::collections::HashMap;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::ascii::{FONT_8X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::Baseline;
use embedded_graphics::text::renderer::TextRenderer;

/// Pixels of at least this brightness count as lit.
const LIT: u8 = 0x60;
/// A cell under the cursor may look different.
const CURSORS: usize = 2;

/// A picture: the brightest colour channel of each pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pixels: Vec<u8>,
}

/// The pixels of a cell.
type Cell = Vec<bool>;

/// One character as drawn by the crate of the font.
struct Canvas {
    size: Size,
    pixels: Cell,
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Canvas {
    type Color = BinaryColor;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for Pixel(Point { x, y }, color) in pixels {
            let (x, y) = (usize::try_from(x).unwrap_or(usize::MAX), usize::try_from(y).unwrap_or(usize::MAX));
            if x < self.size.width as usize && y < self.size.height as usize {
                self.pixels[y * self.size.width as usize + x] = color.is_on();
            }
        }
        Ok(())
    }
}

/// All printable characters of a font, by their pixels.
fn alphabet(font: &MonoFont<'_>) -> HashMap<Cell, char> {
    let draw = |character: char| {
        let size = font.character_size;
        let mut canvas = Canvas { size, pixels: vec![false; (size.width * size.height) as usize] };
        let style = MonoTextStyle::new(font, BinaryColor::On);
        // Drawing into memory does not fail.
        let _ = style.draw_string(&character.to_string(), Point::zero(), Baseline::Top, &mut canvas);
        (canvas.pixels, character)
    };
    (' '..='~').map(draw).collect()
}

impl Picture {
    /// Reads a PPM file with three bytes for each pixel.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut word = || {
            let start = at + bytes.get(at..)?.iter().position(|byte| !byte.is_ascii_whitespace())?;
            at = start + bytes[start..].iter().position(u8::is_ascii_whitespace)?;
            std::str::from_utf8(&bytes[start..at]).ok()
        };
        let header = [word()?, word()?, word()?, word()?];
        let (width, height) = (header[1].parse().ok()?, header[2].parse().ok()?);
        let pixels = bytes.get(at + 1..)?;
        let right = header[0] == "P6" && header[3] == "255" && pixels.len() == usize::checked_mul(width, height)? * 3;
        let brightest = |pixel: &[u8]| pixel.iter().copied().max().unwrap_or(0);
        right.then(|| Self { width, height, pixels: pixels.chunks(3).map(brightest).collect() })
    }

    /// The pixels of a cell of this size.
    fn cell(&self, column: usize, row: usize, (width, height): (usize, usize)) -> Cell {
        let lines = (row * height..(row + 1) * height).map(|y| y * self.width + column * width);
        lines.flat_map(|start| self.pixels[start..start + width].iter().map(|&pixel| pixel >= LIT)).collect()
    }

    /// Recognises the text of Paravane's console on a screen of this width, row by row. An unknown
    /// character is `\u{fffd}`.
    pub(crate) fn text(&self) -> Vec<String> {
        let font = if self.width < 1280 { &FONT_8X13 } else { &FONT_10X20 };
        let alphabet = alphabet(font);
        let size = (font.character_size.width as usize, font.character_size.height as usize);
        let read = |column, row| alphabet.get(&self.cell(column, row, size)).copied().unwrap_or('\u{fffd}');
        let rows = 0..self.height / size.1;
        rows.map(|row| {
            let text: String = (0..self.width / size.0).map(|column| read(column, row)).collect();
            text.trim_end().to_owned()
        })
        .collect()
    }

    /// Whether the picture shows `rows` of text in any font with fixed-size cells: equal characters
    /// look equal, others differ.
    pub(crate) fn shows(&self, rows: &[String], columns: usize) -> Result<(), String> {
        let size = (self.width / columns, self.height / rows.len());
        let mut looks: HashMap<u8, HashMap<Cell, usize>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            for (column, character) in row.bytes().chain(std::iter::repeat(b' ')).take(columns).enumerate() {
                *looks.entry(character).or_default().entry(self.cell(column, at, size)).or_default() += 1;
            }
        }
        let mut usual: HashMap<&Cell, u8> = HashMap::new();
        let mut odd = 0;
        for (&character, cells) in &looks {
            let total: usize = cells.values().sum();
            let Some((cell, &count)) = cells.iter().max_by_key(|(_, count)| **count) else { continue };
            odd += total - count;
            if let Some(other) = usual.insert(cell, character) {
                return Err(format!("{:?} and {:?} look the same", char::from(other), char::from(character)));
            }
        }
        if odd > CURSORS { Err(format!("{odd} characters look different from others of their kind")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(font: &MonoFont<'_>, width: usize, rows: &[&str]) -> Picture {
        let looks: HashMap<char, Cell> =
            alphabet(font).into_iter().map(|(cell, character)| (character, cell)).collect();
        let (cell_width, cell_height) = (font.character_size.width as usize, font.character_size.height as usize);
        let mut picture =
            Picture { width, height: rows.len() * cell_height, pixels: vec![0; width * rows.len() * cell_height] };
        for (row, text) in rows.iter().enumerate() {
            for (column, character) in text.chars().enumerate() {
                for (at, lit) in looks[&character].iter().enumerate() {
                    let (x, y) = (column * cell_width + at % cell_width, row * cell_height + at / cell_width);
                    picture.pixels[y * width + x] = if *lit { 0xc8 } else { 0 };
                }
            }
        }
        picture
    }

    #[test]
    fn text_is_read_by_its_font() {
        let rows = ["(pv) Paravane", "|{}~ 0O"];
        assert_eq!(drawn(&FONT_8X13, 640, &rows).text(), rows);
        assert_eq!(drawn(&FONT_10X20, 1280, &rows).text(), rows);
        assert_ne!(drawn(&FONT_8X13, 640, &rows).text(), ["(pv) Paravane", "|{}~ 0P"]);
    }

    #[test]
    fn text_is_compared_without_a_font() {
        let rows = ["abcabc", "cab   "].map(String::from);
        let picture = drawn(&FONT_8X13, 6 * 8, &["abcabc", "cab   "]);
        assert_eq!(picture.shows(&rows, 6), Ok(()));
        assert!(picture.shows(&["abcabc", "abc   "].map(String::from), 6).is_err());
        let blank = Picture { pixels: vec![0; picture.pixels.len()], ..picture };
        assert!(blank.shows(&rows, 6).is_err());
    }

    #[test]
    fn only_whole_files_are_pictures() {
        let file = b"P6\n2 1\n255\n\x00\x10\x00\xff\x00\x00";
        let expected = Picture { width: 2, height: 1, pixels: vec![0x10, 0xff] };
        assert_eq!(Picture::parse(file), Some(expected));
        for length in 0..file.len() {
            assert_eq!(Picture::parse(&file[..length]), None);
        }
    }
}
