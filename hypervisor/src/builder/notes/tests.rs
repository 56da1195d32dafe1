//! Notes made here, whole, damaged and incomplete.

use super::*;
use std::vec;
use std::vec::Vec;

pub(in crate::builder) fn note(kind: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(OWNER);
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Parses `notes` for a kernel whose ELF header has the entry point 0x1000.
fn parse(notes: &[Vec<u8>]) -> Result<Notes, NoteError> {
    let mut builder = Builder::default();
    builder.read(&notes.concat());
    builder.finish(0x1000)
}

/// The notes that every kernel has.
pub(in crate::builder) fn identity() -> Vec<u8> {
    [note(kind::XEN_VERSION, b"xen-3.0\0"), note(kind::LOADER, b"generic\0")].concat()
}

fn entry() -> Vec<u8> {
    note(kind::ENTRY, &0xffff_ffff_8000_1000u64.to_le_bytes())
}

#[test]
fn linux_notes_are_understood() {
    let notes = parse(&[
        note(kind::VIRT_BASE, &0xffff_ffff_8000_0000u64.to_le_bytes()),
        entry(),
        note(kind::HYPERCALL_PAGE, &0xffff_ffff_8000_2000u64.to_le_bytes()),
        note(kind::FEATURES, b"!writable_page_tables|pae_pgdir_above_4gb"),
        note(kind::SUPPORTED_FEATURES, &0x8801u32.to_le_bytes()),
        note(kind::INIT_P2M, &0x80_0000_0000u64.to_le_bytes()),
        note(kind::MOD_START_PFN, &1u32.to_le_bytes()),
        note(kind::XEN_VERSION, b"xen-3.0\0"),
        note(kind::GUEST_OS, b"linux\0"),
    ])
    .unwrap();
    assert_eq!(notes.entry, 0xffff_ffff_8000_1000);
    assert_eq!(notes.list_address, Some(0x80_0000_0000));
    assert!(notes.unmapped_ramdisk && notes.initial_domain);
}

#[test]
fn a_kernel_without_an_entry_note_begins_where_its_file_says() {
    assert_eq!(parse(&[identity()]).unwrap().entry, 0x1000);
    assert_eq!(parse(&[identity(), entry()]).unwrap().entry, 0xffff_ffff_8000_1000);
}

#[test]
fn kernels_that_are_not_for_this_interface_are_refused() {
    let version = |text: &[u8]| parse(&[entry(), note(kind::LOADER, b"generic"), note(kind::XEN_VERSION, text)]);
    let loader = |os: &[u8], loader: &[u8]| {
        let version = note(kind::XEN_VERSION, b"xen-3.0");
        parse(&[entry(), version, note(kind::GUEST_OS, os), note(kind::LOADER, loader)])
    };
    assert_eq!(parse(&[]), Err(NoteError::NoNotes));
    assert_eq!(version(b"xen-2.0"), Err(NoteError::Version(String::from("xen-2.0"))));
    assert_eq!(version(b""), Err(NoteError::Version(String::new())));
    assert!(version(b"xen-3.0-x86_64").is_ok());
    assert_eq!(loader(b"other", b"own"), Err(NoteError::Loader(String::from("own"))));
    assert_eq!(loader(b"other", b""), Err(NoteError::Loader(String::new())));
    assert!(loader(b"linux", b"own").is_ok() && loader(b"other", b"generic").is_ok());
    let pvh = note(kind::PHYS32_ENTRY, &0x10_0000u32.to_le_bytes());
    assert_eq!(parse(&[identity(), pvh.clone()]), Err(NoteError::OnlyPvh));
    assert!(parse(&[identity(), pvh, entry()]).is_ok());
}

#[test]
fn the_initial_domain_needs_the_feature_where_features_are_listed() {
    let supported = |bits: u32| note(kind::SUPPORTED_FEATURES, &bits.to_le_bytes());
    let can = |notes: &[Vec<u8>]| parse(&[&[identity()], notes].concat()).unwrap().initial_domain;
    assert!(can(&[]) && can(&[supported(1 << feature::DOM0)]));
    assert!(!can(&[supported(1)]) && !can(&[supported(1), note(kind::FEATURES, b"writable_page_tables")]));
    assert!(can(&[supported(1), note(kind::FEATURES, b"writable_page_tables|dom0")]));
}

#[test]
fn missing_features_are_named() {
    let needs = |text: &[u8]| parse(&[identity(), entry(), note(kind::FEATURES, text)]);
    assert_eq!(needs(b"!auto_translated_physmap"), Err(NoteError::Feature(String::from("auto_translated_physmap"))));
    assert_eq!(needs(b"!wings|x"), Err(NoteError::Feature(String::from("wings"))));
    assert!(needs(b"wings|auto_translated_physmap|!writable_page_tables").is_ok());
}

#[test]
fn addresses_of_the_hypervisor_are_refused() {
    for address in [machine::addr::HYPERVISOR_START, machine::addr::HYPERVISOR_END - 1, 1 << 47] {
        let notes = [identity(), note(kind::ENTRY, &address.to_le_bytes())];
        assert_eq!(parse(&notes), Err(NoteError::Value("ENTRY")));
    }
}

#[test]
fn damaged_notes_end_the_block() {
    let whole = [entry(), note(kind::LOADER, b"generic")].concat();
    for length in 0..whole.len() {
        let mut builder = Builder::default();
        builder.read(&whole[..length]);
        assert_eq!(builder.any(), length >= 24, "{length}");
    }
    let mut builder = Builder::default();
    builder.read(&[vec![0xff; 12], entry()].concat());
    assert!(!builder.any());
}
