//! Privilege, paths and answers of `hypfs_op`.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use std::string::ToString;

use abi::hypfs::{DirectoryListEntry, entry_type};
use abi::xen::hypercall as number;
use machine::addr::PAGE_SIZE;
use zerocopy::FromBytes;

use super::*;
use crate::call::CallError;
use crate::testing::{Guest, hypercall};

/// Where the answer goes: the pages behind the first one, which has the path.
const PAGES: usize = 4;

fn guest() -> Guest {
    Guest::privileged(0, PAGES + 1)
}

fn buffer(guest: &Guest) -> u64 {
    guest.address(1).get()
}

fn call(guest: &mut Guest, operation: u32, path: &[u8], buffer: u64, room: u64) -> Result<u64, Errno> {
    let place = guest.put(path).get();
    let arguments = [operation.into(), place, path.len() as u64, buffer, room];
    match hypercall(&mut guest.caller(), number::HYPFS_OP, arguments) {
        Ok(value) => Ok(value),
        Err(CallError::Errno(errno)) => Err(errno),
        Err(other) => panic!("{other:?}"),
    }
}

/// Reads an entry that exists.
fn entry(guest: &mut Guest, path: &str) -> (DirectoryEntry, Vec<u8>) {
    let buffer = buffer(guest);
    let path = [path.as_bytes(), b"\0"].concat();
    assert_eq!(call(guest, op::READ, &path, buffer, (PAGES * PAGE_SIZE) as u64), Ok(0), "{path:?}");
    let entry: DirectoryEntry = guest.read(GuestVirt::new(buffer));
    let mut contents = vec![0; entry.content_length as usize];
    let start = GuestVirt::new(buffer).offset(size_of::<DirectoryEntry>() as u64);
    assert!(guest.caller().cpu.read_bytes(start, &mut contents).is_ok());
    (entry, contents)
}

fn text(guest: &mut Guest, path: &str) -> String {
    let (entry, mut contents) = entry(guest, path);
    assert_eq!((entry.entry_type, entry.encoding, entry.max_write_length), (entry_type::STRING, 0, 0));
    assert_eq!(contents.pop(), Some(0));
    String::from_utf8(contents).expect("text")
}

/// The names and types in a directory.
fn names(guest: &mut Guest, path: &str) -> Vec<(String, u8)> {
    let (entry, contents) = entry(guest, path);
    assert_eq!(entry.entry_type, entry_type::DIRECTORY);
    let (mut found, mut rest) = (Vec::new(), &contents[..]);
    loop {
        let (header, _) = DirectoryListEntry::read_from_prefix(rest).expect("an element");
        let name: Vec<u8> = rest[14..].iter().copied().take_while(|&byte| byte != 0).collect();
        found.push((String::from_utf8(name).expect("a name"), header.entry.entry_type));
        match header.next_offset {
            0 => return found,
            next => rest = &rest[next.into()..],
        }
    }
}

#[test]
fn the_tree_can_be_walked() {
    let guest = &mut guest();
    let mut left = vec![String::from("/")];
    let mut leaves = Vec::new();
    while let Some(directory) = left.pop() {
        for (name, kind) in names(guest, &directory) {
            let path = [directory.as_str(), &name].concat();
            if kind == entry_type::DIRECTORY {
                left.push(path + "/");
            } else {
                assert_eq!(entry(guest, &path).0.entry_type, kind, "{path}");
                leaves.push(path);
            }
        }
    }
    leaves.sort_unstable();
    assert_eq!(
        leaves,
        [
            "/buildinfo/changeset",
            "/buildinfo/compileinfo/compile_by",
            "/buildinfo/compileinfo/compile_date",
            "/buildinfo/compileinfo/compile_domain",
            "/buildinfo/compileinfo/compiler",
            "/buildinfo/version/extra",
            "/buildinfo/version/major",
            "/buildinfo/version/minor",
            "/paravane/core-scheduling",
            "/paravane/defences",
        ]
    );
}

#[test]
fn entries_have_their_contents() {
    let guest = &mut guest();
    assert_eq!(text(guest, "/buildinfo/version/extra"), ".0-paravane");
    assert_eq!(text(guest, "/buildinfo/compileinfo/compile_date"), "");
    assert_eq!(text(guest, "/paravane/defences"), machine::defences::report().json().to_string());
    let (major, contents) = entry(guest, "/buildinfo/version/major");
    assert_eq!((major.entry_type, contents), (entry_type::UINT, vec![4, 0, 0, 0]));
}

#[test]
fn the_version_takes_no_arguments() {
    let guest = &mut guest();
    let version =
        |guest: &mut Guest, arguments: [u64; 5]| match hypercall(&mut guest.caller(), number::HYPFS_OP, arguments) {
            Err(CallError::Errno(errno)) => Err(errno),
            other => Ok(other.ok()),
        };
    assert_eq!(version(guest, [0; 5]), Ok(Some(1)));
    for argument in 1..5 {
        let mut arguments = [0; 5];
        arguments[argument] = 1 << 63;
        assert_eq!(version(guest, arguments), Err(Errno::EINVAL), "{argument}");
    }
}

#[test]
fn the_size_is_told_when_the_contents_do_not_fit() {
    let guest = &mut guest();
    let buffer = buffer(guest);
    let path = b"/buildinfo/compileinfo/compiler\0";
    let needed = 12 + "rustc\0".len() as u64;
    for room in [0, 11] {
        assert_eq!(call(guest, op::READ, path, buffer, room), Err(Errno::EINVAL), "{room}");
    }
    for room in [12, needed - 1] {
        assert_eq!(call(guest, op::READ, path, buffer, room), Err(Errno::ENOBUFS), "{room}");
        let entry: DirectoryEntry = guest.read(GuestVirt::new(buffer));
        assert_eq!(entry.content_length, 6);
    }
    for room in [needed, u64::MAX] {
        assert_eq!(call(guest, op::READ, path, buffer, room), Ok(0), "{room}");
    }
}

fn write(guest: &mut Guest, path: &str, contents: &[u8]) -> Result<u64, Errno> {
    let from = guest.address(1);
    guest.caller().cpu.write_bytes(from, contents).expect("a mapped page");
    call(guest, op::WRITE_CONTENTS, &[path.as_bytes(), b"\0"].concat(), from.get(), contents.len() as u64)
}

#[test]
fn core_scheduling_is_set_by_domain() {
    const PATH: &str = "/paravane/core-scheduling";
    let guest = &mut guest();
    let other = Guest::new(7, 1);
    assert_eq!(entry(guest, PATH).0.max_write_length, 16);
    assert_eq!(write(guest, PATH, b"7=core\0"), Ok(0));
    let (_, contents) = entry(guest, PATH);
    assert_eq!(contents, b"0=cpu,7=core\0");
    assert!(crate::scheduler::has_core_scheduling(&other.domain));
    assert_eq!(write(guest, PATH, b"7=cpu\0"), Ok(0));
    assert!(!crate::scheduler::has_core_scheduling(&other.domain));
    for (contents, error) in [
        (&b"8=core\0"[..], Errno::ENOENT),
        (b"7=core", Errno::EINVAL),
        (b"7=co\0re\0", Errno::EINVAL),
        (b"7=\xff\0", Errno::EINVAL),
        (b"7=socket\0", Errno::EINVAL),
        (b"-7=core\0", Errno::EINVAL),
        (b"65536=core\0", Errno::EINVAL),
        (b"\0", Errno::EINVAL),
        (b"", Errno::EINVAL),
        (b"0000000008=core\0", Errno::ENOENT),
        (b"00000000007=core\0", Errno::ENOSPC),
    ] {
        assert_eq!(write(guest, PATH, contents), Err(error), "{contents:?}");
    }
    let path = b"/paravane/core-scheduling\0";
    assert_eq!(call(guest, op::WRITE_CONTENTS, path, 0, 7), Err(Errno::EFAULT));
}

#[test]
fn other_entries_cannot_be_written() {
    let guest = &mut guest();
    for (path, error) in [
        (&b"/buildinfo/version/major\0"[..], Errno::EACCES),
        (b"/paravane/\0", Errno::EACCES),
        (b"/\0", Errno::EACCES),
        (b"/nothing\0", Errno::ENOENT),
        (b"nothing\0", Errno::EINVAL),
    ] {
        assert_eq!(call(guest, op::WRITE_CONTENTS, path, 0, 0), Err(error), "{path:?}");
    }
}

#[test]
fn bad_paths_and_pointers_are_refused() {
    let guest = &mut guest();
    let (place, room) = (buffer(guest), PAGE_SIZE as u64);
    for (path, error) in [
        (&b"\0"[..], Errno::EINVAL),
        (b"/", Errno::EINVAL),
        (b"/\0\0", Errno::EINVAL),
        (b"buildinfo\0", Errno::EINVAL),
        (b"/build\0info\0", Errno::EINVAL),
        (b"//buildinfo\0", Errno::ENOENT),
        (b"/buildinf\0", Errno::ENOENT),
        (b"/buildinfoo\0", Errno::ENOENT),
        (b"/buildinfo/../paravane\0", Errno::ENOENT),
        (b"/buildinfo/changeset/\0", Errno::ENOENT),
        (b"/buildinfo/changeset/x\0", Errno::ENOENT),
        (b"/\xff\xfe\0", Errno::ENOENT),
    ] {
        assert_eq!(call(guest, op::READ, path, place, room), Err(error), "{path:?}");
    }
    // The longest path, one byte more, and lengths that no buffer has.
    let mut long = vec![b'/'; interface::MAX_PATH_LENGTH as usize];
    *long.last_mut().expect("a byte") = 0;
    assert_eq!(call(guest, op::READ, &long, place, room), Err(Errno::ENOENT));
    long.insert(0, b'/');
    assert_eq!(call(guest, op::READ, &long, place, room), Err(Errno::EINVAL));
    let path = guest.put(b"/\0").get();
    let raw = |guest: &mut Guest, arguments| match hypercall(&mut guest.caller(), number::HYPFS_OP, arguments) {
        Err(CallError::Errno(errno)) => Some(errno),
        _ => None,
    };
    assert_eq!(raw(guest, [1, path, 1 << 32 | 2, place, room]), Some(Errno::EINVAL), "the length has 64 bits");
    assert_eq!(raw(guest, [1, path, 0, place, room]), Some(Errno::EINVAL), "a path has at least a zero byte");
    assert_eq!(raw(guest, [1, 0, 2, place, room]), Some(Errno::EFAULT));
    assert_eq!(raw(guest, [1, path, 2, 0, room]), Some(Errno::EFAULT));
    assert_eq!(raw(guest, [3, path, 2, place, room]), Some(Errno::EOPNOTSUPP));
}

#[test]
fn other_domains_have_no_file_system() {
    let mut guest = Guest::new(1, PAGES + 1);
    let place = buffer(&guest);
    for (_, operation) in op::NAMES {
        assert_eq!(call(&mut guest, *operation, b"/\0", place, PAGE_SIZE as u64), Err(Errno::EPERM), "{operation}");
    }
}
