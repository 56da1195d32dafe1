//! The bytes are lines of text: Paravane's command line, then the arguments of modules.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.lines().collect();
    if let Some((first, modules)) = lines.split_first() {
        let _ = machine::boot::Options::parse(first);
        hypervisor::testing::plan(modules);
    }
});
