//! A control domain asks for anything, beside a guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::control(bytes, fuzz::recount());
    fuzz::note_calls();
});
