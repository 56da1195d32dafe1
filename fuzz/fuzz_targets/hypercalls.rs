//! Two guests make hypercalls derived from the bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::play(bytes, fuzz::recount());
    fuzz::note_calls();
});
