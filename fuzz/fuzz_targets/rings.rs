//! The bytes are what a guest writes to the pages of its store and its console.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::rings(bytes);
});
