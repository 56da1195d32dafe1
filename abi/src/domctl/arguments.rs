//! Arguments of the sub-operations that concern PV domains.

use crate::arch_x86_64::ArchDomainConfig;
use crate::layout::structs;
use crate::xen::{CpuBitmap, DOMAIN_HANDLE_LENGTH, DomainId};

structs! {
    header "xen/domctl.h";

    /// `createdomain`.
    pub struct CreateDomain = "struct xen_domctl_createdomain" [64] {
        [0] security_id: u32 = "ssidref",
        [4] handle: [u8; DOMAIN_HANDLE_LENGTH],
        /// Bits of [`super::create_flags`].
        [20] flags: u32,
        /// Bits of [`super::iommu_options`].
        [24] iommu_options: u32 = "iommu_opts",
        [28] max_vcpus: u32,
        [32] max_event_channel_port: u32 = "max_evtchn_port",
        /// Negative means the default.
        [36] max_grant_frames: i32,
        /// Negative means the default.
        [40] max_maptrack_frames: i32,
        /// Highest grant table version in the low four bits.
        [44] grant_options: u32 = "grant_opts",
        [48] vmtrace_size: u32,
        [52] cpupool: u32 = "cpupool_id",
        [56] arch: ArchDomainConfig,
    }

    /// `getdomaininfo`, and an entry of [`crate::sysctl::GetDomainInfoList`]; all fields out.
    pub struct GetDomainInfo = "struct xen_domctl_getdomaininfo" [112] {
        [0] domain: DomainId,
        [2] _pad0: u16,
        /// Bits of [`super::info_flags`].
        [4] flags: u32,
        [8] total_pages: u64 = "tot_pages",
        [16] max_pages: u64,
        [24] outstanding_pages: u64,
        [32] shared_pages: u64 = "shr_pages",
        [40] paged_pages: u64,
        [48] shared_info_frame: u64,
        /// CPU time of all vCPUs in nanoseconds.
        [56] cpu_time: u64,
        [64] online_vcpu_count: u32 = "nr_online_vcpus",
        [68] max_vcpu_id: u32,
        [72] security_id: u32 = "ssidref",
        [76] handle: [u8; DOMAIN_HANDLE_LENGTH],
        [92] cpupool: u32,
        [96] guest_physical_address_bits: u8 = "gpaddr_bits",
        [97] _pad1: [u8; 7],
        [104] arch: ArchDomainConfig = "arch_config",
    }

    /// `getpageframeinfo3`.
    pub struct GetPageFrameInfo = "struct xen_domctl_getpageframeinfo3" [16] {
        [0] count: u64 = "num",
        /// Guest address of a list of `u64`: frames in, [`super::page_frame_info`] out.
        [8] array: u64,
    }

    /// `shadow_op`.
    pub struct ShadowOp = "struct xen_domctl_shadow_op" [40] {
        /// One of [`super::shadow_op`].
        [0] operation: u32 = "op",
        /// Bits of [`super::shadow_mode`].
        [4] mode: u32,
        /// Shadow allocation in MiB.
        [8] megabytes: u32 = "mb",
        [12] _pad: u32,
        /// Guest address.
        [16] dirty_bitmap: u64,
        /// In: size of the bitmap in pages. Out: number of pages in it.
        [24] pages: u64,
        [32] fault_count: u32 = "stats.fault_count",
        [36] dirty_count: u32 = "stats.dirty_count",
    }

    /// `max_mem`.
    pub struct MaxMemory = "struct xen_domctl_max_mem" [8] {
        [0] kibibytes: u64 = "max_memkb",
    }

    /// `setvcpucontext`, `getvcpucontext`.
    pub struct VcpuContext = "struct xen_domctl_vcpucontext" [16] {
        [0] vcpu: u32,
        [4] _pad: u32,
        /// Guest address of a [`crate::arch_x86_64::VcpuGuestContext`].
        [8] context: u64 = "ctxt",
    }

    /// `getvcpuinfo`.
    pub struct GetVcpuInfo = "struct xen_domctl_getvcpuinfo" [24] {
        [0] vcpu: u32,
        /// Out.
        [4] online: u8,
        /// Out.
        [5] blocked: u8,
        /// Out.
        [6] running: u8,
        [7] _pad0: u8,
        /// Out: CPU time in nanoseconds.
        [8] cpu_time: u64,
        /// Out.
        [16] pcpu: u32 = "cpu",
        [20] _pad1: u32,
    }

    /// `setnodeaffinity`, `getnodeaffinity`.
    pub struct NodeAffinity = "struct xen_domctl_nodeaffinity" [16] {
        [0] nodes: CpuBitmap = "nodemap",
    }

    /// `setvcpuaffinity`, `getvcpuaffinity`.
    pub struct VcpuAffinity = "struct xen_domctl_vcpuaffinity" [40] {
        [0] vcpu: u32,
        /// Bits of [`super::vcpu_affinity`].
        [4] flags: u32,
        [8] hard: CpuBitmap = "cpumap_hard",
        [24] soft: CpuBitmap = "cpumap_soft",
    }

    /// `max_vcpus`.
    pub struct MaxVcpus = "struct xen_domctl_max_vcpus" [4] {
        [0] max: u32,
    }

    /// `scheduler_op` of the credit schedulers, `putinfo` and `getinfo`.
    pub struct SchedulerCredit = "struct xen_domctl_scheduler_op" [24] {
        /// One of [`super::scheduler`].
        [0] scheduler: u32 = "sched_id",
        /// One of [`super::scheduler_command`].
        [4] command: u32 = "cmd",
        [8] weight: u16 = "u.credit.weight",
        /// Hundredths of a pCPU; zero means none.
        [10] cap: u16 = "u.credit.cap",
        [12] _pad: [u8; 12],
    }

    /// `scheduler_op`, `putvcpuinfo` and `getvcpuinfo`.
    pub struct SchedulerVcpus = "struct xen_domctl_scheduler_op" [24] {
        /// One of [`super::scheduler`].
        [0] scheduler: u32 = "sched_id",
        /// One of [`super::scheduler_command`].
        [4] command: u32 = "cmd",
        /// Guest address of a list of [`SchedulerVcpuParameters`].
        [8] vcpus: u64 = "u.v.vcpus",
        [16] vcpu_count: u32 = "u.v.nr_vcpus",
        [20] _pad: u32,
    }

    /// An entry of the list of [`SchedulerVcpus`], credit schedulers.
    pub struct SchedulerVcpuParameters = "xen_domctl_schedparam_vcpu_t" [16] {
        [0] weight: u16 = "u.credit.weight",
        [2] cap: u16 = "u.credit.cap",
        [4] _pad: [u8; 8],
        [12] vcpu: u32 = "vcpuid",
    }

    /// `setdomainhandle`.
    pub struct SetDomainHandle = "struct xen_domctl_setdomainhandle" [16] {
        [0] handle: [u8; DOMAIN_HANDLE_LENGTH],
    }

    /// `setdebugging`.
    pub struct SetDebugging = "struct xen_domctl_setdebugging" [1] {
        [0] enable: u8,
    }

    /// `irq_permission`.
    pub struct IrqPermission = "struct xen_domctl_irq_permission" [8] {
        [0] pirq: u32,
        [4] allow_access: u8,
        [5] _pad: [u8; 3],
    }

    /// `iomem_permission`.
    pub struct IoMemoryPermission = "struct xen_domctl_iomem_permission" [24] {
        [0] first_mfn: u64,
        [8] frame_count: u64 = "nr_mfns",
        [16] allow_access: u8,
        [17] _pad: [u8; 7],
    }

    /// `ioport_permission`.
    pub struct IoPortPermission = "struct xen_domctl_ioport_permission" [12] {
        [0] first_port: u32,
        [4] port_count: u32 = "nr_ports",
        [8] allow_access: u8,
        [9] _pad: [u8; 3],
    }

    /// `hypercall_init`: fills a hypercall page.
    pub struct HypercallInit = "struct xen_domctl_hypercall_init" [8] {
        [0] gmfn: u64,
    }

    /// `settimeoffset`.
    pub struct SetTimeOffset = "struct xen_domctl_settimeoffset" [8] {
        [0] seconds: i64 = "time_offset_seconds",
    }

    /// `gethvmcontext`, `sethvmcontext`.
    pub struct HvmContext = "struct xen_domctl_hvmcontext" [16] {
        [0] size: u32,
        [4] _pad: u32,
        /// Guest address.
        [8] buffer: u64,
    }

    /// `set_address_size`, `get_address_size`.
    pub struct AddressSize = "struct xen_domctl_address_size" [4] {
        /// 32 or 64.
        [0] bits: u32 = "size",
    }

    /// `sendtrigger`.
    pub struct SendTrigger = "struct xen_domctl_sendtrigger" [8] {
        /// One of [`super::trigger`].
        [0] trigger: u32,
        [4] vcpu: u32,
    }

    /// `assign_device`, `test_assign_device`, `deassign_device`, of a PCI device.
    pub struct AssignDevice = "struct xen_domctl_assign_device" [24] {
        /// One of [`super::device_kind`].
        [0] device_kind: u32 = "dev",
        [4] flags: u32,
        /// Segment, bus, device and function.
        [8] machine_sbdf: u32 = "u.pci.machine_sbdf",
        [12] _pad: [u8; 12],
    }

    /// `get_device_group`.
    pub struct GetDeviceGroup = "struct xen_domctl_get_device_group" [24] {
        [0] machine_sbdf: u32,
        [4] max_device_count: u32 = "max_sdevs",
        /// Out.
        [8] device_count: u32 = "num_sdevs",
        [12] _pad: u32,
        /// Guest address of a list of `u32`.
        [16] devices: u64 = "sdev_array",
    }

    /// `memory_mapping`.
    pub struct MemoryMapping = "struct xen_domctl_memory_mapping" [32] {
        [0] first_gfn: u64,
        [8] first_mfn: u64,
        [16] frame_count: u64 = "nr_mfns",
        /// One of [`super::mapping`].
        [24] add_mapping: u32,
        [28] _pad: u32,
    }

    /// `ioport_mapping`.
    pub struct IoPortMapping = "struct xen_domctl_ioport_mapping" [16] {
        [0] first_guest_port: u32 = "first_gport",
        [4] first_machine_port: u32 = "first_mport",
        [8] port_count: u32 = "nr_ports",
        /// One of [`super::mapping`].
        [12] add_mapping: u32,
    }

    /// `set_ext_vcpucontext`, `get_ext_vcpucontext`.
    pub struct ExtendedVcpuContext = "struct xen_domctl_ext_vcpucontext" [64] {
        [0] vcpu: u32,
        /// Size of the whole structure as known to the caller. Fields beyond it are absent.
        [4] size: u32,
        [8] syscall32_callback_rip: u64 = "syscall32_callback_eip",
        [16] sysenter_callback_rip: u64 = "sysenter_callback_eip",
        [24] syscall32_callback_cs: u16,
        [26] sysenter_callback_cs: u16,
        [28] syscall32_disables_events: u8,
        [29] sysenter_disables_events: u8,
        [30] _pad: u16,
        [32] machine_check_capabilities: u64 = "vmce.caps",
        [40] machine_check_control_bank0: u64 = "vmce.mci_ctl2_bank0",
        [48] machine_check_control_bank1: u64 = "vmce.mci_ctl2_bank1",
        [56] machine_check_extended_control: u64 = "vmce.mcg_ext_ctl",
    }

    /// `set_target`.
    pub struct SetTarget = "struct xen_domctl_set_target" [2] {
        [0] target: DomainId,
    }

    /// `get_cpu_policy`, `set_cpu_policy`.
    pub struct CpuPolicy = "struct xen_domctl_cpu_policy" [40] {
        /// In: capacity. Out: number of leaves.
        [0] leaf_count: u32 = "nr_leaves",
        /// In: capacity. Out: number of MSRs.
        [4] msr_count: u32 = "nr_msrs",
        /// Guest address of a list of [`crate::arch_x86_64::CpuidLeaf`].
        [8] leaves: u64,
        /// Guest address of a list of [`crate::arch_x86_64::MsrEntry`].
        [16] msrs: u64,
        /// Out: the refused entry; all ones if there is none.
        [24] error_leaf: u32 = "err_leaf",
        /// Out.
        [28] error_subleaf: u32 = "err_subleaf",
        /// Out.
        [32] error_msr: u32 = "err_msr",
        [36] _pad: u32,
    }

    /// `subscribe`.
    pub struct Subscribe = "struct xen_domctl_subscribe" [4] {
        [0] port: u32,
    }

    /// `debug_op`.
    pub struct DebugOp = "struct xen_domctl_debug_op" [8] {
        /// One of [`super::debug_op`].
        [0] operation: u32 = "op",
        [4] vcpu: u32,
    }

    /// `gettscinfo`, `settscinfo`.
    pub struct TscInfo = "struct xen_domctl_tsc_info" [24] {
        [0] tsc_mode: u32,
        [4] guest_tsc_khz: u32 = "gtsc_khz",
        [8] incarnation: u32,
        [12] _pad: u32,
        [16] elapsed_nanoseconds: u64 = "elapsed_nsec",
    }

    /// `set_virq_handler`.
    pub struct SetVirqHandler = "struct xen_domctl_set_virq_handler" [4] {
        [0] virq: u32,
    }

    /// `setvcpuextstate`, `getvcpuextstate`.
    pub struct VcpuExtendedState = "struct xen_domctl_vcpuextstate" [32] {
        [0] vcpu: u32,
        [4] _pad: u32,
        [8] feature_mask: u64 = "xfeature_mask",
        /// In: capacity; zero queries the size. Out: size of the state.
        [16] size: u64,
        /// Guest address: XCR0, accumulated XCR0, XSAVE area.
        [24] buffer: u64,
    }

    /// `set_access_required`.
    pub struct SetAccessRequired = "struct xen_domctl_set_access_required" [1] {
        [0] access_required: u8,
    }

    /// `set_broken_page_p2m`.
    pub struct SetBrokenPage = "struct xen_domctl_set_broken_page_p2m" [8] {
        [0] pfn: u64,
    }

    /// `cacheflush`.
    pub struct CacheFlush = "struct xen_domctl_cacheflush" [16] {
        [0] start_pfn: u64,
        [8] frame_count: u64 = "nr_pfns",
    }

    /// `get_paging_mempool_size`, `set_paging_mempool_size`.
    pub struct PagingPool = "struct xen_domctl_paging_mempool" [8] {
        [0] size: u64,
    }

    /// An entry of the list of [`VcpuMsrs`].
    pub struct VcpuMsr = "struct xen_domctl_vcpu_msr" [16] {
        [0] index: u32,
        [4] reserved: u32,
        [8] value: u64,
    }

    /// `get_vcpu_msrs`, `set_vcpu_msrs`.
    pub struct VcpuMsrs = "struct xen_domctl_vcpu_msrs" [16] {
        [0] vcpu: u32,
        /// In: capacity. Out: number of entries.
        [4] msr_count: u32,
        /// Guest address of a list of [`VcpuMsr`].
        [8] msrs: u64,
    }

    /// `setvnumainfo`.
    pub struct SetVnumaInfo = "struct xen_domctl_vnuma" [48] {
        [0] node_count: u32 = "nr_vnodes",
        [4] memory_range_count: u32 = "nr_vmemranges",
        [8] vcpu_count: u32 = "nr_vcpus",
        [12] _reserved: u32 = "pad",
        /// Guest address of a list of `u32`.
        [16] distances: u64 = "vdistance",
        /// Guest address of a list of `u32`.
        [24] vcpu_to_node: u64 = "vcpu_to_vnode",
        /// Guest address of a list of `u32`.
        [32] node_to_physical: u64 = "vnode_to_pnode",
        /// Guest address of a list of [`crate::memory::VirtualMemoryRange`].
        [40] memory_ranges: u64 = "vmemrange",
    }
}
