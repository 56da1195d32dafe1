//! Two guests use event channels and the pages of the FIFO ABI.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hypervisor::testing::events(bytes, fuzz::recount());
    fuzz::note_calls();
});
