//! Samples of the standard tools (`gzip -9`, `xz --check=crc32 --x86 --lzma2=dict=1MiB`, `lz4 -l
//! -9`, `zstd -19`), whose contents are generated here: whole, truncated and damaged.
#![cfg(not(miri))]

use decompress::{Compressed, Error};

const SIZE: usize = 300_000;
const SAMPLES: [(&str, &[u8]); 4] = [
    ("gzip", include_bytes!("samples/sample.gz")),
    ("xz", include_bytes!("samples/sample.xz")),
    ("lz4", include_bytes!("samples/sample.lz4")),
    ("zstd", include_bytes!("samples/sample.zst")),
];

/// Short and long distances, single bytes, and calls like those of x86 code.
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

/// A sample followed by the decompressed size, as Linux's build makes it.
fn with_size(format: &str, sample: &[u8], size: u32) -> Vec<u8> {
    let mut data = sample.to_vec();
    if format == "gzip" {
        data.truncate(sample.len() - 4);
    }
    data.extend(size.to_le_bytes());
    data
}

fn decompress(data: &[u8]) -> Result<Vec<u8>, Error> {
    let compressed = Compressed::parse(data)?;
    let mut output = vec![0; compressed.size()];
    compressed.decompress_into(&mut output)?;
    Ok(output)
}

#[test]
fn each_format_is_decompressed() {
    let contents = contents();
    for (format, sample) in SAMPLES {
        let output = decompress(&with_size(format, sample, SIZE as u32)).unwrap_or_else(|error| panic!("{error}"));
        assert!(output == contents, "{format}");
    }
}

#[test]
fn streams_of_another_size_than_they_claim_are_refused() {
    for (format, sample) in SAMPLES {
        for size in [0, 1, 4096, SIZE as u32 - 1, SIZE as u32 + 1, SIZE as u32 + 4096] {
            let result = decompress(&with_size(format, sample, size)).map(|_| ());
            assert_eq!(result, Err(Error::Damaged(format)), "{size}");
        }
        let result = decompress(&with_size(format, sample, u32::MAX)).map(|_| ());
        assert_eq!(result, Err(Error::TooLarge(u32::MAX as usize)));
    }
}

#[test]
fn an_output_of_another_size_is_refused() {
    for (format, sample) in SAMPLES {
        let data = with_size(format, sample, SIZE as u32);
        let compressed = Compressed::parse(&data).expect("a known format");
        for size in [0, SIZE - 1, SIZE + 1] {
            assert_eq!(compressed.decompress_into(&mut vec![0; size]), Err(Error::Damaged(format)), "{size}");
        }
    }
}

#[test]
fn truncated_streams_are_refused() {
    for (format, sample) in SAMPLES {
        for length in (6..sample.len() - 8).step_by(sample.len() / 40).chain(6..20) {
            let mut data = sample[..length].to_vec();
            data.extend((SIZE as u32).to_le_bytes());
            assert!(decompress(&data).is_err(), "{format} {length}");
        }
    }
    assert_eq!(decompress(&[]), Err(Error::UnknownFormat));
    assert_eq!(decompress(&[0x1f, 0x8b, 8]), Err(Error::Damaged("gzip")));
}

#[test]
fn damaged_streams_do_no_harm() {
    let contents = contents();
    for (format, sample) in SAMPLES {
        let mut data = with_size(format, sample, SIZE as u32);
        let mut harmless = 0;
        let places = (6..60).chain((60..data.len() - 4).step_by(data.len() / 100));
        for (number, at) in places.enumerate() {
            let change = [0x01, 0x80, 0xff, 0x10][number % 4];
            data[at] ^= change;
            match decompress(&data) {
                // The legacy frames of lz4 have no checksum.
                Ok(output) if output != contents => assert_eq!(format, "lz4"),
                Ok(_) => harmless += 1,
                Err(_) => {}
            }
            data[at] ^= change;
        }
        assert!(harmless < 12, "{format}: {harmless} changes made no difference");
    }
}
