//! `xen.h`: hypercall numbers, domain ids, VIRQs, MMU commands, shared info, start info.

use crate::arch_x86_64::{ArchSharedInfo, ArchVcpuInfo};
use crate::layout::{constants, structs};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A domain id, or one of the reserved values below. C: `domid_t`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DomainId(pub u16);

impl DomainId {
    /// First id that no domain can have.
    pub const FIRST_RESERVED: Self = Self(domid::FIRST_RESERVED);
    /// The caller.
    pub const SELF: Self = Self(domid::SELF);
    /// Owner of memory-mapped I/O frames, in calls with a foreign owner.
    pub const IO: Self = Self(domid::IO);
    /// Owner of the hypervisor's frames that guests may map.
    pub const XEN: Self = Self(domid::XEN);
    /// Owner of shared copy-on-write frames.
    pub const COW: Self = Self(domid::COW);
    /// No domain.
    pub const INVALID: Self = Self(domid::INVALID);
    /// The idle domain; never used in a call.
    pub const IDLE: Self = Self(domid::IDLE);
}

/// Length of a domain's handle (a UUID). C: `xen_domain_handle_t`.
pub const DOMAIN_HANDLE_LENGTH: usize = 16;
/// vCPUs whose `VcpuInfo` is in the shared info page. C: `XEN_LEGACY_MAX_VCPUS`.
pub const LEGACY_MAX_VCPUS: usize = 32;
/// Size of the command line in the start info page. C: `MAX_GUEST_CMDLINE`.
pub const MAX_GUEST_COMMAND_LINE: usize = 1024;
/// Start of `StartInfo::magic`; version and architecture follow, such as `xen-3.0-x86_64`.
pub const START_INFO_MAGIC_PREFIX: &[u8; 4] = b"xen-";

constants! {
    header "xen/xen.h";

    /// Hypercall numbers, in RAX.
    pub mod hypercall: u32 {
        SET_TRAP_TABLE = 0, "__HYPERVISOR_set_trap_table";
        MMU_UPDATE = 1, "__HYPERVISOR_mmu_update";
        SET_GDT = 2, "__HYPERVISOR_set_gdt";
        STACK_SWITCH = 3, "__HYPERVISOR_stack_switch";
        SET_CALLBACKS = 4, "__HYPERVISOR_set_callbacks";
        FPU_TASKSWITCH = 5, "__HYPERVISOR_fpu_taskswitch";
        SCHED_OP_COMPAT = 6, "__HYPERVISOR_sched_op_compat";
        PLATFORM_OP = 7, "__HYPERVISOR_platform_op";
        SET_DEBUGREG = 8, "__HYPERVISOR_set_debugreg";
        GET_DEBUGREG = 9, "__HYPERVISOR_get_debugreg";
        UPDATE_DESCRIPTOR = 10, "__HYPERVISOR_update_descriptor";
        MEMORY_OP = 12, "__HYPERVISOR_memory_op";
        MULTICALL = 13, "__HYPERVISOR_multicall";
        UPDATE_VA_MAPPING = 14, "__HYPERVISOR_update_va_mapping";
        SET_TIMER_OP = 15, "__HYPERVISOR_set_timer_op";
        EVENT_CHANNEL_OP_COMPAT = 16, "__HYPERVISOR_event_channel_op_compat";
        XEN_VERSION = 17, "__HYPERVISOR_xen_version";
        CONSOLE_IO = 18, "__HYPERVISOR_console_io";
        PHYSDEV_OP_COMPAT = 19, "__HYPERVISOR_physdev_op_compat";
        GRANT_TABLE_OP = 20, "__HYPERVISOR_grant_table_op";
        VM_ASSIST = 21, "__HYPERVISOR_vm_assist";
        UPDATE_VA_MAPPING_OTHERDOMAIN = 22, "__HYPERVISOR_update_va_mapping_otherdomain";
        IRET = 23, "__HYPERVISOR_iret";
        VCPU_OP = 24, "__HYPERVISOR_vcpu_op";
        SET_SEGMENT_BASE = 25, "__HYPERVISOR_set_segment_base";
        MMUEXT_OP = 26, "__HYPERVISOR_mmuext_op";
        XSM_OP = 27, "__HYPERVISOR_xsm_op";
        NMI_OP = 28, "__HYPERVISOR_nmi_op";
        SCHED_OP = 29, "__HYPERVISOR_sched_op";
        CALLBACK_OP = 30, "__HYPERVISOR_callback_op";
        XENOPROF_OP = 31, "__HYPERVISOR_xenoprof_op";
        EVENT_CHANNEL_OP = 32, "__HYPERVISOR_event_channel_op";
        PHYSDEV_OP = 33, "__HYPERVISOR_physdev_op";
        HVM_OP = 34, "__HYPERVISOR_hvm_op";
        SYSCTL = 35, "__HYPERVISOR_sysctl";
        DOMCTL = 36, "__HYPERVISOR_domctl";
        KEXEC_OP = 37, "__HYPERVISOR_kexec_op";
        TMEM_OP = 38, "__HYPERVISOR_tmem_op";
        ARGO_OP = 39, "__HYPERVISOR_argo_op";
        XENPMU_OP = 40, "__HYPERVISOR_xenpmu_op";
        DM_OP = 41, "__HYPERVISOR_dm_op";
        HYPFS_OP = 42, "__HYPERVISOR_hypfs_op";
        ARCH_0 = 48, "__HYPERVISOR_arch_0";
        ARCH_1 = 49, "__HYPERVISOR_arch_1";
        ARCH_2 = 50, "__HYPERVISOR_arch_2";
        ARCH_3 = 51, "__HYPERVISOR_arch_3";
        ARCH_4 = 52, "__HYPERVISOR_arch_4";
        ARCH_5 = 53, "__HYPERVISOR_arch_5";
        ARCH_6 = 54, "__HYPERVISOR_arch_6";
        ARCH_7 = 55, "__HYPERVISOR_arch_7";
    }

    /// Reserved domain ids; [`DomainId`] has them as typed constants.
    pub mod domid: u16 {
        FIRST_RESERVED = 0x7ff0, "DOMID_FIRST_RESERVED";
        SELF = 0x7ff0, "DOMID_SELF";
        IO = 0x7ff1, "DOMID_IO";
        XEN = 0x7ff2, "DOMID_XEN";
        COW = 0x7ff3, "DOMID_COW";
        INVALID = 0x7ff4, "DOMID_INVALID";
        IDLE = 0x7fff, "DOMID_IDLE";
        MASK = 0x7fff, "DOMID_MASK";
    }

    /// Virtual interrupts, and their number.
    pub mod virq: u32 {
        TIMER = 0, "VIRQ_TIMER";
        DEBUG = 1, "VIRQ_DEBUG";
        CONSOLE = 2, "VIRQ_CONSOLE";
        DOM_EXC = 3, "VIRQ_DOM_EXC";
        TBUF = 4, "VIRQ_TBUF";
        DEBUGGER = 6, "VIRQ_DEBUGGER";
        XENOPROF = 7, "VIRQ_XENOPROF";
        CON_RING = 8, "VIRQ_CON_RING";
        PCPU_STATE = 9, "VIRQ_PCPU_STATE";
        MEM_EVENT = 10, "VIRQ_MEM_EVENT";
        ARGO = 11, "VIRQ_ARGO";
        ENOMEM = 12, "VIRQ_ENOMEM";
        XENPMU = 13, "VIRQ_XENPMU";
        ARCH_0 = 16, "VIRQ_ARCH_0";
        ARCH_1 = 17, "VIRQ_ARCH_1";
        ARCH_2 = 18, "VIRQ_ARCH_2";
        ARCH_3 = 19, "VIRQ_ARCH_3";
        ARCH_4 = 20, "VIRQ_ARCH_4";
        ARCH_5 = 21, "VIRQ_ARCH_5";
        ARCH_6 = 22, "VIRQ_ARCH_6";
        ARCH_7 = 23, "VIRQ_ARCH_7";
        COUNT = 24, "NR_VIRQS";
    }

    /// Commands of `mmu_update`, in the low two bits of the pointer.
    pub mod mmu_command: u64 {
        NORMAL_PT_UPDATE = 0, "MMU_NORMAL_PT_UPDATE";
        MACHPHYS_UPDATE = 1, "MMU_MACHPHYS_UPDATE";
        PT_UPDATE_PRESERVE_AD = 2, "MMU_PT_UPDATE_PRESERVE_AD";
        PT_UPDATE_NO_TRANSLATE = 3, "MMU_PT_UPDATE_NO_TRANSLATE";
    }

    /// Commands of `mmuext_op`.
    pub mod mmuext: u32 {
        PIN_L1_TABLE = 0, "MMUEXT_PIN_L1_TABLE";
        PIN_L2_TABLE = 1, "MMUEXT_PIN_L2_TABLE";
        PIN_L3_TABLE = 2, "MMUEXT_PIN_L3_TABLE";
        PIN_L4_TABLE = 3, "MMUEXT_PIN_L4_TABLE";
        UNPIN_TABLE = 4, "MMUEXT_UNPIN_TABLE";
        NEW_BASEPTR = 5, "MMUEXT_NEW_BASEPTR";
        TLB_FLUSH_LOCAL = 6, "MMUEXT_TLB_FLUSH_LOCAL";
        INVLPG_LOCAL = 7, "MMUEXT_INVLPG_LOCAL";
        TLB_FLUSH_MULTI = 8, "MMUEXT_TLB_FLUSH_MULTI";
        INVLPG_MULTI = 9, "MMUEXT_INVLPG_MULTI";
        TLB_FLUSH_ALL = 10, "MMUEXT_TLB_FLUSH_ALL";
        INVLPG_ALL = 11, "MMUEXT_INVLPG_ALL";
        FLUSH_CACHE = 12, "MMUEXT_FLUSH_CACHE";
        SET_LDT = 13, "MMUEXT_SET_LDT";
        NEW_USER_BASEPTR = 15, "MMUEXT_NEW_USER_BASEPTR";
        CLEAR_PAGE = 16, "MMUEXT_CLEAR_PAGE";
        COPY_PAGE = 17, "MMUEXT_COPY_PAGE";
        FLUSH_CACHE_GLOBAL = 18, "MMUEXT_FLUSH_CACHE_GLOBAL";
        MARK_SUPER = 19, "MMUEXT_MARK_SUPER";
        UNMARK_SUPER = 20, "MMUEXT_UNMARK_SUPER";
    }

    /// Flags of `update_va_mapping`. With [`uvmf::MULTI`], the bits above the low three are the
    /// guest address of a vCPU bitmap; zero selects only this vCPU.
    pub mod uvmf: u64 {
        NONE = 0, "UVMF_NONE";
        TLB_FLUSH = 1, "UVMF_TLB_FLUSH";
        INVLPG = 2, "UVMF_INVLPG";
        FLUSHTYPE_MASK = 3, "UVMF_FLUSHTYPE_MASK";
        MULTI = 0, "UVMF_MULTI";
        LOCAL = 0, "UVMF_LOCAL";
        ALL = 4, "UVMF_ALL";
    }

    /// Commands of `console_io`.
    pub mod console_io: u32 {
        WRITE = 0, "CONSOLEIO_write";
        READ = 1, "CONSOLEIO_read";
    }

    /// Commands of `vm_assist`.
    pub mod vm_assist_command: u32 {
        ENABLE = 0, "VMASST_CMD_enable";
        DISABLE = 1, "VMASST_CMD_disable";
    }

    /// Bit numbers of the `vm_assist` types.
    pub mod vm_assist: u32 {
        FOUR_GB_SEGMENTS = 0, "VMASST_TYPE_4gb_segments";
        FOUR_GB_SEGMENTS_NOTIFY = 1, "VMASST_TYPE_4gb_segments_notify";
        WRITABLE_PAGETABLES = 2, "VMASST_TYPE_writable_pagetables";
        PAE_EXTENDED_CR3 = 3, "VMASST_TYPE_pae_extended_cr3";
        ARCHITECTURAL_IOPL = 4, "VMASST_TYPE_architectural_iopl";
        RUNSTATE_UPDATE_FLAG = 5, "VMASST_TYPE_runstate_update_flag";
        M2P_STRICT = 32, "VMASST_TYPE_m2p_strict";
    }

    /// Bits of [`VcpuTimeInfo::flags`].
    pub mod pvclock: u8 {
        TSC_STABLE_BIT = 1, "XEN_PVCLOCK_TSC_STABLE_BIT";
        GUEST_STOPPED = 2, "XEN_PVCLOCK_GUEST_STOPPED";
    }

    /// Bits of [`StartInfo::flags`].
    pub mod sif: u32 {
        PRIVILEGED = 0x1, "SIF_PRIVILEGED";
        INITDOMAIN = 0x2, "SIF_INITDOMAIN";
        MULTIBOOT_MOD = 0x4, "SIF_MULTIBOOT_MOD";
        MOD_START_PFN = 0x8, "SIF_MOD_START_PFN";
        VIRT_P2M_4TOOLS = 0x10, "SIF_VIRT_P2M_4TOOLS";
        PM_MASK = 0xff00, "SIF_PM_MASK";
    }

    /// Values of [`VgaConsoleTextMode::video_type`] and [`VgaConsoleFramebuffer::video_type`].
    pub mod vga_type: u8 {
        TEXT_MODE_3 = 3, "XEN_VGATYPE_TEXT_MODE_3";
        VESA_LFB = 35, "XEN_VGATYPE_VESA_LFB";
        EFI_LFB = 112, "XEN_VGATYPE_EFI_LFB";
    }
}

structs! {
    header "xen/xen.h";

    /// One operation of `mmuext_op`.
    pub struct MmuextOp = "struct mmuext_op" [24] {
        [0] command: u32 = "cmd",
        [4] _pad: u32,
        /// A machine frame, or a guest linear address.
        [8] argument1: u64 = "arg1.mfn",
        /// The source frame of a copy, the guest address of a vCPU bitmap, or (low 32 bits only)
        /// the number of LDT entries.
        [16] argument2: u64 = "arg2.src_mfn",
    }

    /// One update of `mmu_update`.
    pub struct MmuUpdate = "struct mmu_update" [16] {
        /// Machine address of the entry, with an [`mmu_command`] in the low two bits.
        [0] pointer: u64 = "ptr",
        [8] value: u64 = "val",
    }

    /// One call of a `multicall`.
    pub struct MulticallEntry = "struct multicall_entry" [64] {
        [0] operation: u64 = "op",
        [8] result: u64,
        [16] arguments: [u64; 6] = "args",
    }

    /// Time of a vCPU. A version that is odd during changes protects it.
    pub struct VcpuTimeInfo = "struct vcpu_time_info" [32] {
        /// Odd while the other fields are being changed.
        [0] version: u32,
        [4] _pad0: u32,
        [8] tsc_timestamp: u64,
        /// Nanoseconds since boot at `tsc_timestamp`.
        [16] system_time: u64,
        /// Nanoseconds = `((tsc - tsc_timestamp) << tsc_shift) * tsc_to_system_mul >> 32`.
        [24] tsc_to_system_mul: u32,
        [28] tsc_shift: i8,
        /// Bits of [`pvclock`].
        [29] flags: u8,
        [30] _pad1: u16,
    }

    /// A vCPU's event and time area.
    pub struct VcpuInfo = "struct vcpu_info" [64] {
        [0] event_upcall_pending: u8 = "evtchn_upcall_pending",
        [1] event_upcall_mask: u8 = "evtchn_upcall_mask",
        [2] _pad: [u8; 6],
        /// One bit for each word of `SharedInfo::event_pending`.
        [8] event_pending_selector: u64 = "evtchn_pending_sel",
        [16] arch: ArchVcpuInfo,
        [32] time: VcpuTimeInfo,
    }

    /// The page shared between hypervisor and guest.
    pub struct SharedInfo = "struct shared_info" [3136] {
        [0] vcpu_info: [VcpuInfo; LEGACY_MAX_VCPUS],
        [2048] event_pending: [u64; 64] = "evtchn_pending",
        [2560] event_mask: [u64; 64] = "evtchn_mask",
        /// Odd while the wall clock is being changed.
        [3072] wall_clock_version: u32 = "wc_version",
        /// Wall clock at system time zero, in seconds since 1970, low half.
        [3076] wall_clock_seconds: u32 = "wc_sec",
        [3080] wall_clock_nanoseconds: u32 = "wc_nsec",
        [3084] wall_clock_seconds_high: u32 = "wc_sec_hi",
        [3088] arch: ArchSharedInfo,
    }

    /// The start-of-day information of a PV guest; RSI points to it.
    pub struct StartInfo = "struct start_info" [1168] {
        [0] magic: [u8; 32],
        [32] page_count: u64 = "nr_pages",
        /// Machine address of the shared info page.
        [40] shared_info: u64,
        /// Bits of [`sif`].
        [48] flags: u32,
        [52] _pad0: u32,
        [56] store_mfn: u64,
        [64] store_event_channel: u32 = "store_evtchn",
        [68] _pad1: u32,
        /// Frame of the console ring. In the initial domain, the offset (low half) and size (high
        /// half) of the VGA console info, relative to the start of this structure.
        [72] console_mfn: u64 = "console.domU.mfn",
        [80] console_event_channel: u32 = "console.domU.evtchn",
        [84] _pad2: u32,
        [88] page_table_base: u64 = "pt_base",
        [96] page_table_frame_count: u64 = "nr_pt_frames",
        /// Virtual address of the P2M list.
        [104] mfn_list: u64,
        /// Virtual address of the ramdisk, or its frame number with [`sif::MOD_START_PFN`].
        [112] module_start: u64 = "mod_start",
        [120] module_length: u64 = "mod_len",
        [128] command_line: [u8; MAX_GUEST_COMMAND_LINE] = "cmd_line",
        [1152] first_p2m_pfn: u64,
        [1160] p2m_frame_count: u64 = "nr_p2m_frames",
    }

    /// A bitmap in guest memory, of CPUs or of nodes, in the control interfaces.
    pub struct CpuBitmap = "struct xenctl_bitmap" [16] {
        /// Guest address.
        [0] bitmap: u64,
        [8] bit_count: u32 = "nr_bits",
        [12] _pad: u32,
    }

    /// An entry of the module list, which [`sif::MULTIBOOT_MOD`] indicates.
    pub struct MultibootModule = "struct xen_multiboot_mod_list" [16] {
        [0] start: u32 = "mod_start",
        [4] end: u32 = "mod_end",
        [8] command_line: u32 = "cmdline",
        [12] _pad: u32,
    }

    /// The initial domain's console in text mode 3. Same C type as [`VgaConsoleFramebuffer`].
    pub struct VgaConsoleTextMode = "dom0_vga_console_info_t" [40] {
        [0] video_type: u8,
        [1] _pad0: [u8; 3],
        [4] font_height: u16 = "u.text_mode_3.font_height",
        [6] cursor_x: u16 = "u.text_mode_3.cursor_x",
        [8] cursor_y: u16 = "u.text_mode_3.cursor_y",
        [10] rows: u16 = "u.text_mode_3.rows",
        [12] columns: u16 = "u.text_mode_3.columns",
        [14] _pad1: [u8; 26],
    }

    /// The initial domain's console on a linear framebuffer. Same C type as [`VgaConsoleTextMode`].
    pub struct VgaConsoleFramebuffer = "dom0_vga_console_info_t" [40] {
        [0] video_type: u8,
        [1] _pad0: [u8; 3],
        [4] width: u16 = "u.vesa_lfb.width",
        [6] height: u16 = "u.vesa_lfb.height",
        [8] bytes_per_line: u16 = "u.vesa_lfb.bytes_per_line",
        [10] bits_per_pixel: u16 = "u.vesa_lfb.bits_per_pixel",
        [12] framebuffer_base: u32 = "u.vesa_lfb.lfb_base",
        /// In units of 64 KiB.
        [16] framebuffer_size: u32 = "u.vesa_lfb.lfb_size",
        [20] red_position: u8 = "u.vesa_lfb.red_pos",
        [21] red_size: u8 = "u.vesa_lfb.red_size",
        [22] green_position: u8 = "u.vesa_lfb.green_pos",
        [23] green_size: u8 = "u.vesa_lfb.green_size",
        [24] blue_position: u8 = "u.vesa_lfb.blue_pos",
        [25] blue_size: u8 = "u.vesa_lfb.blue_size",
        [26] reserved_position: u8 = "u.vesa_lfb.rsvd_pos",
        [27] reserved_size: u8 = "u.vesa_lfb.rsvd_size",
        [28] global_capabilities: u32 = "u.vesa_lfb.gbl_caps",
        [32] mode_attributes: u16 = "u.vesa_lfb.mode_attrs",
        [34] _pad1: u16,
        [36] framebuffer_base_high: u32 = "u.vesa_lfb.ext_lfb_base",
    }
}
