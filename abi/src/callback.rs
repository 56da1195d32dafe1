//! `callback.h`: operations of `callback_op`.

use crate::layout::{constants, structs};

constants! {
    header "xen/callback.h";

    /// Sub-operations.
    pub mod op: u32 {
        REGISTER = 0, "CALLBACKOP_register";
        UNREGISTER = 1, "CALLBACKOP_unregister";
    }

    /// Values of [`Register::kind`].
    pub mod kind: u16 {
        EVENT = 0, "CALLBACKTYPE_event";
        FAILSAFE = 1, "CALLBACKTYPE_failsafe";
        SYSCALL = 2, "CALLBACKTYPE_syscall";
        SYSENTER_DEPRECATED = 3, "CALLBACKTYPE_sysenter_deprecated";
        NMI = 4, "CALLBACKTYPE_nmi";
        SYSENTER = 5, "CALLBACKTYPE_sysenter";
        SYSCALL32 = 7, "CALLBACKTYPE_syscall32";
    }

    /// Bits of [`Register::flags`].
    pub mod flags: u16 {
        MASK_EVENTS = 1, "CALLBACKF_mask_events";
    }
}

structs! {
    header "xen/callback.h";

    /// `register`.
    pub struct Register = "struct callback_register" [16] {
        [0] kind: u16 = "type",
        [2] flags: u16,
        [4] _pad: u32,
        [8] address: u64,
    }

    /// `unregister`.
    pub struct Unregister = "struct callback_unregister" [4] {
        [0] kind: u16 = "type",
        [2] _pad: u16,
    }
}
