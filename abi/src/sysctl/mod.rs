//! `sysctl.h`: operations of `sysctl`, by which the tools of the control domain inspect and
//! configure the host.

mod arguments;

pub use arguments::*;

use crate::layout::{constants, structs};

constants! {
    header "xen/sysctl.h";

    /// Sub-operations: values of [`Sysctl::command`].
    pub mod op: u32 {
        READCONSOLE = 1, "XEN_SYSCTL_readconsole";
        TBUF_OP = 2, "XEN_SYSCTL_tbuf_op";
        PHYSINFO = 3, "XEN_SYSCTL_physinfo";
        SCHED_ID = 4, "XEN_SYSCTL_sched_id";
        PERFC_OP = 5, "XEN_SYSCTL_perfc_op";
        GETDOMAININFOLIST = 6, "XEN_SYSCTL_getdomaininfolist";
        DEBUG_KEYS = 7, "XEN_SYSCTL_debug_keys";
        GETCPUINFO = 8, "XEN_SYSCTL_getcpuinfo";
        AVAILHEAP = 9, "XEN_SYSCTL_availheap";
        GET_PMSTAT = 10, "XEN_SYSCTL_get_pmstat";
        CPU_HOTPLUG = 11, "XEN_SYSCTL_cpu_hotplug";
        PM_OP = 12, "XEN_SYSCTL_pm_op";
        PAGE_OFFLINE_OP = 14, "XEN_SYSCTL_page_offline_op";
        LOCKPROF_OP = 15, "XEN_SYSCTL_lockprof_op";
        CPUTOPOINFO = 16, "XEN_SYSCTL_cputopoinfo";
        NUMAINFO = 17, "XEN_SYSCTL_numainfo";
        CPUPOOL_OP = 18, "XEN_SYSCTL_cpupool_op";
        SCHEDULER_OP = 19, "XEN_SYSCTL_scheduler_op";
        COVERAGE_OP = 20, "XEN_SYSCTL_coverage_op";
        PSR_CMT_OP = 21, "XEN_SYSCTL_psr_cmt_op";
        PCITOPOINFO = 22, "XEN_SYSCTL_pcitopoinfo";
        PSR_ALLOC = 23, "XEN_SYSCTL_psr_alloc";
        GET_CPU_LEVELLING_CAPS = 25, "XEN_SYSCTL_get_cpu_levelling_caps";
        GET_CPU_FEATURESET = 26, "XEN_SYSCTL_get_cpu_featureset";
        LIVEPATCH_OP = 27, "XEN_SYSCTL_livepatch_op";
        GET_CPU_POLICY = 29, "XEN_SYSCTL_get_cpu_policy";
    }

    /// Value of [`Sysctl::interface_version`].
    pub mod interface: u32 {
        VERSION = 0x15, "XEN_SYSCTL_INTERFACE_VERSION";
    }

    /// Bits of [`PhysicalInfo::capabilities`].
    pub mod physical_capabilities: u32 {
        HVM = 0x1, "XEN_SYSCTL_PHYSCAP_hvm";
        PV = 0x2, "XEN_SYSCTL_PHYSCAP_pv";
        DIRECTIO = 0x4, "XEN_SYSCTL_PHYSCAP_directio";
        HAP = 0x8, "XEN_SYSCTL_PHYSCAP_hap";
        SHADOW = 0x10, "XEN_SYSCTL_PHYSCAP_shadow";
        IOMMU_HAP_PT_SHARE = 0x20, "XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share";
        VMTRACE = 0x40, "XEN_SYSCTL_PHYSCAP_vmtrace";
        VPMU = 0x80, "XEN_SYSCTL_PHYSCAP_vpmu";
        GNTTAB_V1 = 0x100, "XEN_SYSCTL_PHYSCAP_gnttab_v1";
        GNTTAB_V2 = 0x200, "XEN_SYSCTL_PHYSCAP_gnttab_v2";
        MAX = 0x200, "XEN_SYSCTL_PHYSCAP_MAX";
    }

    /// Values of [`PerformanceCounterOp::command`].
    pub mod performance_counter: u32 {
        RESET = 1, "XEN_SYSCTL_PERFCOP_reset";
        QUERY = 2, "XEN_SYSCTL_PERFCOP_query";
    }

    /// Values of [`CpuPoolOp::operation`].
    pub mod cpupool: u32 {
        CREATE = 1, "XEN_SYSCTL_CPUPOOL_OP_CREATE";
        DESTROY = 2, "XEN_SYSCTL_CPUPOOL_OP_DESTROY";
        INFO = 3, "XEN_SYSCTL_CPUPOOL_OP_INFO";
        ADDCPU = 4, "XEN_SYSCTL_CPUPOOL_OP_ADDCPU";
        RMCPU = 5, "XEN_SYSCTL_CPUPOOL_OP_RMCPU";
        MOVEDOMAIN = 6, "XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN";
        FREEINFO = 7, "XEN_SYSCTL_CPUPOOL_OP_FREEINFO";
    }

    /// Value of a CPU pool's number that selects any pool.
    pub mod cpupool_parameter: u32 {
        ANY = 0xffff_ffff, "XEN_SYSCTL_CPUPOOL_PAR_ANY";
    }

    /// Values of [`SchedulerCredit::command`].
    pub mod scheduler_command: u32 {
        PUTINFO = 0, "XEN_SYSCTL_SCHEDOP_putinfo";
        GETINFO = 1, "XEN_SYSCTL_SCHEDOP_getinfo";
    }

    /// Limits of [`SchedulerCredit`].
    pub mod credit_limit: u32 {
        RATELIMIT_MAX = 500000, "XEN_SYSCTL_SCHED_RATELIMIT_MAX";
        RATELIMIT_MIN = 100, "XEN_SYSCTL_SCHED_RATELIMIT_MIN";
        TSLICE_MAX = 1000, "XEN_SYSCTL_CSCHED_TSLICE_MAX";
        TSLICE_MIN = 1, "XEN_SYSCTL_CSCHED_TSLICE_MIN";
        MGR_DLY_MAX_US = 100000, "XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US";
    }

    /// Values of [`CpuHotplug::operation`].
    pub mod hotplug: u32 {
        ONLINE = 0, "XEN_SYSCTL_CPU_HOTPLUG_ONLINE";
        OFFLINE = 1, "XEN_SYSCTL_CPU_HOTPLUG_OFFLINE";
        SMT_ENABLE = 2, "XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE";
        SMT_DISABLE = 3, "XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE";
    }

    /// Values of [`GetPowerStatistics::kind`].
    pub mod power_statistics: u32 {
        GET_MAX_PX = 0x11, "PMSTAT_get_max_px";
        GET_PXSTAT = 0x12, "PMSTAT_get_pxstat";
        RESET_PXSTAT = 0x13, "PMSTAT_reset_pxstat";
        GET_MAX_CX = 0x21, "PMSTAT_get_max_cx";
        GET_CXSTAT = 0x22, "PMSTAT_get_cxstat";
        RESET_CXSTAT = 0x23, "PMSTAT_reset_cxstat";
    }

    /// Values of [`PowerManagementOp::command`].
    pub mod power_management: u32 {
        SET_SCHED_OPT_SMT = 0x21, "XEN_SYSCTL_pm_op_set_sched_opt_smt";
        GET_MAX_CSTATE = 0x22, "XEN_SYSCTL_pm_op_get_max_cstate";
        SET_MAX_CSTATE = 0x23, "XEN_SYSCTL_pm_op_set_max_cstate";
        SET_VCPU_MIGRATION_DELAY = 0x24, "XEN_SYSCTL_pm_op_set_vcpu_migration_delay";
        GET_VCPU_MIGRATION_DELAY = 0x25, "XEN_SYSCTL_pm_op_get_vcpu_migration_delay";
        ENABLE_TURBO = 0x26, "XEN_SYSCTL_pm_op_enable_turbo";
        DISABLE_TURBO = 0x27, "XEN_SYSCTL_pm_op_disable_turbo";
    }

    /// Bits of [`CpuLevellingCaps::capabilities`].
    pub mod levelling: u32 {
        FAULTING = 0x1, "XEN_SYSCTL_CPU_LEVELCAP_faulting";
        ECX = 0x2, "XEN_SYSCTL_CPU_LEVELCAP_ecx";
        EDX = 0x4, "XEN_SYSCTL_CPU_LEVELCAP_edx";
        EXTD_ECX = 0x8, "XEN_SYSCTL_CPU_LEVELCAP_extd_ecx";
        EXTD_EDX = 0x10, "XEN_SYSCTL_CPU_LEVELCAP_extd_edx";
        XSAVE_EAX = 0x20, "XEN_SYSCTL_CPU_LEVELCAP_xsave_eax";
        THERMAL_ECX = 0x40, "XEN_SYSCTL_CPU_LEVELCAP_thermal_ecx";
        L7S0_EAX = 0x80, "XEN_SYSCTL_CPU_LEVELCAP_l7s0_eax";
        L7S0_EBX = 0x100, "XEN_SYSCTL_CPU_LEVELCAP_l7s0_ebx";
    }

    /// Values of [`CpuFeatureSet::index`].
    pub mod feature_set: u32 {
        RAW = 0, "XEN_SYSCTL_cpu_featureset_raw";
        HOST = 1, "XEN_SYSCTL_cpu_featureset_host";
        PV = 2, "XEN_SYSCTL_cpu_featureset_pv";
        HVM = 3, "XEN_SYSCTL_cpu_featureset_hvm";
        PV_MAX = 4, "XEN_SYSCTL_cpu_featureset_pv_max";
        HVM_MAX = 5, "XEN_SYSCTL_cpu_featureset_hvm_max";
    }

    /// Values of [`CpuPolicy::index`].
    pub mod cpu_policy: u32 {
        RAW = 0, "XEN_SYSCTL_cpu_policy_raw";
        HOST = 1, "XEN_SYSCTL_cpu_policy_host";
        PV_MAX = 2, "XEN_SYSCTL_cpu_policy_pv_max";
        HVM_MAX = 3, "XEN_SYSCTL_cpu_policy_hvm_max";
        PV_DEFAULT = 4, "XEN_SYSCTL_cpu_policy_pv_default";
        HVM_DEFAULT = 5, "XEN_SYSCTL_cpu_policy_hvm_default";
    }

    /// Values in [`CpuTopology`] and the NUMA lists for an absent item.
    pub mod invalid: u32 {
        CORE_ID = 0xffff_ffff, "XEN_INVALID_CORE_ID";
        SOCKET_ID = 0xffff_ffff, "XEN_INVALID_SOCKET_ID";
        NODE_ID = 0xffff_ffff, "XEN_INVALID_NODE_ID";
        MEM_SZ = 0xffff_ffff, "XEN_INVALID_MEM_SZ";
        NODE_DIST = 0xffff_ffff, "XEN_INVALID_NODE_DIST";
        DEV = 0xffff_fffe, "XEN_INVALID_DEV";
    }
}

structs! {
    header "xen/sysctl.h";

    /// A call; the argument's layout depends on the command.
    pub struct Sysctl = "struct xen_sysctl" [136] {
        /// One of [`op`].
        [0] command: u32 = "cmd",
        [4] interface_version: u32,
        [8] argument: [u8; 128] = "u.pad",
    }
}
