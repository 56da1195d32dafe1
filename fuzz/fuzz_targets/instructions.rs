//! The bytes are a guest's registers and instructions.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::emulate(bytes);
});
