//! `grant_table.h`: version 1 entries and all operations of `grant_table_op`.

use crate::layout::{constants, structs};
use crate::xen::DomainId;

constants! {
    header "xen/grant_table.h";

    /// Sub-operations.
    pub mod op: u32 {
        MAP_GRANT_REF = 0, "GNTTABOP_map_grant_ref";
        UNMAP_GRANT_REF = 1, "GNTTABOP_unmap_grant_ref";
        SETUP_TABLE = 2, "GNTTABOP_setup_table";
        DUMP_TABLE = 3, "GNTTABOP_dump_table";
        TRANSFER = 4, "GNTTABOP_transfer";
        COPY = 5, "GNTTABOP_copy";
        QUERY_SIZE = 6, "GNTTABOP_query_size";
        UNMAP_AND_REPLACE = 7, "GNTTABOP_unmap_and_replace";
        SET_VERSION = 8, "GNTTABOP_set_version";
        GET_STATUS_FRAMES = 9, "GNTTABOP_get_status_frames";
        GET_VERSION = 10, "GNTTABOP_get_version";
        SWAP_GRANT_REF = 11, "GNTTABOP_swap_grant_ref";
        CACHE_FLUSH = 12, "GNTTABOP_cache_flush";
    }

    /// References with a fixed meaning.
    pub mod reserved: u32 {
        RESERVED_ENTRIES = 8, "GNTTAB_NR_RESERVED_ENTRIES";
        CONSOLE = 0, "GNTTAB_RESERVED_CONSOLE";
        XENSTORE = 1, "GNTTAB_RESERVED_XENSTORE";
    }

    /// Bits of [`EntryV1::flags`].
    pub mod entry_flags: u16 {
        INVALID = 0x0, "GTF_invalid";
        PERMIT_ACCESS = 0x1, "GTF_permit_access";
        ACCEPT_TRANSFER = 0x2, "GTF_accept_transfer";
        TRANSITIVE = 0x3, "GTF_transitive";
        TYPE_MASK = 0x3, "GTF_type_mask";
        READONLY = 0x4, "GTF_readonly";
        READING = 0x8, "GTF_reading";
        WRITING = 0x10, "GTF_writing";
        PWT = 0x20, "GTF_PWT";
        PCD = 0x40, "GTF_PCD";
        PAT = 0x80, "GTF_PAT";
        SUB_PAGE = 0x100, "GTF_sub_page";
        TRANSFER_COMMITTED = 0x4, "GTF_transfer_committed";
        TRANSFER_COMPLETED = 0x8, "GTF_transfer_completed";
    }

    /// Bits of [`MapGrantRef::flags`].
    pub mod map_flags: u32 {
        DEVICE_MAP = 0x1, "GNTMAP_device_map";
        HOST_MAP = 0x2, "GNTMAP_host_map";
        READONLY = 0x4, "GNTMAP_readonly";
        APPLICATION_MAP = 0x8, "GNTMAP_application_map";
        CONTAINS_PTE = 0x10, "GNTMAP_contains_pte";
        GUEST_AVAIL_MASK = 0xffff_0000, "GNTMAP_guest_avail_mask";
    }

    /// Bits of [`GrantCopy::flags`].
    pub mod copy_flags: u16 {
        SOURCE_GREF = 0x1, "GNTCOPY_source_gref";
        DEST_GREF = 0x2, "GNTCOPY_dest_gref";
    }

    /// Bits of [`CacheFlush::operation`].
    pub mod cache_flush: u32 {
        CLEAN = 0x1, "GNTTAB_CACHE_CLEAN";
        INVAL = 0x2, "GNTTAB_CACHE_INVAL";
        SOURCE_GREF = 0x8000_0000, "GNTTAB_CACHE_SOURCE_GREF";
    }

    /// Values of the `status` fields.
    pub mod status: i16 {
        OKAY = 0, "GNTST_okay";
        GENERAL_ERROR = -1, "GNTST_general_error";
        BAD_DOMAIN = -2, "GNTST_bad_domain";
        BAD_GNTREF = -3, "GNTST_bad_gntref";
        BAD_HANDLE = -4, "GNTST_bad_handle";
        BAD_VIRT_ADDR = -5, "GNTST_bad_virt_addr";
        BAD_DEV_ADDR = -6, "GNTST_bad_dev_addr";
        NO_DEVICE_SPACE = -7, "GNTST_no_device_space";
        PERMISSION_DENIED = -8, "GNTST_permission_denied";
        BAD_PAGE = -9, "GNTST_bad_page";
        BAD_COPY_ARG = -10, "GNTST_bad_copy_arg";
        ADDRESS_TOO_BIG = -11, "GNTST_address_too_big";
        EAGAIN = -12, "GNTST_eagain";
        NO_SPACE = -13, "GNTST_no_space";
    }
}

structs! {
    header "xen/grant_table.h";

    /// An entry of a version 1 table, in guest memory.
    pub struct EntryV1 = "struct grant_entry_v1" [8] {
        /// Bits of [`entry_flags`].
        [0] flags: u16,
        [2] domain: DomainId = "domid",
        [4] frame: u32,
    }

    /// `map_grant_ref`.
    pub struct MapGrantRef = "struct gnttab_map_grant_ref" [32] {
        /// Where to map: a linear address, or, with `CONTAINS_PTE`, the machine address of the
        /// entry.
        [0] host_address: u64 = "host_addr",
        /// Bits of [`map_flags`].
        [8] flags: u32,
        [12] reference: u32 = "ref",
        [16] domain: DomainId = "dom",
        /// Out.
        [18] status: i16,
        /// Out.
        [20] handle: u32,
        /// Out: the frame's machine address.
        [24] device_bus_address: u64 = "dev_bus_addr",
    }

    /// `unmap_grant_ref`.
    pub struct UnmapGrantRef = "struct gnttab_unmap_grant_ref" [24] {
        [0] host_address: u64 = "host_addr",
        [8] device_bus_address: u64 = "dev_bus_addr",
        [16] handle: u32,
        /// Out.
        [20] status: i16,
        [22] _pad: u16,
    }

    /// `setup_table`.
    pub struct SetupTable = "struct gnttab_setup_table" [24] {
        [0] domain: DomainId = "dom",
        [2] _pad0: u16,
        [4] frame_count: u32 = "nr_frames",
        /// Out.
        [8] status: i16,
        [10] _pad1: [u8; 6],
        /// Guest address of the list that receives the frames.
        [16] frame_list: u64,
    }

    /// `dump_table`.
    pub struct DumpTable = "struct gnttab_dump_table" [4] {
        [0] domain: DomainId = "dom",
        /// Out.
        [2] status: i16,
    }

    /// `transfer`.
    pub struct Transfer = "struct gnttab_transfer" [24] {
        [0] mfn: u64,
        [8] domain: DomainId = "domid",
        [10] _pad0: u16,
        [12] reference: u32 = "ref",
        /// Out.
        [16] status: i16,
        [18] _pad1: [u8; 6],
    }

    /// Source or destination of a [`GrantCopy`].
    pub struct CopyPointer = "struct gnttab_copy_ptr" [16] {
        /// A grant reference (low 32 bits only) or a frame of the caller, depending on the flags.
        [0] reference_or_frame: u64 = "u.gmfn",
        [8] domain: DomainId = "domid",
        [10] offset: u16,
        [12] _pad: u32,
    }

    /// `copy`.
    pub struct GrantCopy = "struct gnttab_copy" [40] {
        [0] source: CopyPointer,
        [16] destination: CopyPointer = "dest",
        [32] length: u16 = "len",
        /// Bits of [`copy_flags`].
        [34] flags: u16,
        /// Out.
        [36] status: i16,
        [38] _pad: u16,
    }

    /// `query_size`.
    pub struct QuerySize = "struct gnttab_query_size" [16] {
        [0] domain: DomainId = "dom",
        [2] _pad0: u16,
        /// Out.
        [4] frame_count: u32 = "nr_frames",
        /// Out.
        [8] max_frame_count: u32 = "max_nr_frames",
        /// Out.
        [12] status: i16,
        [14] _pad1: u16,
    }

    /// `unmap_and_replace`.
    pub struct UnmapAndReplace = "struct gnttab_unmap_and_replace" [24] {
        [0] host_address: u64 = "host_addr",
        /// Linear address whose mapping moves to `host_address`.
        [8] new_address: u64 = "new_addr",
        [16] handle: u32,
        /// Out.
        [20] status: i16,
        [22] _pad: u16,
    }

    /// `set_version`.
    pub struct SetVersion = "struct gnttab_set_version" [4] {
        /// In: the requested version. Out: the current version.
        [0] version: u32,
    }

    /// `get_status_frames`.
    pub struct GetStatusFrames = "struct gnttab_get_status_frames" [16] {
        [0] frame_count: u32 = "nr_frames",
        [4] domain: DomainId = "dom",
        /// Out.
        [6] status: i16,
        [8] frame_list: u64,
    }

    /// `get_version`.
    pub struct GetVersion = "struct gnttab_get_version" [8] {
        [0] domain: DomainId = "dom",
        [2] _pad: u16,
        /// Out.
        [4] version: u32,
    }

    /// `swap_grant_ref`.
    pub struct SwapGrantRef = "struct gnttab_swap_grant_ref" [12] {
        [0] reference_a: u32 = "ref_a",
        [4] reference_b: u32 = "ref_b",
        /// Out.
        [8] status: i16,
        [10] _pad: u16,
    }

    /// `cache_flush`.
    pub struct CacheFlush = "struct gnttab_cache_flush" [16] {
        /// A machine address or a grant reference (low 32 bits only), depending on `operation`.
        [0] address_or_reference: u64 = "a.dev_bus_addr",
        [8] offset: u16,
        [10] length: u16,
        /// Bits of [`cache_flush`].
        [12] operation: u32 = "op",
    }
}
