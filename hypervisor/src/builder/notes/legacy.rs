//! The `__xen_guest` section: a text of `NAME=VALUE` pairs, separated by commas, up to a zero byte
//! or the end of the section.
//!
//! The values are those of the notes, with two exceptions. `HYPERCALL_PAGE` is a page number
//! relative to `VIRT_BASE`. The offset of the file's physical addresses is `VIRT_BASE` unless
//! `ELF_PADDR_OFFSET` is given.

use super::{Builder, NoteError, printable};

/// Name of the section.
pub(in crate::builder) const SECTION: &[u8] = b"__xen_guest";

/// Maximum length of the text in bytes. Existing ones have about 200.
const MAX_TEXT: usize = 4096;

impl Builder {
    /// Reads the contents of the section instead of notes.
    pub(in crate::builder) fn read_legacy(&mut self, section: &[u8]) {
        self.any = true;
        if let Err(error) = self.take_text(section) {
            self.error.get_or_insert(error);
        }
    }

    fn take_text(&mut self, section: &[u8]) -> Result<(), NoteError> {
        let text = section.split(|&byte| byte == 0).next().unwrap_or_default();
        if text.len() > MAX_TEXT {
            return Err(NoteError::Text("it is too long"));
        }
        let text = core::str::from_utf8(text).map_err(|_| NoteError::Text("it is not a text"))?;
        let mut hypercall_page = None;
        for pair in text.split(',') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "GUEST_OS" => self.guest_os = printable(value),
                "XEN_VER" => self.version = printable(value),
                "LOADER" => self.loader = printable(value),
                "FEATURES" => self.take_features(value)?,
                "VIRT_BASE" => self.virtual_base = Some(number("VIRT_BASE", value)?),
                "VIRT_ENTRY" => self.entry = Some(number("VIRT_ENTRY", value)?),
                "ELF_PADDR_OFFSET" => self.physical_offset = Some(number("ELF_PADDR_OFFSET", value)?),
                "HYPERCALL_PAGE" => hypercall_page = Some(number("HYPERCALL_PAGE", value)?),
                _ => {}
            }
        }
        self.physical_offset = self.physical_offset.or(self.virtual_base);
        let base = self.virtual_base.unwrap_or(0);
        let address = |page: u64| page.checked_mul(4096).and_then(|offset| base.checked_add(offset));
        self.hypercall_page =
            hypercall_page.map(|page| address(page).ok_or(NoteError::Value("HYPERCALL_PAGE"))).transpose()?;
        Ok(())
    }
}

/// Parses a number in C notation: decimal, hexadecimal with `0x`, or octal with `0`.
fn number(name: &'static str, value: &str) -> Result<u64, NoteError> {
    let hexadecimal = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X"));
    let (digits, radix) = match (hexadecimal, value.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (value, 10),
    };
    // `from_str_radix` accepts a sign as well
    if digits.starts_with('+') {
        return Err(NoteError::Value(name));
    }
    u64::from_str_radix(digits, radix).map_err(|_| NoteError::Value(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::notes::Notes;
    use std::string::String;
    use std::{format, vec};

    const BASE: u64 = 0xffff_ffff_8000_0000;
    const USUAL: &str = "GUEST_OS=Mini-OS,XEN_VER=xen-3.0,VIRT_BASE=0xffffffff80000000,LOADER=generic";

    fn parse(text: &[u8]) -> Result<Notes, NoteError> {
        let mut builder = Builder::default();
        builder.read_legacy(text);
        builder.finish(BASE)
    }

    fn with(more: &str) -> Result<Notes, NoteError> {
        parse(format!("{USUAL},{more}").as_bytes())
    }

    #[test]
    fn a_kernel_with_a_text_alone_is_understood() {
        let notes = with(
            "VIRT_ENTRY=0xffffffff80001000,HYPERCALL_PAGE=0x2,FEATURES=!writable_page_tables|x,PAE=yes,BSD_SYMTAB\0?",
        )
        .unwrap();
        assert_eq!((notes.entry, notes.virtual_base, notes.physical_offset), (BASE + 0x1000, BASE, BASE));
        assert_eq!((notes.hypercall_page, notes.list_address), (Some(BASE + 0x2000), None));
        assert!(notes.initial_domain && !notes.unmapped_ramdisk);
        assert_eq!(with("ELF_PADDR_OFFSET=0").unwrap().physical_offset, 0);
        let unbased = parse(b"GUEST_OS=linux,XEN_VER=xen-3.0,HYPERCALL_PAGE=3").unwrap();
        assert_eq!((unbased.virtual_base, unbased.physical_offset, unbased.hypercall_page), (0, 0, Some(0x3000)));
        assert_eq!(unbased.entry, BASE);
    }

    #[test]
    fn numbers_are_written_as_in_c() {
        for (text, value) in [("0", 0), ("16", 16), ("0x10", 16), ("0XfF", 255), ("020", 16)] {
            assert_eq!(number("x", text), Ok(value), "{text}");
        }
        for text in ["", "0x", "-1", "+1", "0x+1", "08", "1x", " 1", "0x10000000000000000"] {
            assert_eq!(number("x", text), Err(NoteError::Value("x")), "{text}");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        assert_eq!(parse(b""), Err(NoteError::Loader(String::new())));
        assert_eq!(parse(b"LOADER=generic"), Err(NoteError::Version(String::new())));
        assert_eq!(parse(b"LOADER=generic,XEN_VER=xen-2.0"), Err(NoteError::Version("xen-2.0".into())));
        assert_eq!(parse(b"GUEST_OS=\xff\xfe"), Err(NoteError::Text("it is not a text")));
        assert_eq!(parse(&vec![b','; MAX_TEXT + 1]), Err(NoteError::Text("it is too long")));
        assert_eq!(with("FEATURES=!wings"), Err(NoteError::Feature("wings".into())));
        assert_eq!(with("VIRT_ENTRY"), Err(NoteError::Value("VIRT_ENTRY")));
        assert_eq!(with("VIRT_BASE=0x7ffffffff001"), Err(NoteError::Value("VIRT_BASE")));
        for page in ["0x10000000000000", "0xffffffffffffffff", "0x80000"] {
            assert_eq!(with(&format!("HYPERCALL_PAGE={page}")), Err(NoteError::Value("HYPERCALL_PAGE")), "{page}");
        }
    }
}
