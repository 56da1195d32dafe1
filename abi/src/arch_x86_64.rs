//! `arch-x86/xen.h` and `arch-x86/xen-x86_64.h`: selectors, address-space holes, register frames.

use crate::layout::{constants, structs};

/// First GDT page that belongs to the hypervisor. C: `FIRST_RESERVED_GDT_PAGE`.
pub const FIRST_RESERVED_GDT_PAGE: usize = 14;
/// First GDT entry that belongs to the hypervisor. C: `FIRST_RESERVED_GDT_ENTRY`.
pub const FIRST_RESERVED_GDT_ENTRY: usize = FIRST_RESERVED_GDT_PAGE * 4096 / 8;
/// Bytes before `cpuid` that request the emulated instruction. C: `XEN_EMULATE_PREFIX`.
pub const EMULATE_PREFIX: [u8; 5] = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
/// Bits 0-1 of [`TrapInfo::flags`]: the privilege level from which `int` may raise the trap.
pub const TRAP_INFO_DPL_MASK: u8 = 3;
/// Bit 2 of [`TrapInfo::flags`]: event delivery is masked on entry.
pub const TRAP_INFO_MASK_EVENTS: u8 = 4;

constants! {
    header "xen/arch-x86/xen.h";

    /// Selectors of the flat segments every guest has. All have RPL 3.
    pub mod flat: u16 {
        RING3_CS32 = 0xe023, "FLAT_RING3_CS32";
        RING3_CS64 = 0xe033, "FLAT_RING3_CS64";
        RING3_DS32 = 0xe02b, "FLAT_RING3_DS32";
        RING3_DS64 = 0x0, "FLAT_RING3_DS64";
        RING3_SS32 = 0xe02b, "FLAT_RING3_SS32";
        RING3_SS64 = 0xe02b, "FLAT_RING3_SS64";
        KERNEL_DS64 = 0x0, "FLAT_KERNEL_DS64";
        KERNEL_DS32 = 0xe02b, "FLAT_KERNEL_DS32";
        KERNEL_DS = 0x0, "FLAT_KERNEL_DS";
        KERNEL_CS64 = 0xe033, "FLAT_KERNEL_CS64";
        KERNEL_CS32 = 0xe023, "FLAT_KERNEL_CS32";
        KERNEL_CS = 0xe033, "FLAT_KERNEL_CS";
        KERNEL_SS64 = 0xe02b, "FLAT_KERNEL_SS64";
        KERNEL_SS32 = 0xe02b, "FLAT_KERNEL_SS32";
        KERNEL_SS = 0xe02b, "FLAT_KERNEL_SS";
        USER_DS64 = 0x0, "FLAT_USER_DS64";
        USER_DS32 = 0xe02b, "FLAT_USER_DS32";
        USER_DS = 0x0, "FLAT_USER_DS";
        USER_CS64 = 0xe033, "FLAT_USER_CS64";
        USER_CS32 = 0xe023, "FLAT_USER_CS32";
        USER_CS = 0xe033, "FLAT_USER_CS";
        USER_SS64 = 0xe02b, "FLAT_USER_SS64";
        USER_SS32 = 0xe02b, "FLAT_USER_SS32";
        USER_SS = 0xe02b, "FLAT_USER_SS";
    }

    /// The hole in the address space and the M2P table in it.
    pub mod address: u64 {
        HYPERVISOR_START = 0xffff_8000_0000_0000, "HYPERVISOR_VIRT_START";
        HYPERVISOR_END = 0xffff_8800_0000_0000, "HYPERVISOR_VIRT_END";
        MACH2PHYS_START = 0xffff_8000_0000_0000, "MACH2PHYS_VIRT_START";
        MACH2PHYS_END = 0xffff_8040_0000_0000, "MACH2PHYS_VIRT_END";
        MACH2PHYS_ENTRIES = 0x8_0000_0000, "MACH2PHYS_NR_ENTRIES";
    }

    /// First argument of `set_segment_base`.
    pub mod segment_base: u32 {
        FS = 0, "SEGBASE_FS";
        GS_USER = 1, "SEGBASE_GS_USER";
        GS_KERNEL = 2, "SEGBASE_GS_KERNEL";
        GS_USER_SEL = 3, "SEGBASE_GS_USER_SEL";
    }

    /// Bits of [`VcpuGuestContext::flags`] and [`IretContext::flags`].
    pub mod vgcf: u64 {
        I387_VALID = 0x1, "VGCF_i387_valid";
        IN_KERNEL = 0x4, "VGCF_in_kernel";
        FAILSAFE_DISABLES_EVENTS = 0x8, "VGCF_failsafe_disables_events";
        SYSCALL_DISABLES_EVENTS = 0x10, "VGCF_syscall_disables_events";
        ONLINE = 0x20, "VGCF_online";
        IN_SYSCALL = 0x100, "VGCF_in_syscall";
    }

    /// Bits of `emulation_flags` in [`ArchDomainConfig`].
    pub mod emulation: u32 {
        LAPIC = 0x1, "XEN_X86_EMU_LAPIC";
        HPET = 0x2, "XEN_X86_EMU_HPET";
        PM = 0x4, "XEN_X86_EMU_PM";
        RTC = 0x8, "XEN_X86_EMU_RTC";
        IOAPIC = 0x10, "XEN_X86_EMU_IOAPIC";
        PIC = 0x20, "XEN_X86_EMU_PIC";
        VGA = 0x40, "XEN_X86_EMU_VGA";
        IOMMU = 0x80, "XEN_X86_EMU_IOMMU";
        PIT = 0x100, "XEN_X86_EMU_PIT";
        USE_PIRQ = 0x200, "XEN_X86_EMU_USE_PIRQ";
        VPCI = 0x400, "XEN_X86_EMU_VPCI";
        ALL = 0x7ff, "XEN_X86_EMU_ALL";
    }

    /// Bits of `misc_flags` in [`ArchDomainConfig`].
    pub mod misc_flags: u32 {
        RELAXED = 0x1, "XEN_X86_MSR_RELAXED";
    }

    /// Value of [`CpuidLeaf::subleaf`] for a leaf without subleaves.
    pub mod cpuid_leaf: u32 {
        NO_SUBLEAF = 0xffff_ffff, "XEN_CPUID_NO_SUBLEAF";
    }
}

structs! {
    header "xen/arch-x86/xen.h";

    /// An entry of `set_trap_table`; a zero address ends the table.
    pub struct TrapInfo = "struct trap_info" [16] {
        [0] vector: u8,
        /// See [`TRAP_INFO_DPL_MASK`] and [`TRAP_INFO_MASK_EVENTS`].
        [1] flags: u8,
        [2] code_selector: u16 = "cs",
        [4] _pad: u32,
        [8] address: u64,
    }

    /// The frame on the guest's kernel stack for the `iret` hypercall.
    pub struct IretContext = "struct iret_context" [72] {
        [0] rax: u64,
        [8] r11: u64,
        [16] rcx: u64,
        /// Bits of [`vgcf`]; only `IN_SYSCALL` is significant.
        [24] flags: u64,
        [32] rip: u64,
        [40] cs: u64,
        [48] rflags: u64,
        [56] rsp: u64,
        [64] ss: u64,
    }

    /// A register frame.
    pub struct CpuUserRegs = "struct cpu_user_regs" [200] {
        [0] r15: u64,
        [8] r14: u64,
        [16] r13: u64,
        [24] r12: u64,
        [32] rbp: u64,
        [40] rbx: u64,
        [48] r11: u64,
        [56] r10: u64,
        [64] r9: u64,
        [72] r8: u64,
        [80] rax: u64,
        [88] rcx: u64,
        [96] rdx: u64,
        [104] rsi: u64,
        [112] rdi: u64,
        [120] error_code: u32,
        [124] entry_vector: u32,
        [128] rip: u64,
        [136] cs: u16,
        [138] _pad0: u16,
        [140] saved_upcall_mask: u8,
        [141] _pad1: [u8; 3],
        [144] rflags: u64,
        [152] rsp: u64,
        [160] ss: u16,
        [162] _pad2: [u8; 6],
        [168] es: u16,
        [170] _pad3: [u8; 6],
        [176] ds: u16,
        [178] _pad4: [u8; 6],
        [184] fs: u16,
        [186] _pad5: [u8; 6],
        [192] gs: u16,
        [194] _pad6: [u8; 6],
    }

    /// The state with which a vCPU is initialised.
    pub struct VcpuGuestContext = "struct vcpu_guest_context" [5168] {
        /// FXSAVE image.
        [0] fpu_context: [u8; 512] = "fpu_ctxt",
        /// Bits of [`vgcf`].
        [512] flags: u64,
        [520] user_regs: CpuUserRegs,
        /// Indexed by vector.
        [720] traps: [TrapInfo; 256] = "trap_ctxt",
        [4816] ldt_base: u64,
        [4824] ldt_entries: u64 = "ldt_ents",
        [4832] gdt_frames: [u64; 16],
        [4960] gdt_entries: u64 = "gdt_ents",
        [4968] kernel_ss: u64,
        [4976] kernel_sp: u64,
        /// CR0 to CR7; CR1 contains the user page table's root.
        [4984] control_registers: [u64; 8] = "ctrlreg",
        [5048] debug_registers: [u64; 8] = "debugreg",
        [5112] event_callback_rip: u64 = "event_callback_eip",
        [5120] failsafe_callback_rip: u64 = "failsafe_callback_eip",
        [5128] syscall_callback_rip: u64 = "syscall_callback_eip",
        /// Bit mask of [`crate::xen::vm_assist`] numbers.
        [5136] vm_assist: u64,
        [5144] fs_base: u64,
        [5152] gs_base_kernel: u64,
        [5160] gs_base_user: u64,
    }

    /// The architecture-specific part of the shared info page.
    pub struct ArchSharedInfo = "struct arch_shared_info" [48] {
        [0] max_pfn: u64,
        [8] p2m_frame_list_list: u64 = "pfn_to_mfn_frame_list_list",
        /// Bits of [`crate::nmi::reason`].
        [16] nmi_reason: u64,
        [24] p2m_cr3: u64,
        [32] p2m_virtual_address: u64 = "p2m_vaddr",
        [40] p2m_generation: u64,
    }

    /// The architecture-specific part of `VcpuInfo`.
    pub struct ArchVcpuInfo = "struct arch_vcpu_info" [16] {
        /// Address of the last page fault that was bounced to the guest.
        [0] cr2: u64,
        [8] _pad: u64 = "pad",
    }

    /// The architecture-specific parameters of a new domain.
    pub struct ArchDomainConfig = "struct xen_arch_domainconfig" [8] {
        [0] emulation_flags: u32,
        [4] misc_flags: u32,
    }

    /// A leaf of a CPUID policy.
    pub struct CpuidLeaf = "xen_cpuid_leaf_t" [24] {
        [0] leaf: u32,
        [4] subleaf: u32,
        [8] eax: u32 = "a",
        [12] ebx: u32 = "b",
        [16] ecx: u32 = "c",
        [20] edx: u32 = "d",
    }

    /// An entry of an MSR policy.
    pub struct MsrEntry = "xen_msr_entry_t" [16] {
        [0] index: u32 = "idx",
        [4] flags: u32,
        [8] value: u64 = "val",
    }
}
