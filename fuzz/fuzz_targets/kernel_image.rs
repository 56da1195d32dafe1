//! The bytes are a boot module.
#![no_main]

use std::sync::Once;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static STARTED: Once = Once::new();
    // What is decompressed goes into frames.
    STARTED.call_once(|| machine::hosted::start(32 * 1024));
    let _ = hypervisor::builder::Image::open(bytes);
});
