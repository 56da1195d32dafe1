//! `sched.h`: operations of `sched_op`.

use crate::layout::{constants, structs};
use crate::xen::DomainId;

constants! {
    header "xen/sched.h";

    /// Sub-operations.
    pub mod op: u32 {
        YIELD = 0, "SCHEDOP_yield";
        BLOCK = 1, "SCHEDOP_block";
        SHUTDOWN = 2, "SCHEDOP_shutdown";
        POLL = 3, "SCHEDOP_poll";
        REMOTE_SHUTDOWN = 4, "SCHEDOP_remote_shutdown";
        SHUTDOWN_CODE = 5, "SCHEDOP_shutdown_code";
        WATCHDOG = 6, "SCHEDOP_watchdog";
        PIN_OVERRIDE = 7, "SCHEDOP_pin_override";
    }

    /// Reasons of [`Shutdown`].
    pub mod shutdown_reason: u32 {
        POWEROFF = 0, "SHUTDOWN_poweroff";
        REBOOT = 1, "SHUTDOWN_reboot";
        SUSPEND = 2, "SHUTDOWN_suspend";
        CRASH = 3, "SHUTDOWN_crash";
        WATCHDOG = 4, "SHUTDOWN_watchdog";
        SOFT_RESET = 5, "SHUTDOWN_soft_reset";
        MAX = 5, "SHUTDOWN_MAX";
    }
}

structs! {
    header "xen/sched.h";

    /// `shutdown`, `shutdown_code`.
    pub struct Shutdown = "struct sched_shutdown" [4] {
        /// One of [`shutdown_reason`].
        [0] reason: u32,
    }

    /// `poll`.
    pub struct Poll = "struct sched_poll" [24] {
        /// Guest address of a list of ports (`u32`).
        [0] ports: u64,
        [8] port_count: u32 = "nr_ports",
        [12] _pad: u32,
        /// System time in nanoseconds; zero means none.
        [16] timeout: u64,
    }

    /// `remote_shutdown`.
    pub struct RemoteShutdown = "struct sched_remote_shutdown" [8] {
        [0] domain: DomainId = "domain_id",
        [2] _pad: u16,
        [4] reason: u32,
    }

    /// `watchdog`.
    pub struct Watchdog = "struct sched_watchdog" [8] {
        /// Zero starts a new timer.
        [0] id: u32,
        /// In seconds; zero stops it.
        [4] timeout: u32,
    }

    /// `pin_override`.
    pub struct PinOverride = "struct sched_pin_override" [4] {
        /// Negative removes the override.
        [0] pcpu: i32,
    }
}
