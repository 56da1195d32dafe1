//! Early archives: several, padded, followed by a ramdisk, damaged.

use std::vec::Vec;

use crate::early_cpio::find;
use crate::samples::{archive, member};
use crate::{Error, Maker};

const PATH: &str = Maker::Intel.path();
const RAMDISK: &[u8] = b"\x1f\x8b\x08\0 compressed 070701 not a member";

#[test]
fn the_file_is_found_in_any_of_several_archives() {
    let amd = archive(Maker::Amd, b"other");
    let intel = archive(Maker::Intel, b"the contents");
    for padding in [0, 4, 508, 4096] {
        let zeros = std::vec![0; padding];
        let archives = [&amd, zeros.as_slice(), &intel, &zeros, RAMDISK].concat();
        assert_eq!(find(&archives, PATH), Ok(Some(&b"the contents"[..])), "{padding} zeros");
        assert_eq!(find(&archives, Maker::Amd.path()), Ok(Some(&b"other"[..])));
        assert_eq!(find(&archives, "kernel/x86/microcode"), Ok(Some(&b""[..])));
        assert_eq!(find(&archives, "kernel/firmware/acpi/dsdt.aml"), Ok(None));
    }
}

#[test]
fn a_module_without_archives_has_no_file() {
    for module in [&b""[..], RAMDISK, b"MZ\xea\x07", &[0; 64], b"0707"] {
        assert_eq!(find(module, PATH), Ok(None));
    }
}

#[test]
fn a_name_may_be_padded_with_zeros_but_not_longer() {
    let mut padded = Vec::new();
    member(&mut padded, &std::format!("{PATH}\0\0\0\0\0"), b"padded");
    assert_eq!(find(&padded, PATH), Ok(Some(&b"padded"[..])));
    let mut longer = Vec::new();
    member(&mut longer, &std::format!("{PATH}.old"), b"longer");
    assert_eq!(find(&longer, PATH), Ok(None));
}

#[test]
fn a_truncated_member_is_reported() {
    let whole = archive(Maker::Intel, &[7; 100]);
    let end = whole.len() - 124;
    for length in 6..end {
        // Between two members nothing is missing.
        let found = find(&whole[..length], PATH);
        assert!(matches!(found, Ok(None) | Err(Error::Truncated("the archive"))), "{length} bytes: {found:?}");
    }
    assert_eq!(find(&whole[..end - 4], PATH), Err(Error::Truncated("the archive")));
    let mut wrong = whole.clone();
    wrong[60] = b'x';
    assert_eq!(find(&wrong, PATH), Err(Error::Malformed("the archive")));
    wrong[54..62].copy_from_slice(b"FFFFFFFF");
    assert_eq!(find(&wrong, PATH), Err(Error::Truncated("the archive")));
}
