//! The bytes are ACPI tables, each with a kind, a length and its contents; or they are raw memory,
//! including EFI's system table.
#![no_main]

use machine::hosted::loader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((how, mut rest)) = bytes.split_first() else { return };
    if how & 1 == 0 {
        return loader::firmware(rest);
    }
    let mut tables = Vec::new();
    while let Some((&[kind, length], behind)) = rest.split_first_chunk() {
        let name = [b"APIC", b"FACP", b"HPET", b"DSDT"][usize::from(kind % 4)];
        let (contents, tail) = behind.split_at_checked(length.into()).unwrap_or((behind, &[]));
        tables.push((name, contents));
        rest = tail;
    }
    loader::firmware(&loader::tables(&tables));
});
