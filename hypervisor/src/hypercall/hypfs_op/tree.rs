//! The entries of the file system. `/buildinfo` is as in Xen; `/paravane` has what Xen does not
//! have.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::errno::Errno;
use abi::hypfs::{DirectoryEntry, DirectoryListEntry, encoding, entry_type};
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;
use zerocopy::IntoBytes;

use super::super::xen_version::{CHANGESET, COMPILE_BY, COMPILER, EXTRA_VERSION, VERSION};
use super::core_scheduling;

/// An entry.
pub(super) enum Node {
    /// A directory with entries of these names.
    Directory(&'static [(&'static str, Node)]),
    /// A string.
    Text(fn() -> String),
    /// A number.
    Number(fn() -> u32),
    /// A string that can be written.
    Setting {
        /// Returns the contents.
        read: fn() -> String,
        /// Takes new contents.
        write: fn(&str) -> Result<(), Errno>,
    },
}

static ROOT: Node = Node::Directory(&[
    (
        "buildinfo",
        Node::Directory(&[
            ("changeset", Node::Text(|| CHANGESET.to_string())),
            (
                "compileinfo",
                Node::Directory(&[
                    ("compile_by", Node::Text(|| COMPILE_BY.to_string())),
                    ("compile_date", Node::Text(String::new)),
                    ("compile_domain", Node::Text(String::new)),
                    ("compiler", Node::Text(|| COMPILER.to_string())),
                ]),
            ),
            (
                "version",
                Node::Directory(&[
                    ("extra", Node::Text(|| EXTRA_VERSION.to_string())),
                    ("major", Node::Number(|| VERSION.0)),
                    ("minor", Node::Number(|| VERSION.1)),
                ]),
            ),
        ]),
    ),
    (
        "paravane",
        Node::Directory(&[
            ("core-scheduling", Node::Setting { read: core_scheduling::list, write: core_scheduling::set }),
            ("defences", Node::Text(|| machine::defences::report().json().to_string())),
        ]),
    ),
]);

/// Maximum length of a string that is written, with the zero byte at its end.
pub(super) const MAX_WRITE_LENGTH: u32 = 16;

/// Size of a directory's element before the name.
const LIST_HEADER: usize = core::mem::offset_of!(DirectoryListEntry, name);

/// Finds the entry at a path that starts with a slash. A slash at its end is allowed for
/// directories.
pub(super) fn find(path: &[u8]) -> Result<&'static Node, Errno> {
    let mut rest = path.strip_prefix(b"/").ok_or(Errno::EINVAL)?;
    let mut node = &ROOT;
    loop {
        let Node::Directory(entries) = node else { return Err(Errno::ENOENT) };
        if rest.is_empty() {
            return Ok(node);
        }
        let mut parts = rest.splitn(2, |&byte| byte == b'/');
        let wanted = parts.next();
        let found = entries.iter().find(|(name, _)| Some(name.as_bytes()) == wanted);
        node = found.map(|(_, node)| node).ok_or(Errno::ENOENT)?;
        match parts.next() {
            Some(more) => rest = more,
            None => return Ok(node),
        }
    }
}

impl Node {
    /// Describes the entry, given the length of its contents.
    pub(super) const fn describe(&self, content_length: u32) -> DirectoryEntry {
        let entry_type = match self {
            Self::Directory(_) => entry_type::DIRECTORY,
            Self::Text(_) | Self::Setting { .. } => entry_type::STRING,
            Self::Number(_) => entry_type::UINT,
        };
        let max_write_length = if matches!(self, Self::Setting { .. }) { MAX_WRITE_LENGTH } else { 0 };
        DirectoryEntry { entry_type, encoding: encoding::PLAIN, _pad: 0, content_length, max_write_length }
    }

    /// The contents. A string ends with a zero byte.
    pub(super) fn contents(&self) -> Vec<u8> {
        match self {
            Self::Directory(entries) => list(entries),
            Self::Text(read) | Self::Setting { read, .. } => {
                let mut bytes = read().into_bytes();
                bytes.push(0);
                bytes
            }
            Self::Number(number) => number().to_le_bytes().to_vec(),
        }
    }
}

/// The elements of a directory.
fn list(entries: &[(&str, Node)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, (name, node)) in entries.iter().enumerate() {
        let size = (LIST_HEADER + name.len() + 1).next_multiple_of(align_of::<DirectoryListEntry>());
        let is_last = index + 1 == entries.len();
        // Names are short, so it fits.
        let next_offset = if is_last { 0 } else { u16::try_from(size).unwrap_or(0) };
        let entry = node.describe(saturating_u32(node.contents().len()));
        let header = DirectoryListEntry { entry, next_offset, name: [0; 2] };
        let end = bytes.len() + size;
        bytes.extend_from_slice(header.as_bytes().part(..LIST_HEADER).unwrap_or_default());
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(end, 0);
    }
    bytes
}
