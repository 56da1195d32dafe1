//! `platform.h`: operations of `platform_op`, for the control domain.

mod arguments;

pub use arguments::*;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::{constants, structs};

constants! {
    header "xen/platform.h";

    /// Sub-operations: values of [`PlatformOp::command`].
    pub mod op: u32 {
        SETTIME32 = 17, "XENPF_settime32";
        SETTIME64 = 62, "XENPF_settime64";
        ADD_MEMTYPE = 31, "XENPF_add_memtype";
        DEL_MEMTYPE = 32, "XENPF_del_memtype";
        READ_MEMTYPE = 33, "XENPF_read_memtype";
        MICROCODE_UPDATE = 35, "XENPF_microcode_update";
        PLATFORM_QUIRK = 39, "XENPF_platform_quirk";
        EFI_RUNTIME_CALL = 49, "XENPF_efi_runtime_call";
        FIRMWARE_INFO = 50, "XENPF_firmware_info";
        ENTER_ACPI_SLEEP = 51, "XENPF_enter_acpi_sleep";
        CHANGE_FREQ = 52, "XENPF_change_freq";
        GETIDLETIME = 53, "XENPF_getidletime";
        SET_PROCESSOR_PMINFO = 54, "XENPF_set_processor_pminfo";
        GET_CPUINFO = 55, "XENPF_get_cpuinfo";
        GET_CPU_VERSION = 48, "XENPF_get_cpu_version";
        CPU_ONLINE = 56, "XENPF_cpu_online";
        CPU_OFFLINE = 57, "XENPF_cpu_offline";
        CPU_HOTADD = 58, "XENPF_cpu_hotadd";
        MEM_HOTADD = 59, "XENPF_mem_hotadd";
        CORE_PARKING = 60, "XENPF_core_parking";
        RESOURCE_OP = 61, "XENPF_resource_op";
        GET_SYMBOL = 63, "XENPF_get_symbol";
    }

    /// Value of [`PlatformOp::interface_version`].
    pub mod interface: u32 {
        VERSION = 0x0300_0001, "XENPF_INTERFACE_VERSION";
    }

    /// Values of [`EfiRuntimeCall::function`].
    pub mod efi_function: u32 {
        GET_TIME = 1, "XEN_EFI_get_time";
        SET_TIME = 2, "XEN_EFI_set_time";
        GET_WAKEUP_TIME = 3, "XEN_EFI_get_wakeup_time";
        SET_WAKEUP_TIME = 4, "XEN_EFI_set_wakeup_time";
        GET_NEXT_HIGH_MONOTONIC_COUNT = 5, "XEN_EFI_get_next_high_monotonic_count";
        GET_VARIABLE = 6, "XEN_EFI_get_variable";
        SET_VARIABLE = 7, "XEN_EFI_set_variable";
        GET_NEXT_VARIABLE_NAME = 8, "XEN_EFI_get_next_variable_name";
        QUERY_VARIABLE_INFO = 9, "XEN_EFI_query_variable_info";
        QUERY_CAPSULE_CAPABILITIES = 10, "XEN_EFI_query_capsule_capabilities";
        UPDATE_CAPSULE = 11, "XEN_EFI_update_capsule";
    }

    /// Bits of `misc` after `get_time`.
    pub mod efi_get_time: u32 {
        SET_CLEARS_NS = 1, "XEN_EFI_GET_TIME_SET_CLEARS_NS";
    }

    /// Bits of `misc` after `get_wakeup_time`.
    pub mod efi_get_wakeup_time: u32 {
        ENABLED = 1, "XEN_EFI_GET_WAKEUP_TIME_ENABLED";
        PENDING = 2, "XEN_EFI_GET_WAKEUP_TIME_PENDING";
    }

    /// Bits of `misc` for `set_wakeup_time`.
    pub mod efi_set_wakeup_time: u32 {
        ENABLE = 1, "XEN_EFI_SET_WAKEUP_TIME_ENABLE";
        ENABLE_ONLY = 2, "XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY";
    }

    /// Bits of `misc` for `query_variable_info`.
    pub mod efi_variable_info: u32 {
        BOOT_SNAPSHOT = 1, "XEN_EFI_VARINFO_BOOT_SNAPSHOT";
    }

    /// Values of `firmware_type` in the firmware structures.
    pub mod firmware: u32 {
        DISK_INFO = 1, "XEN_FW_DISK_INFO";
        DISK_MBR_SIGNATURE = 2, "XEN_FW_DISK_MBR_SIGNATURE";
        VBEDDC_INFO = 3, "XEN_FW_VBEDDC_INFO";
        EFI_INFO = 4, "XEN_FW_EFI_INFO";
        KBD_SHIFT_FLAGS = 5, "XEN_FW_KBD_SHIFT_FLAGS";
    }

    /// Values of `index` for [`firmware::EFI_INFO`].
    pub mod firmware_efi: u32 {
        VERSION = 0, "XEN_FW_EFI_VERSION";
        CONFIG_TABLE = 1, "XEN_FW_EFI_CONFIG_TABLE";
        VENDOR = 2, "XEN_FW_EFI_VENDOR";
        MEM_INFO = 3, "XEN_FW_EFI_MEM_INFO";
        RT_VERSION = 4, "XEN_FW_EFI_RT_VERSION";
        PCI_ROM = 5, "XEN_FW_EFI_PCI_ROM";
        APPLE_PROPERTIES = 6, "XEN_FW_EFI_APPLE_PROPERTIES";
    }

    /// Bits of [`EnterAcpiSleep::flags`].
    pub mod acpi_sleep: u32 {
        EXTENDED = 1, "XENPF_ACPI_SLEEP_EXTENDED";
    }

    /// Values of `kind` in [`SetProcessorPower`] and [`SetProcessorPerformance`].
    pub mod processor_power: u32 {
        CX = 0, "XEN_PM_CX";
        PX = 1, "XEN_PM_PX";
        TX = 2, "XEN_PM_TX";
        PDC = 3, "XEN_PM_PDC";
    }

    /// Bits of [`SetProcessorPerformance::flags`].
    pub mod processor_performance: u32 {
        PCT = 1, "XEN_PX_PCT";
        PSS = 2, "XEN_PX_PSS";
        PPC = 4, "XEN_PX_PPC";
        PSD = 8, "XEN_PX_PSD";
    }

    /// Values of [`SetProcessorPerformance::shared_type`].
    pub mod shared_type: u32 {
        HW = 1, "XEN_CPUPERF_SHARED_TYPE_HW";
        ALL = 2, "XEN_CPUPERF_SHARED_TYPE_ALL";
        ANY = 3, "XEN_CPUPERF_SHARED_TYPE_ANY";
    }

    /// Bits of [`PcpuInfo::flags`].
    pub mod pcpu: u32 {
        ONLINE = 1, "XEN_PCPU_FLAGS_ONLINE";
        INVALID = 2, "XEN_PCPU_FLAGS_INVALID";
    }

    /// Values of [`CoreParking::kind`].
    pub mod core_parking: u32 {
        SET = 1, "XEN_CORE_PARKING_SET";
        GET = 2, "XEN_CORE_PARKING_GET";
    }

    /// Values of [`ResourceEntry::command`].
    pub mod resource: u32 {
        MSR_READ = 0, "XEN_RESOURCE_OP_MSR_READ";
        MSR_WRITE = 1, "XEN_RESOURCE_OP_MSR_WRITE";
    }
}

structs! {
    header "xen/platform.h";

    /// A call; the argument's layout depends on the command.
    pub struct PlatformOp = "struct xen_platform_op" [136] {
        /// One of [`op`].
        [0] command: u32 = "cmd",
        [4] interface_version: u32,
        [8] argument: [u8; 128] = "u.pad",
    }
}

/// Sub-operations in headers of version 4.18 and later, in addition to those of [`op`].
pub mod later_op {
    /// `XENPF_get_dom0_console`.
    pub const GET_DOM0_CONSOLE: u32 = 64;
    /// `XENPF_get_ucode_revision`.
    pub const GET_UCODE_REVISION: u32 = 65;

    /// The C names and the numbers.
    pub const NAMES: &[(&str, u32)] =
        &[("XENPF_get_dom0_console", GET_DOM0_CONSOLE), ("XENPF_get_ucode_revision", GET_UCODE_REVISION)];
}

/// `get_ucode_revision` (`struct xenpf_ucode_revision`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UcodeRevision {
    /// Number of the CPU.
    pub cpu: u32,
    /// Out: EAX of CPUID leaf 1.
    pub signature: u32,
    /// Out: one bit for the platform (Intel).
    pub platforms: u32,
    /// Out.
    pub revision: u32,
}

const _: () = assert!(size_of::<UcodeRevision>() == 16);
