//! `domctl.h`: operations of `domctl`, by which the tools of the control domain create, inspect and
//! destroy domains.

mod arguments;

pub use arguments::*;

use crate::layout::{constants, structs};
use crate::xen::DomainId;

constants! {
    header "xen/domctl.h";

    /// Sub-operations: values of [`Domctl::command`].
    pub mod op: u32 {
        CREATEDOMAIN = 1, "XEN_DOMCTL_createdomain";
        DESTROYDOMAIN = 2, "XEN_DOMCTL_destroydomain";
        PAUSEDOMAIN = 3, "XEN_DOMCTL_pausedomain";
        UNPAUSEDOMAIN = 4, "XEN_DOMCTL_unpausedomain";
        GETDOMAININFO = 5, "XEN_DOMCTL_getdomaininfo";
        SETVCPUAFFINITY = 9, "XEN_DOMCTL_setvcpuaffinity";
        SHADOW_OP = 10, "XEN_DOMCTL_shadow_op";
        MAX_MEM = 11, "XEN_DOMCTL_max_mem";
        SETVCPUCONTEXT = 12, "XEN_DOMCTL_setvcpucontext";
        GETVCPUCONTEXT = 13, "XEN_DOMCTL_getvcpucontext";
        GETVCPUINFO = 14, "XEN_DOMCTL_getvcpuinfo";
        MAX_VCPUS = 15, "XEN_DOMCTL_max_vcpus";
        SCHEDULER_OP = 16, "XEN_DOMCTL_scheduler_op";
        SETDOMAINHANDLE = 17, "XEN_DOMCTL_setdomainhandle";
        SETDEBUGGING = 18, "XEN_DOMCTL_setdebugging";
        IRQ_PERMISSION = 19, "XEN_DOMCTL_irq_permission";
        IOMEM_PERMISSION = 20, "XEN_DOMCTL_iomem_permission";
        IOPORT_PERMISSION = 21, "XEN_DOMCTL_ioport_permission";
        HYPERCALL_INIT = 22, "XEN_DOMCTL_hypercall_init";
        SETTIMEOFFSET = 24, "XEN_DOMCTL_settimeoffset";
        GETVCPUAFFINITY = 25, "XEN_DOMCTL_getvcpuaffinity";
        REAL_MODE_AREA = 26, "XEN_DOMCTL_real_mode_area";
        RESUMEDOMAIN = 27, "XEN_DOMCTL_resumedomain";
        SENDTRIGGER = 28, "XEN_DOMCTL_sendtrigger";
        SUBSCRIBE = 29, "XEN_DOMCTL_subscribe";
        GETHVMCONTEXT = 33, "XEN_DOMCTL_gethvmcontext";
        SETHVMCONTEXT = 34, "XEN_DOMCTL_sethvmcontext";
        SET_ADDRESS_SIZE = 35, "XEN_DOMCTL_set_address_size";
        GET_ADDRESS_SIZE = 36, "XEN_DOMCTL_get_address_size";
        ASSIGN_DEVICE = 37, "XEN_DOMCTL_assign_device";
        BIND_PT_IRQ = 38, "XEN_DOMCTL_bind_pt_irq";
        MEMORY_MAPPING = 39, "XEN_DOMCTL_memory_mapping";
        IOPORT_MAPPING = 40, "XEN_DOMCTL_ioport_mapping";
        SET_EXT_VCPUCONTEXT = 42, "XEN_DOMCTL_set_ext_vcpucontext";
        GET_EXT_VCPUCONTEXT = 43, "XEN_DOMCTL_get_ext_vcpucontext";
        SET_OPT_FEATURE = 44, "XEN_DOMCTL_set_opt_feature";
        TEST_ASSIGN_DEVICE = 45, "XEN_DOMCTL_test_assign_device";
        SET_TARGET = 46, "XEN_DOMCTL_set_target";
        DEASSIGN_DEVICE = 47, "XEN_DOMCTL_deassign_device";
        UNBIND_PT_IRQ = 48, "XEN_DOMCTL_unbind_pt_irq";
        GET_DEVICE_GROUP = 50, "XEN_DOMCTL_get_device_group";
        DEBUG_OP = 54, "XEN_DOMCTL_debug_op";
        GETHVMCONTEXT_PARTIAL = 55, "XEN_DOMCTL_gethvmcontext_partial";
        VM_EVENT_OP = 56, "XEN_DOMCTL_vm_event_op";
        MEM_SHARING_OP = 57, "XEN_DOMCTL_mem_sharing_op";
        GETTSCINFO = 59, "XEN_DOMCTL_gettscinfo";
        SETTSCINFO = 60, "XEN_DOMCTL_settscinfo";
        GETPAGEFRAMEINFO3 = 61, "XEN_DOMCTL_getpageframeinfo3";
        SETVCPUEXTSTATE = 62, "XEN_DOMCTL_setvcpuextstate";
        GETVCPUEXTSTATE = 63, "XEN_DOMCTL_getvcpuextstate";
        SET_ACCESS_REQUIRED = 64, "XEN_DOMCTL_set_access_required";
        AUDIT_P2M = 65, "XEN_DOMCTL_audit_p2m";
        SET_VIRQ_HANDLER = 66, "XEN_DOMCTL_set_virq_handler";
        SET_BROKEN_PAGE_P2M = 67, "XEN_DOMCTL_set_broken_page_p2m";
        SETNODEAFFINITY = 68, "XEN_DOMCTL_setnodeaffinity";
        GETNODEAFFINITY = 69, "XEN_DOMCTL_getnodeaffinity";
        CACHEFLUSH = 71, "XEN_DOMCTL_cacheflush";
        GET_VCPU_MSRS = 72, "XEN_DOMCTL_get_vcpu_msrs";
        SET_VCPU_MSRS = 73, "XEN_DOMCTL_set_vcpu_msrs";
        SETVNUMAINFO = 74, "XEN_DOMCTL_setvnumainfo";
        PSR_CMT_OP = 75, "XEN_DOMCTL_psr_cmt_op";
        MONITOR_OP = 77, "XEN_DOMCTL_monitor_op";
        PSR_ALLOC = 78, "XEN_DOMCTL_psr_alloc";
        SOFT_RESET = 79, "XEN_DOMCTL_soft_reset";
        VUART_OP = 81, "XEN_DOMCTL_vuart_op";
        GET_CPU_POLICY = 82, "XEN_DOMCTL_get_cpu_policy";
        SET_CPU_POLICY = 83, "XEN_DOMCTL_set_cpu_policy";
        VMTRACE_OP = 84, "XEN_DOMCTL_vmtrace_op";
        GET_PAGING_MEMPOOL_SIZE = 85, "XEN_DOMCTL_get_paging_mempool_size";
        SET_PAGING_MEMPOOL_SIZE = 86, "XEN_DOMCTL_set_paging_mempool_size";
        GDBSX_GUESTMEMIO = 1000, "XEN_DOMCTL_gdbsx_guestmemio";
        GDBSX_PAUSEVCPU = 1001, "XEN_DOMCTL_gdbsx_pausevcpu";
        GDBSX_UNPAUSEVCPU = 1002, "XEN_DOMCTL_gdbsx_unpausevcpu";
        GDBSX_DOMSTATUS = 1003, "XEN_DOMCTL_gdbsx_domstatus";
    }

    /// Value of [`Domctl::interface_version`].
    pub mod interface: u32 {
        VERSION = 0x15, "XEN_DOMCTL_INTERFACE_VERSION";
    }

    /// Bits of [`CreateDomain::flags`].
    pub mod create_flags: u32 {
        HVM = 0x1, "XEN_DOMCTL_CDF_hvm";
        HAP = 0x2, "XEN_DOMCTL_CDF_hap";
        S3_INTEGRITY = 0x4, "XEN_DOMCTL_CDF_s3_integrity";
        OOS_OFF = 0x8, "XEN_DOMCTL_CDF_oos_off";
        XS_DOMAIN = 0x10, "XEN_DOMCTL_CDF_xs_domain";
        IOMMU = 0x20, "XEN_DOMCTL_CDF_iommu";
        NESTED_VIRT = 0x40, "XEN_DOMCTL_CDF_nested_virt";
        VPMU = 0x80, "XEN_DOMCTL_CDF_vpmu";
        MAX = 0x80, "XEN_DOMCTL_CDF_MAX";
    }

    /// Bits of [`CreateDomain::iommu_options`].
    pub mod iommu_options: u32 {
        NO_SHAREPT = 0x1, "XEN_DOMCTL_IOMMU_no_sharept";
        MAX = 0x1, "XEN_DOMCTL_IOMMU_MAX";
    }

    /// Bits of [`CreateDomain::grant_options`].
    pub mod grant_options: u32 {
        VERSION_MASK = 0xf, "XEN_DOMCTL_GRANT_version_mask";
    }

    /// Bits of [`GetDomainInfo::flags`]; the shutdown reason is in bits 16 to 23.
    pub mod info_flags: u32 {
        DYING = 0x1, "XEN_DOMINF_dying";
        HVM_GUEST = 0x2, "XEN_DOMINF_hvm_guest";
        SHUTDOWN = 0x4, "XEN_DOMINF_shutdown";
        PAUSED = 0x8, "XEN_DOMINF_paused";
        BLOCKED = 0x10, "XEN_DOMINF_blocked";
        RUNNING = 0x20, "XEN_DOMINF_running";
        DEBUGGED = 0x40, "XEN_DOMINF_debugged";
        XS_DOMAIN = 0x80, "XEN_DOMINF_xs_domain";
        HAP = 0x100, "XEN_DOMINF_hap";
        SHUTDOWNMASK = 0xff, "XEN_DOMINF_shutdownmask";
        SHUTDOWNSHIFT = 0x10, "XEN_DOMINF_shutdownshift";
    }

    /// Top bits of an entry of [`GetPageFrameInfo`].
    pub mod page_frame_info: u32 {
        LTAB_SHIFT = 0x1c, "XEN_DOMCTL_PFINFO_LTAB_SHIFT";
        NOTAB = 0x0, "XEN_DOMCTL_PFINFO_NOTAB";
        L1TAB = 0x1000_0000, "XEN_DOMCTL_PFINFO_L1TAB";
        L2TAB = 0x2000_0000, "XEN_DOMCTL_PFINFO_L2TAB";
        L3TAB = 0x3000_0000, "XEN_DOMCTL_PFINFO_L3TAB";
        L4TAB = 0x4000_0000, "XEN_DOMCTL_PFINFO_L4TAB";
        LTABTYPE_MASK = 0x7000_0000, "XEN_DOMCTL_PFINFO_LTABTYPE_MASK";
        LPINTAB = 0x8000_0000, "XEN_DOMCTL_PFINFO_LPINTAB";
        XTAB = 0xf000_0000, "XEN_DOMCTL_PFINFO_XTAB";
        XALLOC = 0xe000_0000, "XEN_DOMCTL_PFINFO_XALLOC";
        BROKEN = 0xd000_0000, "XEN_DOMCTL_PFINFO_BROKEN";
        LTAB_MASK = 0xf000_0000, "XEN_DOMCTL_PFINFO_LTAB_MASK";
    }

    /// Values of [`ShadowOp::operation`].
    pub mod shadow_op: u32 {
        OFF = 0, "XEN_DOMCTL_SHADOW_OP_OFF";
        ENABLE = 32, "XEN_DOMCTL_SHADOW_OP_ENABLE";
        CLEAN = 11, "XEN_DOMCTL_SHADOW_OP_CLEAN";
        PEEK = 12, "XEN_DOMCTL_SHADOW_OP_PEEK";
        GET_ALLOCATION = 30, "XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION";
        SET_ALLOCATION = 31, "XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION";
        ENABLE_TEST = 1, "XEN_DOMCTL_SHADOW_OP_ENABLE_TEST";
        ENABLE_LOGDIRTY = 2, "XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY";
    }

    /// Bits of [`ShadowOp::mode`].
    pub mod shadow_mode: u32 {
        REFCOUNT = 0x2, "XEN_DOMCTL_SHADOW_ENABLE_REFCOUNT";
        LOG_DIRTY = 0x4, "XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY";
        TRANSLATE = 0x8, "XEN_DOMCTL_SHADOW_ENABLE_TRANSLATE";
        EXTERNAL = 0x10, "XEN_DOMCTL_SHADOW_ENABLE_EXTERNAL";
        LOG_DIRTY_FINAL = 0x1, "XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL";
    }

    /// Bits of [`VcpuAffinity::flags`].
    pub mod vcpu_affinity: u32 {
        HARD = 0x1, "XEN_VCPUAFFINITY_HARD";
        SOFT = 0x2, "XEN_VCPUAFFINITY_SOFT";
        FORCE = 0x4, "XEN_VCPUAFFINITY_FORCE";
    }

    /// Scheduler numbers.
    pub mod scheduler: u32 {
        CREDIT = 5, "XEN_SCHEDULER_CREDIT";
        CREDIT2 = 6, "XEN_SCHEDULER_CREDIT2";
        ARINC653 = 7, "XEN_SCHEDULER_ARINC653";
        RTDS = 8, "XEN_SCHEDULER_RTDS";
        NULL = 9, "XEN_SCHEDULER_NULL";
    }

    /// Values of `command` in the scheduler operations.
    pub mod scheduler_command: u32 {
        PUTINFO = 0, "XEN_DOMCTL_SCHEDOP_putinfo";
        GETINFO = 1, "XEN_DOMCTL_SCHEDOP_getinfo";
        PUTVCPUINFO = 2, "XEN_DOMCTL_SCHEDOP_putvcpuinfo";
        GETVCPUINFO = 3, "XEN_DOMCTL_SCHEDOP_getvcpuinfo";
    }

    /// Values of [`SendTrigger::trigger`].
    pub mod trigger: u32 {
        NMI = 0, "XEN_DOMCTL_SENDTRIGGER_NMI";
        RESET = 1, "XEN_DOMCTL_SENDTRIGGER_RESET";
        INIT = 2, "XEN_DOMCTL_SENDTRIGGER_INIT";
        POWER = 3, "XEN_DOMCTL_SENDTRIGGER_POWER";
        SLEEP = 4, "XEN_DOMCTL_SENDTRIGGER_SLEEP";
    }

    /// Values of [`AssignDevice::device_kind`].
    pub mod device_kind: u32 {
        PCI = 0, "XEN_DOMCTL_DEV_PCI";
        DT = 1, "XEN_DOMCTL_DEV_DT";
    }

    /// Values of `add_mapping` in [`MemoryMapping`] and [`IoPortMapping`].
    pub mod mapping: u32 {
        ADD_MAPPING = 1, "DPCI_ADD_MAPPING";
        REMOVE_MAPPING = 0, "DPCI_REMOVE_MAPPING";
    }

    /// Values of [`DebugOp::operation`].
    pub mod debug_op: u32 {
        SINGLE_STEP_OFF = 0, "XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF";
        SINGLE_STEP_ON = 1, "XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON";
    }
}

structs! {
    header "xen/domctl.h";

    /// A call; the argument's layout depends on the command.
    pub struct Domctl = "struct xen_domctl" [144] {
        /// One of [`op`].
        [0] command: u32 = "cmd",
        [4] interface_version: u32,
        [8] domain: DomainId,
        [10] _pad: [u8; 6],
        [16] argument: [u8; 128] = "u.pad",
    }
}
