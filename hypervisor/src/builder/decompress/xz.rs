//! xz, as Linux's build makes it: one stream of LZMA2 behind a filter for x86 branches.

use alloc::boxed::Box;

use machine::frames::Buffer;
use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

use super::DecompressError;

/// The largest dictionary that is provided; Linux's build uses 32 MiB, later versions 128 MiB.
const MAX_DICTIONARY: u64 = 128 << 20;

const DAMAGED: DecompressError = DecompressError::Damaged("xz");

pub(super) fn decompress(data: &[u8], output: &mut [u8]) -> Result<(), DecompressError> {
    // the first attempt without a dictionary fails by telling how large it must be
    let Err(XzError::DictionaryTooLarge(needed)) = run(data, output, &mut []) else { return Err(DAMAGED) };
    if needed > MAX_DICTIONARY {
        return Err(DAMAGED);
    }
    let size = usize::try_from(needed).map_err(|_| DAMAGED)?;
    let mut dictionary = Buffer::new(size).ok_or(DecompressError::NoMemory(size))?;
    match run(data, output, dictionary.as_mut_slice()) {
        Ok(written) if written == output.len() => Ok(()),
        _ => Err(DAMAGED),
    }
}

/// Decompresses one stream; returns how much came out.
fn run(data: &[u8], output: &mut [u8], dictionary: &mut [u8]) -> Result<usize, XzError> {
    let mut decoder = new_decoder(dictionary);
    let (mut read, mut written) = (0, 0);
    loop {
        let (input, room) = (&data[read..], &mut output[written..]);
        match decoder.decode(input, room)? {
            XzNextBlockResult::NeedMoreData(0, 0) => return Err(XzError::CorruptedData),
            XzNextBlockResult::NeedMoreData(consumed, produced) => {
                read += consumed;
                written += produced;
            }
            XzNextBlockResult::EndOfStream(_, produced) => return Ok(written + produced),
        }
    }
}

/// Its own function so that the decoder, some thirty KiB, is on the stack only until it has moved to the heap.
#[inline(never)]
fn new_decoder(dictionary: &mut [u8]) -> Box<XzDecoder<'_>> {
    Box::new(XzDecoder::with_fixed_size_dict(dictionary))
}
