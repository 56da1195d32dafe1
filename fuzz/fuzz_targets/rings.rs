//! The bytes are the data that a guest writes to the pages of its xenstore and its console.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::rings(bytes);
});
