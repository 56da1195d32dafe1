//! Samples made with the usual programs (`gzip -9`, `xz --check=crc32 --x86 --lzma2=dict=1MiB`, `lz4 -l -9`, `zstd -19`) of
//! contents that are made again here.

use std::vec::Vec;

use super::*;
use crate::builder::tests::machine;

const SIZE: usize = 300_000;
const SAMPLES: [(Method, &[u8]); 4] = [
    (Method::Gzip, include_bytes!("samples/sample.gz")),
    (Method::Xz, include_bytes!("samples/sample.xz")),
    (Method::Lz4, include_bytes!("samples/sample.lz4")),
    (Method::Zstd, include_bytes!("samples/sample.zst")),
];

/// Repetitions near and far, single bytes, and calls as x86 code has them.
fn contents() -> Vec<u8> {
    let mut state = 1u32;
    let mut next = move || {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
        state >> 8
    };
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < SIZE {
        match next() % 8 {
            0 => bytes.push(next() as u8),
            1 => bytes.push(next() as u8 & 15),
            kind @ 2..=6 => {
                let length = 4 + next() % 400;
                let back = 1 + (next() % if kind == 6 { 50_000 } else { 300 }) as usize;
                for _ in 0..length {
                    bytes.push(bytes.len().checked_sub(back).map_or(0, |at| bytes[at]));
                }
            }
            _ => {
                bytes.push(0xe8);
                let target = 0x12340u32.wrapping_sub(bytes.len() as u32);
                bytes.extend(target.to_le_bytes());
            }
        }
    }
    bytes.truncate(SIZE);
    bytes
}

/// A sample with the size behind it, as Linux's build makes it.
fn with_size(method: Method, sample: &[u8], size: u32) -> Vec<u8> {
    let mut data = sample.to_vec();
    if method == Method::Gzip {
        data.truncate(sample.len() - 4);
    }
    data.extend(size.to_le_bytes());
    data
}

#[test]
fn every_method_gives_the_contents_back() {
    let _machine = machine();
    let contents = contents();
    for (method, sample) in SAMPLES {
        assert_eq!(Method::of(sample), Some(method));
        let buffer = decompress(&with_size(method, sample, SIZE as u32)).unwrap_or_else(|error| panic!("{error}"));
        assert!(buffer.as_slice() == contents, "{method:?}");
    }
}

#[test]
fn streams_of_another_size_than_they_claim_are_refused() {
    let _machine = machine();
    for (method, sample) in SAMPLES {
        for size in [0, 1, 4096, SIZE as u32 - 1, SIZE as u32 + 1, SIZE as u32 + 4096] {
            let result = decompress(&with_size(method, sample, size)).map(|_| ());
            assert_eq!(result, Err(DecompressError::Damaged(method.name())), "{size}");
        }
        let result = decompress(&with_size(method, sample, u32::MAX)).map(|_| ());
        assert_eq!(result, Err(DecompressError::TooLarge(u32::MAX as usize)));
    }
}

#[test]
fn truncated_streams_are_refused() {
    let _machine = machine();
    for (method, sample) in SAMPLES {
        for length in (6..sample.len() - 8).step_by(sample.len() / 40).chain(6..20) {
            let data = with_size(Method::Lz4, &sample[..length], SIZE as u32);
            assert!(decompress(&data).is_err(), "{method:?} {length}");
        }
    }
    assert!(decompress(&[]).is_err() && decompress(&[0x1f, 0x8b, 8]).is_err());
}

#[test]
fn damaged_streams_do_no_harm() {
    let _machine = machine();
    let contents = contents();
    for (method, sample) in SAMPLES {
        let mut data = with_size(method, sample, SIZE as u32);
        let mut harmless = 0;
        let places = (6..60).chain((60..data.len() - 4).step_by(data.len() / 100));
        for (number, at) in places.enumerate() {
            let change = [0x01, 0x80, 0xff, 0x10][number % 4];
            data[at] ^= change;
            match decompress(&data) {
                // the legacy format of lz4 has no checksum
                Ok(buffer) if buffer.as_slice() != contents => assert_eq!(method, Method::Lz4),
                Ok(_) => harmless += 1,
                Err(_) => {}
            }
            data[at] ^= change;
        }
        assert!(harmless < 12, "{method:?}: {harmless} changes made no difference");
    }
}
