//! A control domain makes arbitrary requests, with a guest running beside it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::control(bytes, fuzz::recount());
    fuzz::note_calls();
});
