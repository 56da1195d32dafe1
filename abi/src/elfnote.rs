//! `elfnote.h`: types of the ELF notes, owner `Xen`, in which a kernel declares its requirements.

use crate::layout::constants;

/// The notes' owner, with its zero byte.
pub const OWNER: &[u8; 4] = b"Xen\0";

constants! {
    header "xen/elfnote.h";

    /// Types.
    pub mod kind: u32 {
        INFO = 0, "XEN_ELFNOTE_INFO";
        ENTRY = 1, "XEN_ELFNOTE_ENTRY";
        HYPERCALL_PAGE = 2, "XEN_ELFNOTE_HYPERCALL_PAGE";
        VIRT_BASE = 3, "XEN_ELFNOTE_VIRT_BASE";
        PADDR_OFFSET = 4, "XEN_ELFNOTE_PADDR_OFFSET";
        XEN_VERSION = 5, "XEN_ELFNOTE_XEN_VERSION";
        GUEST_OS = 6, "XEN_ELFNOTE_GUEST_OS";
        GUEST_VERSION = 7, "XEN_ELFNOTE_GUEST_VERSION";
        LOADER = 8, "XEN_ELFNOTE_LOADER";
        PAE_MODE = 9, "XEN_ELFNOTE_PAE_MODE";
        FEATURES = 10, "XEN_ELFNOTE_FEATURES";
        BSD_SYMTAB = 11, "XEN_ELFNOTE_BSD_SYMTAB";
        HV_START_LOW = 12, "XEN_ELFNOTE_HV_START_LOW";
        L1_MFN_VALID = 13, "XEN_ELFNOTE_L1_MFN_VALID";
        SUSPEND_CANCEL = 14, "XEN_ELFNOTE_SUSPEND_CANCEL";
        INIT_P2M = 15, "XEN_ELFNOTE_INIT_P2M";
        MOD_START_PFN = 16, "XEN_ELFNOTE_MOD_START_PFN";
        SUPPORTED_FEATURES = 17, "XEN_ELFNOTE_SUPPORTED_FEATURES";
        PHYS32_ENTRY = 18, "XEN_ELFNOTE_PHYS32_ENTRY";
    }
}
