//! Two guests make hypercalls as the bytes say.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::play(bytes, fuzz::recount());
    fuzz::note_calls();
});
