//! The bytes are a boot module, from which domains are built: bzImage, decompression, ELF, notes,
//! layout.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::quiet();
    hypervisor::testing::build(bytes);
});
