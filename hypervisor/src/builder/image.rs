//! A kernel as loaded by the boot loader: a bzImage or an ELF file, compressed or not.

use core::fmt;

use machine::frames::Buffer;

use super::bzimage;
use super::decompress::{self, DecompressError, Method};
use super::elf::Kernel;
use super::notes::NoteError;

/// The reason why a file cannot be started as a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ImageError {
    /// Neither a bzImage nor an ELF file.
    NotAKernel,
    /// The container or part that is malformed, and in which respect.
    Malformed(&'static str, &'static str),
    /// The payload could not be decompressed.
    Compression(DecompressError),
    /// The ELF notes do not describe an entry point for this interface.
    Notes(NoteError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKernel => f.write_str("no kernel: it is neither a bzImage nor an ELF file"),
            Self::Malformed(what, why) => write!(f, "malformed {what}: {why}"),
            Self::Compression(why) => write!(f, "kernel not decompressed: {why}"),
            Self::Notes(why) => write!(f, "no Xen PV entry: {why}"),
        }
    }
}

impl From<DecompressError> for ImageError {
    fn from(error: DecompressError) -> Self {
        Self::Compression(error)
    }
}

enum Contents<'a> {
    Module(&'a [u8]),
    Decompressed(Buffer),
}

impl Contents<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Module(bytes) => bytes,
            Self::Decompressed(buffer) => buffer.as_slice(),
        }
    }
}

/// A kernel that can be loaded: decompressed if necessary, with validated headers and notes.
pub(crate) struct Image<'a> {
    contents: Contents<'a>,
    kernel: Kernel,
}

impl<'a> Image<'a> {
    /// Parses a boot module.
    ///
    /// # Errors
    /// The module is not a kernel that runs on this interface.
    pub(crate) fn open(module: &'a [u8]) -> Result<Self, ImageError> {
        let contents = match bzimage::payload(module).transpose()? {
            Some(payload) => contents(payload, DecompressError::UnknownMethod.into())?,
            None => contents(module, ImageError::NotAKernel)?,
        };
        let kernel = Kernel::parse(contents.bytes())?;
        Ok(Self { contents, kernel })
    }

    pub(super) const fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The ELF file that the kernel's segments refer to.
    pub(super) fn bytes(&self) -> &[u8] {
        self.contents.bytes()
    }
}

fn contents(bytes: &[u8], otherwise: ImageError) -> Result<Contents<'_>, ImageError> {
    if bytes.starts_with(b"\x7fELF") {
        return Ok(Contents::Module(bytes));
    }
    if Method::of(bytes).is_none() {
        return Err(otherwise);
    }
    let buffer = decompress::decompress(bytes)?;
    if buffer.as_slice().starts_with(b"\x7fELF") {
        Ok(Contents::Decompressed(buffer))
    } else {
        Err(ImageError::NotAKernel)
    }
}
