//! Arguments of the sub-operations that the tools use on a host of PV domains.

use crate::layout::structs;
use crate::xen::{CpuBitmap, DomainId};

structs! {
    header "xen/sysctl.h";

    /// `readconsole`.
    pub struct ReadConsole = "struct xen_sysctl_readconsole" [24] {
        /// Whether to clear the ring afterwards.
        [0] clear: u8,
        /// Whether to read only from `index` on.
        [1] incremental: u8,
        [2] _pad0: u16,
        /// In and, if incremental, out.
        [4] index: u32,
        /// Guest address.
        [8] buffer: u64,
        /// In: capacity. Out: bytes written.
        [16] count: u32,
        [20] _pad1: u32,
    }

    /// `physinfo`; all fields out.
    pub struct PhysicalInfo = "struct xen_sysctl_physinfo" [112] {
        [0] threads_per_core: u32,
        [4] cores_per_socket: u32,
        [8] cpu_count: u32 = "nr_cpus",
        [12] max_cpu_id: u32,
        [16] node_count: u32 = "nr_nodes",
        [20] max_node_id: u32,
        [24] cpu_khz: u32,
        /// Bits of [`super::physical_capabilities`].
        [28] capabilities: u32,
        [32] arch_capabilities: u32,
        [36] _pad: u32,
        [40] total_pages: u64,
        [48] free_pages: u64,
        [56] scrub_pages: u64,
        [64] outstanding_pages: u64,
        [72] max_mfn: u64,
        /// CPUID feature words.
        [80] hardware_capabilities: [u32; 8] = "hw_cap",
    }

    /// `sched_id`.
    pub struct SchedulerId = "struct xen_sysctl_sched_id" [4] {
        /// Out: one of [`crate::domctl::scheduler`].
        [0] scheduler: u32 = "sched_id",
    }

    /// An entry of the list of [`PerformanceCounterOp`].
    pub struct PerformanceCounter = "struct xen_sysctl_perfc_desc" [84] {
        /// Zero-terminated.
        [0] name: [u8; 80],
        /// Number of values.
        [80] value_count: u32 = "nr_vals",
    }

    /// `perfc_op`.
    pub struct PerformanceCounterOp = "struct xen_sysctl_perfc_op" [32] {
        /// One of [`super::performance_counter`].
        [0] command: u32 = "cmd",
        /// Out.
        [4] counter_count: u32 = "nr_counters",
        /// Out: total number of values of all counters.
        [8] value_count: u32 = "nr_vals",
        [12] _pad: u32,
        /// Guest address of a list of [`PerformanceCounter`], or zero.
        [16] counters: u64 = "desc",
        /// Guest address of a list of 32-bit values, grouped by counter, or zero.
        [24] values: u64 = "val",
    }

    /// `getdomaininfolist`.
    pub struct GetDomainInfoList = "struct xen_sysctl_getdomaininfolist" [24] {
        [0] first_domain: DomainId,
        [2] _pad0: u16,
        [4] max_domains: u32,
        /// Guest address of a list of [`crate::domctl::GetDomainInfo`].
        [8] buffer: u64,
        /// Out.
        [16] domain_count: u32 = "num_domains",
        [20] _pad1: u32,
    }

    /// `debug_keys`.
    pub struct DebugKeys = "struct xen_sysctl_debug_keys" [16] {
        /// Guest address.
        [0] keys: u64,
        [8] key_count: u32 = "nr_keys",
        [12] _pad: u32,
    }

    /// An entry of the list of [`GetCpuInfo`].
    pub struct CpuInfo = "struct xen_sysctl_cpuinfo" [8] {
        /// In nanoseconds.
        [0] idle_time: u64 = "idletime",
    }

    /// `getcpuinfo`.
    pub struct GetCpuInfo = "struct xen_sysctl_getcpuinfo" [24] {
        [0] max_cpus: u32,
        [4] _pad0: u32,
        /// Guest address of a list of [`CpuInfo`].
        [8] info: u64,
        /// Out.
        [16] cpu_count: u32 = "nr_cpus",
        [20] _pad1: u32,
    }

    /// `availheap`.
    pub struct AvailableHeap = "struct xen_sysctl_availheap" [24] {
        /// Smallest address width; zero means any.
        [0] min_bit_width: u32 = "min_bitwidth",
        /// Largest address width; zero means any.
        [4] max_bit_width: u32 = "max_bitwidth",
        /// Negative means all.
        [8] node: i32,
        [12] _pad: u32,
        /// Out.
        [16] available_bytes: u64 = "avail_bytes",
    }

    /// `get_pmstat`. The rest depends on the kind; for the `GET_MAX` kinds it is a `u32` or `u8`.
    pub struct GetPowerStatistics = "struct xen_sysctl_get_pmstat" [64] {
        /// One of [`super::power_statistics`].
        [0] kind: u32 = "type",
        [4] cpu: u32 = "cpuid",
        [8] argument: [u64; 7] = "u",
    }

    /// `pm_op`. The rest depends on the command.
    pub struct PowerManagementOp = "struct xen_sysctl_pm_op" [128] {
        /// One of [`super::power_management`], or a frequency command.
        [0] command: u32 = "cmd",
        [4] cpu: u32 = "cpuid",
        [8] argument: [u64; 15] = "u",
    }

    /// `cpu_hotplug`.
    pub struct CpuHotplug = "struct xen_sysctl_cpu_hotplug" [8] {
        [0] cpu: u32,
        /// One of [`super::hotplug`].
        [4] operation: u32 = "op",
    }

    /// `page_offline_op`.
    pub struct PageOfflineOp = "struct xen_sysctl_page_offline_op" [24] {
        [0] command: u32 = "cmd",
        [4] start: u32,
        [8] end: u32,
        [12] _pad: u32,
        /// Guest address of a list of `u32`.
        [16] status: u64,
    }

    /// An entry of the list of [`CpuTopologyInfo`].
    pub struct CpuTopology = "struct xen_sysctl_cputopo" [12] {
        [0] core: u32,
        [4] socket: u32,
        [8] node: u32,
    }

    /// `cputopoinfo`.
    pub struct CpuTopologyInfo = "struct xen_sysctl_cputopoinfo" [16] {
        /// In: capacity. Out: number of CPUs.
        [0] cpu_count: u32 = "num_cpus",
        [4] _pad: u32,
        /// Guest address of a list of [`CpuTopology`], or zero.
        [8] topology: u64 = "cputopo",
    }

    /// An entry of the list of [`NumaInfo`].
    pub struct MemoryInfo = "struct xen_sysctl_meminfo" [16] {
        [0] size: u64 = "memsize",
        [8] free: u64 = "memfree",
    }

    /// `numainfo`.
    pub struct NumaInfo = "struct xen_sysctl_numainfo" [24] {
        /// In: capacity. Out: number of nodes.
        [0] node_count: u32 = "num_nodes",
        [4] _pad: u32,
        /// Guest address of a list of [`MemoryInfo`], or zero.
        [8] memory: u64 = "meminfo",
        /// Guest address of a square table of `u32`, or zero.
        [16] distances: u64 = "distance",
    }

    /// `pcitopoinfo`.
    pub struct PciTopologyInfo = "struct xen_sysctl_pcitopoinfo" [24] {
        /// In: number of devices. Out: number of results.
        [0] device_count: u32 = "num_devs",
        [4] _pad: u32,
        /// Guest address of a list of [`crate::physdev::PciDevice`].
        [8] devices: u64 = "devs",
        /// Guest address of a list of `u32`.
        [16] nodes: u64,
    }

    /// `cpupool_op`.
    pub struct CpuPoolOp = "struct xen_sysctl_cpupool_op" [40] {
        /// One of [`super::cpupool`].
        [0] operation: u32 = "op",
        [4] cpupool: u32 = "cpupool_id",
        [8] scheduler: u32 = "sched_id",
        [12] domain: u32 = "domid",
        [16] cpu: u32,
        /// Out.
        [20] domain_count: u32 = "n_dom",
        /// Out.
        [24] cpus: CpuBitmap = "cpumap",
    }

    /// `scheduler_op` of the credit scheduler.
    pub struct SchedulerCredit = "struct xen_sysctl_scheduler_op" [32] {
        [0] cpupool: u32 = "cpupool_id",
        /// One of [`crate::domctl::scheduler`].
        [4] scheduler: u32 = "sched_id",
        /// One of [`super::scheduler_command`].
        [8] command: u32 = "cmd",
        [12] _pad0: u32,
        [16] time_slice_ms: u32 = "u.sched_credit.tslice_ms",
        [20] rate_limit_us: u32 = "u.sched_credit.ratelimit_us",
        [24] vcpu_migration_delay_us: u32 = "u.sched_credit.vcpu_migr_delay_us",
        [28] _pad1: u32,
    }

    /// `scheduler_op` of the credit2 scheduler.
    pub struct SchedulerCredit2 = "struct xen_sysctl_scheduler_op" [32] {
        [0] cpupool: u32 = "cpupool_id",
        /// One of [`crate::domctl::scheduler`].
        [4] scheduler: u32 = "sched_id",
        /// One of [`super::scheduler_command`].
        [8] command: u32 = "cmd",
        [12] _pad0: u32,
        [16] rate_limit_us: u32 = "u.sched_credit2.ratelimit_us",
        [20] _pad1: [u8; 12],
    }

    /// `get_cpu_levelling_caps`.
    pub struct CpuLevellingCaps = "struct xen_sysctl_cpu_levelling_caps" [4] {
        /// Out: bits of [`super::levelling`].
        [0] capabilities: u32 = "caps",
    }

    /// `get_cpu_featureset`.
    pub struct CpuFeatureSet = "struct xen_sysctl_cpu_featureset" [16] {
        /// One of [`super::feature_set`].
        [0] index: u32,
        /// In: capacity. Out: number of words.
        [4] word_count: u32 = "nr_features",
        /// Guest address of a list of `u32`, or zero.
        [8] features: u64,
    }

    /// `get_cpu_policy`.
    pub struct CpuPolicy = "struct xen_sysctl_cpu_policy" [32] {
        /// One of [`super::cpu_policy`].
        [0] index: u32,
        /// In: capacity. Out: number of leaves.
        [4] leaf_count: u32 = "nr_leaves",
        /// In: capacity. Out: number of MSRs.
        [8] msr_count: u32 = "nr_msrs",
        [12] _reserved: u32 = "_rsvd",
        /// Guest address of a list of [`crate::arch_x86_64::CpuidLeaf`].
        [16] leaves: u64,
        /// Guest address of a list of [`crate::arch_x86_64::MsrEntry`].
        [24] msrs: u64,
    }
}
