//! The format of compressed data, and the decompressed size at their end.

use crate::error::{Error, Failure};
use crate::{gzip, lz4, xz, zstd};

/// The largest decompressed size that is accepted.
pub const MAX_SIZE: usize = 512 << 20;

#[derive(Clone, Copy, Debug)]
enum Format {
    Gzip,
    Xz,
    Lz4,
    Zstd,
}

impl Format {
    /// The format whose magic number the data begin with.
    fn of(data: &[u8]) -> Option<Self> {
        const MAGIC_NUMBERS: [(&[u8], Format); 4] = [
            (&[0x1f, 0x8b, 8], Format::Gzip),
            (b"\xfd7zXZ\0", Format::Xz),
            (&[0x02, 0x21, 0x4c, 0x18], Format::Lz4),
            (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
        ];
        MAGIC_NUMBERS.iter().find(|(magic, _)| data.starts_with(magic)).map(|&(_, format)| format)
    }

    const fn damaged(self) -> Error {
        Error::Damaged(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Compressed data that end with their decompressed size. The size is the data's claim: it is
/// limited, but not verified before the data have been decompressed.
#[derive(Clone, Copy, Debug)]
pub struct Compressed<'a> {
    format: Format,
    data: &'a [u8],
    /// The data without the size.
    stream: &'a [u8],
    size: usize,
}

impl<'a> Compressed<'a> {
    /// Reads the format and the decompressed size.
    ///
    /// # Errors
    /// [`Error::UnknownFormat`], [`Error::TooLarge`], or [`Error::Damaged`] if there is no size.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let format = Format::of(data).ok_or(Error::UnknownFormat)?;
        let (stream, size) = data.split_last_chunk().ok_or(format.damaged())?;
        let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| format.damaged())?;
        if size > MAX_SIZE { Err(Error::TooLarge(size)) } else { Ok(Self { format, data, stream, size }) }
    }

    /// The decompressed size in bytes, at most [`MAX_SIZE`].
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Decompresses into `output`, which has [`Self::size`] bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`], also if the data do not fill `output` exactly, or
    /// [`Error::Unsupported`].
    pub fn decompress_into(&self, output: &mut [u8]) -> Result<(), Error> {
        let stream = self.stream;
        let result = match self.format {
            // The size at the end is part of this format.
            Format::Gzip => gzip::decompress(self.data, output).map_err(Failure::from),
            Format::Xz => xz::decompress(stream, output),
            Format::Lz4 => lz4::decompress(stream, output).map_err(Failure::from),
            Format::Zstd => zstd::decompress(stream, output).map_err(Failure::from),
        };
        result.map_err(|failure| match failure {
            Failure::Damaged => self.format.damaged(),
            Failure::Unsupported(what) => Error::Unsupported(what),
        })
    }
}
