//! The bytes are memory that begins with Multiboot information; the first byte selects the version.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((kind, memory)) = bytes.split_first() {
        machine::hosted::loader::multiboot(kind & 1 != 0, memory);
    }
});
