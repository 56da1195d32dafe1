//! `nmi.h`: operations of `nmi_op`.

use crate::layout::{constants, structs};

constants! {
    header "xen/nmi.h";

    /// Sub-operations.
    pub mod op: u32 {
        REGISTER_CALLBACK = 0, "XENNMI_register_callback";
        UNREGISTER_CALLBACK = 1, "XENNMI_unregister_callback";
    }

    /// Bits of [`crate::arch_x86_64::ArchSharedInfo::nmi_reason`].
    pub mod reason: u64 {
        IO_ERROR = 1, "XEN_NMIREASON_io_error";
        PCI_SERR = 2, "XEN_NMIREASON_pci_serr";
        UNKNOWN = 4, "XEN_NMIREASON_unknown";
    }
}

structs! {
    header "xen/nmi.h";

    /// `register_callback`.
    pub struct RegisterCallback = "struct xennmi_callback" [16] {
        [0] handler_address: u64,
        [8] _pad: u64 = "pad",
    }
}
