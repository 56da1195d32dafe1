//! Compressed kernels: which method it is, and into how much memory it goes. Linux's build puts the decompressed size behind
//! the compressed data (gzip has it there by itself); that many bytes are reserved, and a stream that comes out longer or
//! shorter is refused.

mod copy;
mod gzip;
mod lz4;
// All the work is other crates', and would take Miri hours.
#[cfg(all(test, not(miri)))]
mod tests;
mod xz;
mod zstd;

use core::fmt;

use machine::frames::Buffer;

use super::bzimage::read_u32;

/// The largest kernel that is decompressed.
pub(crate) const MAX_SIZE: usize = 512 << 20;

/// Why compressed data could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DecompressError {
    /// The first bytes are those of no known method.
    UnknownMethod,
    /// The data claim to become so many bytes, which is too many.
    TooLarge(usize),
    /// There is no memory for so many contiguous bytes.
    NoMemory(usize),
    /// The data make no sense, or do not come out at the size that they claim.
    Damaged(&'static str),
    /// They use what is not provided for.
    Unsupported(&'static str),
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownMethod => f.write_str("it is compressed by none of gzip, xz, lz4 and zstd"),
            Self::TooLarge(size) => write!(f, "it claims to decompress to {size} bytes"),
            Self::NoMemory(size) => {
                write!(f, "no {} MiB of contiguous memory are free to decompress it", size.div_ceil(1 << 20))
            }
            Self::Damaged(method) => write!(f, "its {method} data are damaged"),
            Self::Unsupported(what) => write!(f, "it is compressed with {what}"),
        }
    }
}

/// A method of compression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Gzip,
    Xz,
    Lz4,
    Zstd,
}

impl Method {
    /// The method that data begin with the mark of.
    pub(super) fn of(data: &[u8]) -> Option<Self> {
        const MARKS: [(&[u8], Method); 4] = [
            (&[0x1f, 0x8b, 8], Method::Gzip),
            (b"\xfd7zXZ\0", Method::Xz),
            (&[0x02, 0x21, 0x4c, 0x18], Method::Lz4),
            (&[0x28, 0xb5, 0x2f, 0xfd], Method::Zstd),
        ];
        MARKS.iter().find(|(mark, _)| data.starts_with(mark)).map(|&(_, method)| method)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// The stream ended early, was inconsistent, or did not fill its output exactly.
#[derive(Debug)]
struct Damaged;

/// Why a method with variants gave up.
enum Failure {
    Damaged,
    Unsupported(&'static str),
}

impl From<Damaged> for Failure {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

/// Decompresses data that end with the size that they become.
pub(super) fn decompress(data: &[u8]) -> Result<Buffer, DecompressError> {
    let method = Method::of(data).ok_or(DecompressError::UnknownMethod)?;
    let damaged = DecompressError::Damaged(method.name());
    let body = data.len().checked_sub(4).ok_or(damaged)?;
    let size = read_u32(data, body).ok_or(damaged)?;
    if size > MAX_SIZE {
        return Err(DecompressError::TooLarge(size));
    }
    let mut buffer = Buffer::new(size).ok_or(DecompressError::NoMemory(size))?;
    let stream = &data[..body];
    let output = buffer.as_mut_slice();
    let result = match method {
        Method::Gzip => gzip::decompress(data, output).map_err(Failure::from),
        Method::Lz4 => lz4::decompress(stream, output).map_err(Failure::from),
        Method::Xz => xz::decompress(stream, output),
        Method::Zstd => zstd::decompress(stream, output).map_err(Failure::from),
    };
    result.map_err(|failure| match failure {
        Failure::Damaged => damaged,
        Failure::Unsupported(what) => DecompressError::Unsupported(what),
    })?;
    Ok(buffer)
}
