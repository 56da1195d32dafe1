//! `hypfs.h`: the hypervisor's file system.

use crate::layout::{constants, structs};

constants! {
    header "xen/hypfs.h";

    /// Sub-operations.
    pub mod op: u32 {
        GET_VERSION = 0, "XEN_HYPFS_OP_get_version";
        READ = 1, "XEN_HYPFS_OP_read";
        WRITE_CONTENTS = 2, "XEN_HYPFS_OP_write_contents";
    }

    /// The interface.
    pub mod interface: u64 {
        VERSION = 1, "XEN_HYPFS_VERSION";
        /// Longest path in bytes, with the zero byte at its end.
        MAX_PATH_LENGTH = 1024, "XEN_HYPFS_MAX_PATHLEN";
    }

    /// Types of entries.
    pub mod entry_type: u8 {
        DIRECTORY = 0, "XEN_HYPFS_TYPE_DIR";
        BLOB = 1, "XEN_HYPFS_TYPE_BLOB";
        STRING = 2, "XEN_HYPFS_TYPE_STRING";
        UINT = 3, "XEN_HYPFS_TYPE_UINT";
        INT = 4, "XEN_HYPFS_TYPE_INT";
        BOOL = 5, "XEN_HYPFS_TYPE_BOOL";
    }

    /// Encodings of contents.
    pub mod encoding: u8 {
        PLAIN = 0, "XEN_HYPFS_ENC_PLAIN";
        GZIP = 1, "XEN_HYPFS_ENC_GZIP";
    }
}

structs! {
    header "xen/hypfs.h";

    /// The description of an entry; its contents follow.
    pub struct DirectoryEntry = "struct xen_hypfs_direntry" [12] {
        [0] entry_type: u8 = "type",
        [1] encoding: u8,
        [2] _pad: u16 = "pad",
        /// Bytes of the contents.
        [4] content_length: u32 = "content_len",
        /// Bytes that may be written; 0 if the entry is read-only.
        [8] max_write_length: u32 = "max_write_len",
    }

    /// One element of a directory's contents. The name starts at its last field and continues
    /// behind the structure if it is longer; it ends with a zero byte.
    pub struct DirectoryListEntry = "struct xen_hypfs_dirlistentry" [16] {
        [0] entry: DirectoryEntry = "e",
        /// Offset of the next element from this one; 0 for the last.
        [12] next_offset: u16 = "off_next",
        [14] name: [u8; 2],
    }
}
