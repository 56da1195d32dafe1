//! The compact form of a migrating guest's stream, from a hostile host.
#![no_main]

use paravane::stream::compact::Expander;
use paravane::stream::record::Reader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut stream = Vec::new();
    if Expander::new(1 << 16).expand(bytes, &mut stream).is_ok() {
        let mut reader = Reader::default();
        reader.push(&stream);
        while let Ok(Some(_)) = reader.next_item() {}
        assert!(reader.is_empty(), "what passes is a stream");
    }
});
