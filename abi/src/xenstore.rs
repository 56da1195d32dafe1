//! `io/xs_wire.h`: the xenstore page and its messages.

use crate::layout::{constants, structs};

/// Size of each ring in bytes. C: `XENSTORE_RING_SIZE`.
pub const RING_SIZE: usize = 1024;

/// Error names in a reply of type `ERROR` (zero-terminated on the wire).
pub mod error {
    /// Bad message.
    pub const INVALID: &str = "EINVAL";
    /// No permission.
    pub const ACCESS: &str = "EACCES";
    /// The node exists already.
    pub const EXISTS: &str = "EEXIST";
    /// The node does not exist.
    pub const NO_ENTRY: &str = "ENOENT";
    /// Out of memory.
    pub const NO_MEMORY: &str = "ENOMEM";
    /// Quota exceeded.
    pub const NO_SPACE: &str = "ENOSPC";
    /// Unknown request.
    pub const NO_SYSTEM_CALL: &str = "ENOSYS";
    /// The store is read-only.
    pub const READ_ONLY: &str = "EROFS";
    /// In use.
    pub const BUSY: &str = "EBUSY";
    /// The transaction conflicted with another one.
    pub const AGAIN: &str = "EAGAIN";
    /// Message too long.
    pub const TOO_BIG: &str = "E2BIG";
}

constants! {
    header "xen/io/xs_wire.h";

    /// Values of [`MessageHeader::kind`].
    pub mod message: u32 {
        CONTROL = 0, "XS_CONTROL";
        DIRECTORY = 1, "XS_DIRECTORY";
        READ = 2, "XS_READ";
        GET_PERMS = 3, "XS_GET_PERMS";
        WATCH = 4, "XS_WATCH";
        UNWATCH = 5, "XS_UNWATCH";
        TRANSACTION_START = 6, "XS_TRANSACTION_START";
        TRANSACTION_END = 7, "XS_TRANSACTION_END";
        INTRODUCE = 8, "XS_INTRODUCE";
        RELEASE = 9, "XS_RELEASE";
        GET_DOMAIN_PATH = 10, "XS_GET_DOMAIN_PATH";
        WRITE = 11, "XS_WRITE";
        MKDIR = 12, "XS_MKDIR";
        RM = 13, "XS_RM";
        SET_PERMS = 14, "XS_SET_PERMS";
        WATCH_EVENT = 15, "XS_WATCH_EVENT";
        ERROR = 16, "XS_ERROR";
        IS_DOMAIN_INTRODUCED = 17, "XS_IS_DOMAIN_INTRODUCED";
        RESUME = 18, "XS_RESUME";
        SET_TARGET = 19, "XS_SET_TARGET";
        RESET_WATCHES = 21, "XS_RESET_WATCHES";
        DIRECTORY_PART = 22, "XS_DIRECTORY_PART";
        TYPE_COUNT = 23, "XS_TYPE_COUNT";
        INVALID = 0xffff, "XS_INVALID";
    }

    /// Limits, in bytes.
    pub mod limit: u32 {
        PAYLOAD_MAX = 4096, "XENSTORE_PAYLOAD_MAX";
        ABS_PATH_MAX = 3072, "XENSTORE_ABS_PATH_MAX";
        REL_PATH_MAX = 2048, "XENSTORE_REL_PATH_MAX";
    }

    /// Bits of [`StoreInterface::server_features`].
    pub mod server_feature: u32 {
        RECONNECTION = 1, "XENSTORE_SERVER_FEATURE_RECONNECTION";
        ERROR = 2, "XENSTORE_SERVER_FEATURE_ERROR";
    }

    /// Values of [`StoreInterface::connection`].
    pub mod connection: u32 {
        CONNECTED = 0, "XENSTORE_CONNECTED";
        RECONNECT = 1, "XENSTORE_RECONNECT";
    }

    /// Values of [`StoreInterface::error`].
    pub mod ring_error: u32 {
        NONE = 0, "XENSTORE_ERROR_NONE";
        COMM = 1, "XENSTORE_ERROR_COMM";
        RINGIDX = 2, "XENSTORE_ERROR_RINGIDX";
        PROTO = 3, "XENSTORE_ERROR_PROTO";
    }
}

structs! {
    header "xen/io/xs_wire.h";

    /// The header of each message.
    pub struct MessageHeader = "struct xsd_sockmsg" [16] {
        /// One of [`message`].
        [0] kind: u32 = "type",
        /// Chosen by the sender, repeated in the reply.
        [4] request_id: u32 = "req_id",
        [8] transaction_id: u32 = "tx_id",
        /// Length of the payload.
        [12] length: u32 = "len",
    }

    /// Two rings; indices are free-running and taken modulo [`RING_SIZE`].
    pub struct StoreInterface = "struct xenstore_domain_interface" [2076] {
        [0] request: [u8; RING_SIZE] = "req",
        [1024] response: [u8; RING_SIZE] = "rsp",
        [2048] request_consumer: u32 = "req_cons",
        [2052] request_producer: u32 = "req_prod",
        [2056] response_consumer: u32 = "rsp_cons",
        [2060] response_producer: u32 = "rsp_prod",
        [2064] server_features: u32,
        [2068] connection: u32,
        [2072] error: u32,
    }
}
