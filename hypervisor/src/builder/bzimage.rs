//! The bzImage container of Linux's x86 kernels: real-mode setup code, of which only the header is
//! read, followed by a compressed ELF file (Linux, `Documentation/x86/boot`).

use machine::integers;
use machine::speculation::MaskedIndex;

use super::image::ImageError;

const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// First boot protocol version whose header has the payload's offset and length.
const PAYLOAD_VERSION: u16 = 0x0208;

/// Returns the compressed kernel in a bzImage, or `None` if `image` is not a bzImage.
pub(super) fn payload(image: &[u8]) -> Option<Result<&[u8], ImageError>> {
    (image.part(MAGIC..MAGIC + 4)? == b"HdrS").then(|| find_payload(image))
}

fn find_payload(image: &[u8]) -> Result<&[u8], ImageError> {
    let truncated = ImageError::Malformed("bzImage", "it is cut off");
    if integers::u16_at(image, VERSION).ok_or(truncated.clone())? < PAYLOAD_VERSION {
        return Err(ImageError::Malformed("bzImage", "its boot protocol is older than 2.08"));
    }
    let sectors = match image.masked(SETUP_SECTORS) {
        Some(0) => 4,
        Some(&sectors) => usize::from(sectors),
        None => return Err(truncated),
    };
    let word = |at| read_u32(image, at).ok_or(truncated.clone());
    // the offset is relative to the end of the setup code
    let start = ((sectors + 1) * 512).checked_add(word(PAYLOAD_OFFSET)?).ok_or(truncated.clone())?;
    let end = start.checked_add(word(PAYLOAD_LENGTH)?).ok_or(truncated.clone())?;
    image.part(start..end).ok_or(truncated.clone())
}

/// A little-endian 32-bit offset or length.
pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<usize> {
    integers::u32_at(bytes, at).map(|number| integers::to_usize(number.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn synthetic(offset: u32, length: u32) -> Vec<u8> {
        let mut image = vec![0; 1024 + 100];
        image[SETUP_SECTORS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[VERSION..VERSION + 2].copy_from_slice(&0x20fu16.to_le_bytes());
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&offset.to_le_bytes());
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image[1034..1044].fill(7);
        image
    }

    #[test]
    fn the_payload_follows_the_setup_code() {
        assert_eq!(payload(&synthetic(10, 10)), Some(Ok(&[7; 10][..])));
    }

    #[test]
    fn payloads_beyond_the_file_are_refused() {
        for (offset, length) in [(10, 91), (101, 0), (u32::MAX, 1), (10, u32::MAX), (u32::MAX, u32::MAX)] {
            assert!(matches!(payload(&synthetic(offset, length)), Some(Err(_))), "{offset} {length}");
        }
    }

    #[test]
    fn a_file_that_ends_in_its_header_is_refused() {
        let image = synthetic(10, 10);
        for length in 0..MAGIC + 4 {
            assert_eq!(payload(&image[..length]), None);
        }
        for length in MAGIC + 4..1044 {
            assert!(matches!(payload(&image[..length]), Some(Err(_))), "{length}");
        }
    }

    #[test]
    fn other_files_are_none() {
        assert_eq!(payload(&[0; 2000]), None);
    }
}
