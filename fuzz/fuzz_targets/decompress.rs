//! The bytes are compressed data, followed by the decompressed size. The result must not depend on
//! what the output contained before.
#![no_main]

use decompress::Compressed;

/// Largest output, in bytes.
const LIMIT: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(compressed) = Compressed::parse(bytes) else { return };
    if compressed.size() > LIMIT {
        return;
    }
    let results = [0, 0xff].map(|before| {
        let mut output = vec![before; compressed.size()];
        compressed.decompress_into(&mut output).map(|()| output)
    });
    assert!(results[0] == results[1], "the output depends on its contents before");
});
