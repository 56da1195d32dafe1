//! The contents of the store: nodes by path. Paravane's nodes are read-only. A guest may write in a
//! few directories, up to a quota.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Bound;

use abi::xenstore::{error, limit};

use crate::domain::Domain;

/// Upper bound on the nodes that a guest has created or changed.
pub(crate) const MAX_NODES: usize = 128;
/// Upper bound on the bytes of paths and values that a guest has written.
pub(crate) const MAX_BYTES: usize = 16 * 1024;

/// Directories in which a guest may write.
const WRITABLE: [&str; 6] = ["attr", "control", "data", "drivers", "error", "feature"];

/// The name of an error, as sent in replies.
pub(super) type Error = &'static str;

/// A value and its writer.
#[derive(Clone, Debug)]
struct Node {
    value: Vec<u8>,
    /// The guest has created or changed it.
    is_guests: bool,
}

/// All nodes.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    home: String,
    generation: u64,
}

impl Tree {
    /// The nodes that describe a domain, and `more`: paths below the domain's home, with values.
    pub(super) fn of(domain: &Domain, more: &[(String, String)]) -> Self {
        let id = domain.id().0;
        let uuid = format!("00000000-0000-0000-0000-{id:012x}");
        let settings = domain.settings();
        let kibibytes = (u64::from(settings.max_frames) * 4).to_string();
        let mut tree = Self::empty(format!("/local/domain/{id}"));
        for directory in WRITABLE.iter().chain(&["device"]) {
            tree.describe(directory, "");
        }
        tree.describe("name", &settings.name);
        tree.describe("domid", &id.to_string());
        tree.describe("vm", &format!("/vm/{uuid}"));
        tree.describe("control/shutdown", "");
        tree.describe("memory/target", &kibibytes);
        tree.describe("memory/static-max", &kibibytes);
        for vcpu in domain.vcpus() {
            tree.describe(&format!("cpu/{}/availability", vcpu.id().get()), "online");
        }
        for (path, value) in more {
            tree.describe(path, value);
        }
        tree.put(&format!("/vm/{uuid}/name"), settings.name.as_bytes(), false);
        tree.put(&format!("/vm/{uuid}/uuid"), uuid.as_bytes(), false);
        tree
    }

    /// A tree that contains only the guest's home and the directories above it.
    pub(super) fn empty(home: String) -> Self {
        let mut tree = Self { nodes: BTreeMap::new(), home: home.clone(), generation: 0 };
        tree.put(&home, b"", false);
        tree
    }

    /// Adds a read-only node below the domain's home.
    pub(super) fn describe(&mut self, path: &str, value: &str) {
        let path = format!("{}/{path}", self.home);
        self.put(&path, value.as_bytes(), false);
    }

    /// The directory to which paths are relative.
    pub(super) fn home(&self) -> &str {
        &self.home
    }

    /// The number of changes so far.
    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    /// The absolute form of a path that a guest has sent.
    ///
    /// # Errors
    /// `EINVAL` if it is not a valid path.
    pub(super) fn absolute(&self, path: &str) -> Result<String, Error> {
        let is_absolute = path.starts_with('/');
        let longest = if is_absolute { limit::ABS_PATH_MAX } else { limit::REL_PATH_MAX };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
        let well_formed = path == "/" || !(path.is_empty() || path.ends_with('/') || path.contains("//"));
        if path.len() > longest as usize || !well_formed || !path.bytes().all(allowed) {
            return Err(error::INVALID);
        }
        Ok(if is_absolute { path.to_string() } else { format!("{}/{path}", self.home) })
    }

    /// A node's value.
    pub(super) fn read(&self, path: &str) -> Result<&[u8], Error> {
        self.node(path).map(|node| node.map_or(&[][..], |node| &node.value))
    }

    /// Whether the guest may write to the node.
    pub(super) fn is_writable(&self, path: &str) -> Result<bool, Error> {
        self.node(path)?;
        Ok(self.may_write(path))
    }

    /// The node, or `None` for the root, which has no value.
    fn node(&self, path: &str) -> Result<Option<&Node>, Error> {
        if path == "/" {
            return Ok(None);
        }
        self.nodes.get(path).map(Some).ok_or(error::NO_ENTRY)
    }

    /// The names of a node's children, each followed by a zero byte.
    pub(super) fn children(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.node(path)?;
        let start = if path == "/" { String::from("/") } else { format!("{path}/") };
        let mut names = Vec::new();
        for below in self.below(&start) {
            let name = &below[start.len()..];
            if !name.is_empty() && !name.contains('/') {
                names.extend_from_slice(name.as_bytes());
                names.push(0);
            }
        }
        Ok(names)
    }

    /// The paths that start with `start`.
    fn below<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a String> {
        let from = (Bound::Included(start), Bound::Unbounded);
        self.nodes.range::<str, _>(from).map(|(path, _)| path).take_while(move |path| path.starts_with(start))
    }

    fn may_write(&self, path: &str) -> bool {
        let Some(inside) = path.strip_prefix(&self.home).and_then(|rest| rest.strip_prefix('/')) else { return false };
        inside.split_once('/').is_some_and(|(directory, _)| WRITABLE.contains(&directory))
    }

    /// Writes a node for the guest. Creates it and the directories above it if necessary.
    pub(super) fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        if !self.may_write(path) {
            return Err(error::ACCESS);
        }
        let (mut nodes, mut bytes) = (0, 0);
        for (other, node) in self.nodes.iter().filter(|(other, node)| node.is_guests && *other != path) {
            nodes += 1;
            bytes += other.len() + node.value.len();
        }
        for missing in above(path).filter(|above| !self.nodes.contains_key(*above)) {
            nodes += 1;
            bytes += missing.len();
        }
        if nodes >= MAX_NODES || bytes + path.len() + value.len() > MAX_BYTES {
            return Err(error::NO_SPACE);
        }
        self.put(path, value, true);
        Ok(())
    }

    /// Creates an empty node for the guest unless it exists. Returns whether it was created.
    pub(super) fn make(&mut self, path: &str) -> Result<bool, Error> {
        if self.node(path).is_ok() {
            return Ok(false);
        }
        self.write(path, b"").map(|()| true)
    }

    /// Removes a node and everything below it. Returns whether it existed.
    pub(super) fn remove(&mut self, path: &str) -> Result<bool, Error> {
        if path == "/" {
            return Err(error::INVALID);
        }
        if self.node(path).is_err() {
            let parent = above(path).last();
            return parent.is_none_or(|parent| self.nodes.contains_key(parent)).then_some(false).ok_or(error::NO_ENTRY);
        }
        if !self.may_write(path) {
            return Err(error::ACCESS);
        }
        let start = format!("{path}/");
        let gone: Vec<String> = self.below(&start).cloned().collect();
        for below in gone {
            self.nodes.remove(&below);
        }
        self.nodes.remove(path);
        self.generation += 1;
        Ok(true)
    }

    fn put(&mut self, path: &str, value: &[u8], is_guests: bool) {
        for above in above(path) {
            if !self.nodes.contains_key(above) {
                self.nodes.insert(above.to_string(), Node { value: Vec::new(), is_guests });
            }
        }
        self.nodes.insert(path.to_string(), Node { value: value.to_vec(), is_guests });
        self.generation += 1;
    }
}

/// The directories above this path, from the top, without the root.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|above| !above.is_empty())
}

/// Whether a change of `path` fires a watch on `watched`.
pub(super) fn concerns(watched: &str, path: &str) -> bool {
    watched == "/" || path.strip_prefix(watched).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::empty(String::from("/local/domain/7"));
        for (path, value) in [("name", "web"), ("cpu/0/availability", "online"), ("control/shutdown", ""), ("data", "")]
        {
            tree.describe(path, value);
        }
        tree
    }

    #[test]
    fn nodes_are_read_by_absolute_and_relative_paths() {
        let tree = tree();
        assert_eq!(tree.absolute("name"), Ok(String::from("/local/domain/7/name")));
        assert_eq!(tree.read("/local/domain/7/name"), Ok(&b"web"[..]));
        assert_eq!(tree.read("/local/domain/8"), Err(error::NO_ENTRY));
        assert_eq!(tree.children("/local/domain/7"), Ok(b"control\0cpu\0data\0name\0".to_vec()));
        assert_eq!(tree.children("/"), Ok(b"local\0".to_vec()));
        assert_eq!(tree.children("/local/domain/7/name"), Ok(Vec::new()));
    }

    #[test]
    fn malformed_paths_are_refused() {
        let tree = tree();
        for path in ["", "a//b", "/a/", "a b", "a\u{e9}", "*", &"a".repeat(2049), &"/a".repeat(1537)] {
            assert_eq!(tree.absolute(path), Err(error::INVALID), "{path:?}");
        }
        assert!(tree.absolute(&"/a".repeat(1536)).is_ok());
    }

    #[test]
    fn a_guest_writes_in_its_own_directories_only() {
        let mut tree = tree();
        assert_eq!(tree.write("/local/domain/7/control/feature-poweroff", b"1"), Ok(()));
        assert_eq!(tree.write("/local/domain/7/data/a/b", b"2"), Ok(()));
        assert_eq!(tree.read("/local/domain/7/data/a"), Ok(&b""[..]));
        for path in ["name", "cpu/0/availability", "data", "new", "datax/y"] {
            let path = tree.absolute(path).unwrap();
            assert_eq!(tree.write(&path, b""), Err(error::ACCESS), "{path}");
        }
        assert_eq!(tree.write("/local/domain/70/data/x", b""), Err(error::ACCESS));
        assert_eq!(tree.write("/", b""), Err(error::ACCESS));
    }

    #[test]
    fn nodes_and_bytes_have_a_quota() {
        let mut tree = tree();
        let written = (0..1000).take_while(|n| tree.write(&format!("/local/domain/7/data/{n}"), b"").is_ok()).count();
        assert_eq!(written, MAX_NODES);
        assert!(tree.write("/local/domain/7/data/5", b"changed").is_ok());
        let mut tree = self::tree();
        let value = [0; 1000];
        let written =
            (0..1000).take_while(|n| tree.write(&format!("/local/domain/7/data/{n}"), &value).is_ok()).count();
        assert_eq!(written, MAX_BYTES / 1000);
        let mut tree = self::tree();
        assert_eq!(tree.write(&format!("/local/domain/7/data{}", "/a".repeat(1000)), b""), Err(error::NO_SPACE));
    }

    #[test]
    fn removing_a_node_removes_its_children() {
        let mut tree = tree();
        tree.write("/local/domain/7/data/a/b", b"").unwrap();
        tree.write("/local/domain/7/data/ab", b"").unwrap();
        assert_eq!(tree.remove("/local/domain/7/data/a"), Ok(true));
        assert_eq!(tree.children("/local/domain/7/data"), Ok(b"ab\0".to_vec()));
        assert_eq!(tree.remove("/local/domain/7/data/a"), Ok(false));
        assert_eq!(tree.remove("/local/domain/7/data/a/b"), Err(error::NO_ENTRY));
        assert_eq!(tree.remove("/local/domain/7/data"), Err(error::ACCESS));
        assert_eq!(tree.remove("/local/domain/7"), Err(error::ACCESS));
    }

    #[test]
    fn a_change_fires_watches_at_or_above_it() {
        assert!(concerns("/a/b", "/a/b") && concerns("/a", "/a/b") && concerns("/", "/a"));
        assert!(!concerns("/a/b", "/a") && !concerns("/a", "/ab"));
    }
}
