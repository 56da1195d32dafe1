//! `vcpu.h`: operations of `vcpu_op`. `initialise` takes a
//! [`crate::arch_x86_64::VcpuGuestContext`].

use crate::layout::{constants, structs};

constants! {
    header "xen/vcpu.h";

    /// Sub-operations.
    pub mod op: u32 {
        INITIALISE = 0, "VCPUOP_initialise";
        UP = 1, "VCPUOP_up";
        DOWN = 2, "VCPUOP_down";
        IS_UP = 3, "VCPUOP_is_up";
        GET_RUNSTATE_INFO = 4, "VCPUOP_get_runstate_info";
        REGISTER_RUNSTATE_MEMORY_AREA = 5, "VCPUOP_register_runstate_memory_area";
        SET_PERIODIC_TIMER = 6, "VCPUOP_set_periodic_timer";
        STOP_PERIODIC_TIMER = 7, "VCPUOP_stop_periodic_timer";
        SET_SINGLESHOT_TIMER = 8, "VCPUOP_set_singleshot_timer";
        STOP_SINGLESHOT_TIMER = 9, "VCPUOP_stop_singleshot_timer";
        REGISTER_VCPU_INFO = 10, "VCPUOP_register_vcpu_info";
        SEND_NMI = 11, "VCPUOP_send_nmi";
        GET_PHYSID = 12, "VCPUOP_get_physid";
        REGISTER_VCPU_TIME_MEMORY_AREA = 13, "VCPUOP_register_vcpu_time_memory_area";
    }

    /// Values of [`RunstateInfo::state`], indices of [`RunstateInfo::time`].
    pub mod runstate: i32 {
        RUNNING = 0, "RUNSTATE_running";
        RUNNABLE = 1, "RUNSTATE_runnable";
        BLOCKED = 2, "RUNSTATE_blocked";
        OFFLINE = 3, "RUNSTATE_offline";
    }

    /// Top bit of [`RunstateInfo::state_entry_time`], set while the area is being written.
    pub mod runstate_flag: u64 {
        UPDATE = 0x8000_0000_0000_0000, "XEN_RUNSTATE_UPDATE";
    }

    /// Bits of [`SetSingleshotTimer::flags`].
    pub mod singleshot_timer: u32 {
        FUTURE = 1, "VCPU_SSHOTTMR_future";
    }
}

structs! {
    header "xen/vcpu.h";

    /// The time that a vCPU has spent in each state, in nanoseconds.
    pub struct RunstateInfo = "struct vcpu_runstate_info" [48] {
        [0] state: i32,
        [4] _pad: u32,
        [8] state_entry_time: u64,
        [16] time: [u64; 4],
    }

    /// `register_runstate_memory_area`.
    pub struct RegisterRunstateMemoryArea = "struct vcpu_register_runstate_memory_area" [8] {
        /// Guest address of a [`RunstateInfo`].
        [0] address: u64 = "addr.p",
    }

    /// `set_periodic_timer`.
    pub struct SetPeriodicTimer = "struct vcpu_set_periodic_timer" [8] {
        [0] period_ns: u64,
    }

    /// `set_singleshot_timer`.
    pub struct SetSingleshotTimer = "struct vcpu_set_singleshot_timer" [16] {
        [0] timeout_absolute_ns: u64 = "timeout_abs_ns",
        /// Bits of [`singleshot_timer`].
        [8] flags: u32,
        [12] _pad: u32,
    }

    /// `register_vcpu_info`.
    pub struct RegisterVcpuInfo = "struct vcpu_register_vcpu_info" [16] {
        [0] mfn: u64,
        [8] offset: u32,
        [12] reserved: u32 = "rsvd",
    }

    /// `get_physid`.
    pub struct GetPhysicalId = "struct vcpu_get_physid" [8] {
        /// APIC id in the low half, ACPI id in the high half.
        [0] physical_id: u64 = "phys_id",
    }

    /// `register_vcpu_time_memory_area`.
    pub struct RegisterTimeMemoryArea = "struct vcpu_register_time_memory_area" [8] {
        /// Guest address of a [`crate::xen::VcpuTimeInfo`].
        [0] address: u64 = "addr.p",
    }
}
