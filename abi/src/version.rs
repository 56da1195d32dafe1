//! `version.h`: operations of `xen_version`.

use crate::layout::{constants, structs};

/// Length of the extra version string. C: `XEN_EXTRAVERSION_LEN`.
pub const EXTRA_VERSION_LENGTH: usize = 16;
/// Length of the capabilities string. C: `XEN_CAPABILITIES_INFO_LEN`.
pub const CAPABILITIES_LENGTH: usize = 1024;
/// Length of the change set string. C: `XEN_CHANGESET_INFO_LEN`.
pub const CHANGESET_LENGTH: usize = 64;
/// Length of the hypervisor's command line. C: `xen_commandline_t`.
pub const COMMAND_LINE_LENGTH: usize = 1024;

constants! {
    header "xen/version.h";

    /// Sub-operations.
    pub mod op: u32 {
        VERSION = 0, "XENVER_version";
        EXTRAVERSION = 1, "XENVER_extraversion";
        COMPILE_INFO = 2, "XENVER_compile_info";
        CAPABILITIES = 3, "XENVER_capabilities";
        CHANGESET = 4, "XENVER_changeset";
        PLATFORM_PARAMETERS = 5, "XENVER_platform_parameters";
        GET_FEATURES = 6, "XENVER_get_features";
        PAGESIZE = 7, "XENVER_pagesize";
        GUEST_HANDLE = 8, "XENVER_guest_handle";
        COMMANDLINE = 9, "XENVER_commandline";
        BUILD_ID = 10, "XENVER_build_id";
    }
}

structs! {
    header "xen/version.h";

    /// `compile_info`; strings end with a zero byte.
    pub struct CompileInfo = "struct xen_compile_info" [144] {
        [0] compiler: [u8; 64],
        [64] compile_by: [u8; 16],
        [80] compile_domain: [u8; 32],
        [112] compile_date: [u8; 32],
    }

    /// `platform_parameters`.
    pub struct PlatformParameters = "struct xen_platform_parameters" [8] {
        /// Start of the hypervisor's part of the address space.
        [0] virtual_start: u64 = "virt_start",
    }

    /// `get_features`.
    pub struct FeatureInfo = "struct xen_feature_info" [8] {
        /// In: the index of a group of 32 features.
        [0] submap_index: u32 = "submap_idx",
        /// Out: bits of [`crate::features::feature`].
        [4] submap: u32,
    }

    /// `build_id`: the header, which is followed by the bytes of the id.
    pub struct BuildId = "struct xen_build_id" [4] {
        /// In: capacity. Out: length.
        [0] length: u32 = "len",
    }
}
