//! A kernel as loaded by the boot loader: a bzImage or an ELF file, compressed or not.

use core::fmt;

use decompress::Compressed;
use machine::frames::Buffer;

use super::bzimage;
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
    Compression(decompress::Error),
    /// There is no memory for this many contiguous bytes of decompressed contents.
    NoMemory(usize),
    /// The ELF notes do not describe an entry point for this interface.
    Notes(NoteError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKernel => f.write_str("no kernel: it is neither a bzImage nor an ELF file"),
            Self::Malformed(what, why) => write!(f, "malformed {what}: {why}"),
            Self::Compression(why) => write!(f, "kernel not decompressed: {why}"),
            Self::NoMemory(size) => {
                let size = size.div_ceil(1 << 20);
                write!(f, "kernel not decompressed: no {size} MiB of contiguous memory are free to decompress it")
            }
            Self::Notes(why) => write!(f, "no Xen PV entry: {why}"),
        }
    }
}

impl From<decompress::Error> for ImageError {
    fn from(error: decompress::Error) -> Self {
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
            Some(payload) => contents(payload, decompress::Error::UnknownFormat.into())?,
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
    let compressed = match Compressed::parse(bytes) {
        Err(decompress::Error::UnknownFormat) => return Err(otherwise),
        parsed => parsed?,
    };
    let mut buffer = Buffer::new(compressed.size()).ok_or(ImageError::NoMemory(compressed.size()))?;
    compressed.decompress_into(buffer.as_mut_slice())?;
    if buffer.as_slice().starts_with(b"\x7fELF") {
        Ok(Contents::Decompressed(buffer))
    } else {
        Err(ImageError::NotAKernel)
    }
}
