//! Three vCPUs, each on its own thread, make hypercalls concurrently. Each gets a third of the
//! bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::recount();
    let third = bytes.len().div_ceil(3);
    let (first, rest) = bytes.split_at(third);
    let (second, last) = rest.split_at(third.min(rest.len()));
    hypervisor::testing::race([first, second, last]);
    fuzz::note_calls();
});
