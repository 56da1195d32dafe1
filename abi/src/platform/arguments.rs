//! Arguments of the sub-operations.

use crate::layout::structs;

structs! {
    header "xen/platform.h";

    /// `settime32`.
    pub struct SetTime32 = "struct xenpf_settime32" [16] {
        [0] seconds: u32 = "secs",
        [4] nanoseconds: u32 = "nsecs",
        /// System time at which the wall clock had this value.
        [8] system_time: u64,
    }

    /// `settime64`.
    pub struct SetTime64 = "struct xenpf_settime64" [24] {
        [0] seconds: u64 = "secs",
        [8] nanoseconds: u32 = "nsecs",
        [12] must_be_zero: u32 = "mbz",
        /// System time at which the wall clock had this value.
        [16] system_time: u64,
    }

    /// `add_memtype`.
    pub struct AddMemoryType = "struct xenpf_add_memtype" [32] {
        [0] mfn: u64,
        [8] frame_count: u64 = "nr_mfns",
        /// An MTRR type.
        [16] kind: u32 = "type",
        /// Out.
        [20] handle: u32,
        /// Out.
        [24] register: u32 = "reg",
        [28] _pad: u32,
    }

    /// `del_memtype`.
    pub struct DeleteMemoryType = "struct xenpf_del_memtype" [8] {
        [0] handle: u32,
        [4] register: u32 = "reg",
    }

    /// `read_memtype`.
    pub struct ReadMemoryType = "struct xenpf_read_memtype" [32] {
        [0] register: u32 = "reg",
        [4] _pad0: u32,
        /// Out.
        [8] mfn: u64,
        /// Out.
        [16] frame_count: u64 = "nr_mfns",
        /// Out.
        [24] kind: u32 = "type",
        [28] _pad1: u32,
    }

    /// `microcode_update`.
    pub struct MicrocodeUpdate = "struct xenpf_microcode_update" [16] {
        /// Guest address.
        [0] data: u64,
        [8] length: u32,
        [12] _pad: u32,
    }

    /// `platform_quirk`.
    pub struct PlatformQuirk = "struct xenpf_platform_quirk" [4] {
        [0] quirk: u32 = "quirk_id",
    }

    /// The common part of `efi_runtime_call`; the rest depends on the function.
    pub struct EfiRuntimeCall = "struct xenpf_efi_runtime_call" [56] {
        /// One of [`super::efi_function`].
        [0] function: u32,
        [4] misc: u32,
        /// Out: EFI status.
        [8] status: u64,
        [16] argument: [u64; 5] = "u",
    }

    /// `efi_runtime_call` of the clock and the wake-up time.
    pub struct EfiTimeCall = "struct xenpf_efi_runtime_call" [56] {
        [0] function: u32,
        [4] misc: u32,
        /// Out: EFI status.
        [8] status: u64,
        /// EFI's own structure.
        [16] time: [u8; 16] = "u.get_time.time",
        /// Out, of `get_time`.
        [32] resolution: u32 = "u.get_time.resolution",
        /// Out, of `get_time`.
        [36] accuracy: u32 = "u.get_time.accuracy",
        [40] _pad: [u8; 16],
    }

    /// `efi_runtime_call` of a variable.
    pub struct EfiVariable = "struct xenpf_efi_runtime_call" [56] {
        [0] function: u32,
        /// Attributes.
        [4] misc: u32,
        /// Out: EFI status.
        [8] status: u64,
        /// Guest address of the name, in 16-bit characters, zero-terminated.
        [16] name: u64 = "u.get_variable.name",
        /// In: size of the buffer, or of the contents. Out: size of the contents.
        [24] size: u64 = "u.get_variable.size",
        /// Guest address of the contents.
        [32] data: u64 = "u.get_variable.data",
        [40] vendor: [u8; 16] = "u.get_variable.vendor_guid",
    }

    /// `efi_runtime_call` of the name of the next variable.
    pub struct EfiGetNextVariableName = "struct xenpf_efi_runtime_call" [56] {
        [0] function: u32,
        [4] misc: u32,
        /// Out: EFI status.
        [8] status: u64,
        /// In: size of the buffer in bytes. Out: size of the name.
        [16] size: u64 = "u.get_next_variable_name.size",
        /// Guest address of the name: in, the previous one; out, the next one.
        [24] name: u64 = "u.get_next_variable_name.name",
        [32] vendor: [u8; 16] = "u.get_next_variable_name.vendor_guid",
        [48] _pad: u64,
    }

    /// `efi_runtime_call` of the space for variables.
    pub struct EfiVariableInfo = "struct xenpf_efi_runtime_call" [56] {
        [0] function: u32,
        /// Bits of [`super::efi_variable_info`].
        [4] misc: u32,
        /// Out: EFI status.
        [8] status: u64,
        [16] attributes: u32 = "u.query_variable_info.attr",
        [20] _pad: u32,
        /// Out.
        [24] max_store_size: u64 = "u.query_variable_info.max_store_size",
        /// Out.
        [32] remain_store_size: u64 = "u.query_variable_info.remain_store_size",
        /// Out.
        [40] max_size: u64 = "u.query_variable_info.max_size",
        [48] _pad2: u64,
    }

    /// `firmware_info` of a disk.
    pub struct FirmwareDiskInfo = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// Out.
        [8] device: u8 = "u.disk_info.device",
        /// Out.
        [9] version: u8 = "u.disk_info.version",
        /// Out.
        [10] interface_support: u16 = "u.disk_info.interface_support",
        /// Out.
        [12] legacy_max_cylinder: u16 = "u.disk_info.legacy_max_cylinder",
        /// Out.
        [14] legacy_max_head: u8 = "u.disk_info.legacy_max_head",
        /// Out.
        [15] legacy_sectors_per_track: u8 = "u.disk_info.legacy_sectors_per_track",
        /// Guest address that receives the EDD parameters.
        [16] edd_parameters: u64 = "u.disk_info.edd_params",
        [24] _pad: [u8; 16],
    }

    /// `firmware_info` of a disk's signature.
    pub struct FirmwareDiskSignature = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// Out.
        [8] device: u8 = "u.disk_mbr_signature.device",
        [9] _pad0: [u8; 3],
        /// Out.
        [12] mbr_signature: u32 = "u.disk_mbr_signature.mbr_signature",
        [16] _pad1: [u8; 24],
    }

    /// `firmware_info` of the display.
    pub struct FirmwareVbeDdc = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// Out.
        [8] capabilities: u8 = "u.vbeddc_info.capabilities",
        /// Out.
        [9] edid_transfer_time: u8 = "u.vbeddc_info.edid_transfer_time",
        [10] _pad0: [u8; 6],
        /// Guest address that receives the 128 bytes of EDID.
        [16] edid: u64 = "u.vbeddc_info.edid",
        [24] _pad1: [u8; 16],
    }

    /// `firmware_info` of EFI's version and runtime version.
    pub struct FirmwareEfiVersion = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// Out.
        [8] version: u32 = "u.efi_info.version",
        [12] _pad: [u8; 28],
    }

    /// `firmware_info` of EFI's configuration table.
    pub struct FirmwareEfiConfiguration = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// Out.
        [8] address: u64 = "u.efi_info.cfg.addr",
        /// Out.
        [16] entry_count: u32 = "u.efi_info.cfg.nent",
        [20] _pad: [u8; 20],
    }

    /// `firmware_info` of EFI's vendor.
    pub struct FirmwareEfiVendor = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// Out.
        [8] revision: u32 = "u.efi_info.vendor.revision",
        /// Capacity in bytes.
        [12] buffer_size: u32 = "u.efi_info.vendor.bufsz",
        /// Guest address that receives the name.
        [16] name: u64 = "u.efi_info.vendor.name",
        [24] _pad: [u8; 16],
    }

    /// `firmware_info` of an EFI memory range.
    pub struct FirmwareEfiMemory = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// In: any address of the range. Out: its first address.
        [8] address: u64 = "u.efi_info.mem.addr",
        /// Out.
        [16] size: u64 = "u.efi_info.mem.size",
        /// Out.
        [24] attributes: u64 = "u.efi_info.mem.attr",
        /// Out.
        [32] kind: u32 = "u.efi_info.mem.type",
        [36] _pad: u32,
    }

    /// `firmware_info` of the keyboard.
    pub struct FirmwareKeyboard = "struct xenpf_firmware_info" [40] {
        [0] firmware_type: u32 = "type",
        [4] index: u32,
        /// Out.
        [8] shift_flags: u8 = "u.kbd_shift_flags",
        [9] _pad: [u8; 31],
    }

    /// `enter_acpi_sleep`.
    pub struct EnterAcpiSleep = "struct xenpf_enter_acpi_sleep" [12] {
        /// PM1a control value, or the sleep control value.
        [0] value_a: u16 = "val_a",
        /// PM1b control value, or the sleep type.
        [2] value_b: u16 = "val_b",
        /// 3 or 5.
        [4] sleep_state: u32,
        /// Bits of [`super::acpi_sleep`].
        [8] flags: u32,
    }

    /// `change_freq`.
    pub struct ChangeFrequency = "struct xenpf_change_freq" [16] {
        [0] flags: u32,
        [4] cpu: u32,
        [8] frequency: u64 = "freq",
    }

    /// `getidletime`.
    pub struct GetIdleTime = "struct xenpf_getidletime" [32] {
        /// Guest address.
        [0] cpu_bitmap: u64 = "cpumap_bitmap",
        [8] cpu_count: u32 = "cpumap_nr_cpus",
        [12] _pad: u32,
        /// Guest address that receives nanoseconds (`u64`) for each CPU.
        [16] idle_time: u64 = "idletime",
        /// Out: system time.
        [24] now: u64,
    }

    /// A register in ACPI's format.
    pub struct PowerRegister = "struct xen_power_register" [24] {
        [0] space_id: u32,
        [4] bit_width: u32,
        [8] bit_offset: u32,
        [12] access_size: u32,
        [16] address: u64,
    }

    /// A C-state dependency.
    pub struct ProcessorDependency = "struct xen_processor_csd" [12] {
        [0] domain: u32,
        [4] coordination_type: u32 = "coord_type",
        [8] number: u32 = "num",
    }

    /// A C-state.
    pub struct ProcessorCx = "struct xen_processor_cx" [48] {
        [0] register: PowerRegister = "reg",
        [24] kind: u8 = "type",
        [25] _pad: [u8; 3],
        [28] latency: u32,
        [32] power: u32,
        [36] dependency_count: u32 = "dpcnt",
        /// Guest address of a list of [`ProcessorDependency`].
        [40] dependencies: u64 = "dp",
    }

    /// A performance control register.
    pub struct PctRegister = "struct xen_pct_register" [16] {
        [0] descriptor: u8,
        [1] _pad: u8,
        [2] length: u16,
        [4] space_id: u8,
        [5] bit_width: u8,
        [6] bit_offset: u8,
        [7] reserved: u8,
        [8] address: u64,
    }

    /// A P-state.
    pub struct ProcessorPx = "struct xen_processor_px" [48] {
        [0] core_frequency: u64,
        [8] power: u64,
        [16] transition_latency: u64,
        [24] bus_master_latency: u64,
        [32] control: u64,
        [40] status: u64,
    }

    /// A performance domain.
    pub struct PsdPackage = "struct xen_psd_package" [40] {
        [0] entry_count: u64 = "num_entries",
        [8] revision: u64,
        [16] domain: u64,
        [24] coordination_type: u64 = "coord_type",
        [32] processor_count: u64 = "num_processors",
    }

    /// `set_processor_pminfo` of C-states.
    pub struct SetProcessorPower = "struct xenpf_set_processor_pminfo" [112] {
        /// ACPI id.
        [0] processor: u32 = "id",
        /// One of [`super::processor_power`].
        [4] kind: u32 = "type",
        [8] state_count: u32 = "u.power.count",
        /// Five bits, from bit 0: bus-master control, bus-master check, has `_CST`, set up,
        /// bus-master reload.
        [12] flags: u32 = "u.power.flags",
        /// Guest address of a list of [`ProcessorCx`].
        [16] states: u64 = "u.power.states",
        [24] _pad: [u8; 88],
    }

    /// `set_processor_pminfo` of P-states.
    pub struct SetProcessorPerformance = "struct xenpf_set_processor_pminfo" [112] {
        /// ACPI id.
        [0] processor: u32 = "id",
        /// One of [`super::processor_power`].
        [4] kind: u32 = "type",
        /// Bit mask of the fields that are given.
        [8] flags: u32 = "u.perf.flags",
        [12] platform_limit: u32 = "u.perf.platform_limit",
        [16] control_register: PctRegister = "u.perf.control_register",
        [32] status_register: PctRegister = "u.perf.status_register",
        [48] state_count: u32 = "u.perf.state_count",
        [52] _pad0: u32,
        /// Guest address of a list of [`ProcessorPx`].
        [56] states: u64 = "u.perf.states",
        [64] domain_info: PsdPackage = "u.perf.domain_info",
        /// One of [`super::shared_type`].
        [104] shared_type: u32 = "u.perf.shared_type",
        [108] _pad1: u32,
    }

    /// `set_processor_pminfo` of the `_PDC` bits.
    pub struct SetProcessorPdc = "struct xenpf_set_processor_pminfo" [112] {
        /// ACPI id.
        [0] processor: u32 = "id",
        /// One of [`super::processor_power`].
        [4] kind: u32 = "type",
        /// Guest address of a list of `u32`.
        [8] pdc: u64 = "u.pdc",
        [16] _pad: [u8; 96],
    }

    /// `get_cpuinfo`.
    pub struct PcpuInfo = "struct xenpf_pcpuinfo" [20] {
        [0] cpu: u32 = "xen_cpuid",
        /// Out: highest number of a present CPU.
        [4] max_present: u32,
        /// Out: bits of [`super::pcpu`].
        [8] flags: u32,
        /// Out.
        [12] apic_id: u32,
        /// Out.
        [16] acpi_id: u32,
    }

    /// `get_cpu_version`.
    pub struct PcpuVersion = "struct xenpf_pcpu_version" [32] {
        [0] cpu: u32 = "xen_cpuid",
        /// Out: highest number of a present CPU.
        [4] max_present: u32,
        /// Out.
        [8] vendor: [u8; 12] = "vendor_id",
        /// Out.
        [20] family: u32,
        /// Out.
        [24] model: u32,
        /// Out.
        [28] stepping: u32,
    }

    /// `cpu_online`, `cpu_offline`.
    pub struct CpuOnline = "struct xenpf_cpu_ol" [4] {
        [0] cpu: u32 = "cpuid",
    }

    /// `cpu_hotadd`.
    pub struct CpuHotAdd = "struct xenpf_cpu_hotadd" [12] {
        [0] apic_id: u32,
        [4] acpi_id: u32,
        [8] proximity_domain: u32 = "pxm",
    }

    /// `mem_hotadd`.
    pub struct MemoryHotAdd = "struct xenpf_mem_hotadd" [24] {
        [0] start_pfn: u64 = "spfn",
        [8] end_pfn: u64 = "epfn",
        [16] proximity_domain: u32 = "pxm",
        [20] flags: u32,
    }

    /// `core_parking`.
    pub struct CoreParking = "struct xenpf_core_parking" [8] {
        /// One of [`super::core_parking`].
        [0] kind: u32 = "type",
        [4] idle_count: u32 = "idle_nums",
    }

    /// `resource_op`: one access.
    pub struct ResourceEntry = "struct xenpf_resource_entry" [24] {
        /// In: one of [`super::resource`]. Out: zero or a negated error number.
        [0] command: u32 = "u.cmd",
        [4] reserved: u32 = "rsvd",
        /// MSR number.
        [8] index: u64 = "idx",
        [16] value: u64 = "val",
    }

    /// `resource_op`.
    pub struct ResourceOp = "struct xenpf_resource_op" [16] {
        [0] entry_count: u32 = "nr_entries",
        [4] cpu: u32,
        /// Guest address of a list of [`ResourceEntry`].
        [8] entries: u64,
    }

    /// `get_symbol`.
    pub struct SymbolData = "struct xenpf_symdata" [32] {
        /// In: capacity. Out: length of the name.
        [0] name_length: u32 = "namelen",
        /// In: number of the symbol. Out: number of the next one.
        [4] symbol_number: u32 = "symnum",
        /// Guest address that receives the name.
        [8] name: u64,
        /// Out.
        [16] address: u64,
        /// Out: the type letter as printed by `nm`.
        [24] kind: u8 = "type",
        [25] _pad: [u8; 7],
    }
}
