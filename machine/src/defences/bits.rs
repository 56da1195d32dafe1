//! Bits of CPUID and of MSRs about transient execution, by the names of the manuals.

/// Bits of leaf 1, ECX.
pub(crate) mod leaf_1_ecx {
    pub(crate) const PCID: u32 = 1 << 17;
    pub(crate) const AVX: u32 = 1 << 28;
    pub(crate) const RDRAND: u32 = 1 << 30;
    pub(crate) const HYPERVISOR: u32 = 1 << 31;
}

/// Bits of leaf 7, EBX.
pub(crate) mod leaf_7_ebx {
    pub(crate) const SMEP: u32 = 1 << 7;
    pub(crate) const INVPCID: u32 = 1 << 10;
    pub(crate) const RTM: u32 = 1 << 11;
    pub(crate) const RDSEED: u32 = 1 << 18;
}

/// Bits of leaf 7, EDX.
pub(crate) mod leaf_7_edx {
    pub(crate) const SRBDS_CTRL: u32 = 1 << 9;
    pub(crate) const MD_CLEAR: u32 = 1 << 10;
    pub(crate) const RTM_ALWAYS_ABORT: u32 = 1 << 11;
    pub(crate) const TSX_FORCE_ABORT: u32 = 1 << 13;
    pub(crate) const HYBRID: u32 = 1 << 15;
    /// SPEC_CTRL with IBRS, and PRED_CMD with IBPB.
    pub(crate) const IBRSB: u32 = 1 << 26;
    pub(crate) const STIBP: u32 = 1 << 27;
    pub(crate) const ARCH_CAPS: u32 = 1 << 29;
    pub(crate) const SSBD: u32 = 1 << 31;
}

/// Bits of leaf 7 subleaf 2, EDX.
pub(crate) mod leaf_7_2_edx {
    pub(crate) const PSFD: u32 = 1 << 0;
    pub(crate) const BHI_CTRL: u32 = 1 << 4;
}

/// Bits of leaf 0x80000008, EBX.
pub(crate) mod leaf_e8_ebx {
    pub(crate) const IBPB: u32 = 1 << 12;
    pub(crate) const IBRS: u32 = 1 << 14;
    pub(crate) const STIBP: u32 = 1 << 15;
    pub(crate) const SSBD: u32 = 1 << 24;
    pub(crate) const SSB_NO: u32 = 1 << 26;
    pub(crate) const PSFD: u32 = 1 << 28;
    pub(crate) const BTC_NO: u32 = 1 << 29;
    /// The barrier clears the return stack as well.
    pub(crate) const IBPB_RET: u32 = 1 << 30;
}

/// Bits of leaf 0x80000021, EAX.
pub(crate) mod leaf_e21_eax {
    /// LFENCE always serialises.
    pub(crate) const LFENCE_SERIALISES: u32 = 1 << 2;
    pub(crate) const VERW_CLEAR: u32 = 1 << 5;
    pub(crate) const AUTOMATIC_IBRS: u32 = 1 << 8;
    /// The barrier discards the types of branches as well.
    pub(crate) const IBPB_BRTYPE: u32 = 1 << 28;
    pub(crate) const SRSO_NO: u32 = 1 << 29;
    /// SRSO does not cross from user mode to ring 0.
    pub(crate) const SRSO_USER_KERNEL_NO: u32 = 1 << 30;
}

/// Bits of leaf 0x80000021, ECX.
pub(crate) mod leaf_e21_ecx {
    pub(crate) const TSA_SQ_NO: u32 = 1 << 1;
    pub(crate) const TSA_L1_NO: u32 = 1 << 2;
}

/// Bits of ARCH_CAPABILITIES.
pub(crate) mod capability {
    pub(crate) const RDCL_NO: u64 = 1 << 0;
    /// Enhanced IBRS.
    pub(crate) const IBRS_ALL: u64 = 1 << 1;
    /// An empty return stack buffer is replaced by other predictors.
    pub(crate) const RSBA: u64 = 1 << 2;
    pub(crate) const SSB_NO: u64 = 1 << 4;
    pub(crate) const MDS_NO: u64 = 1 << 5;
    pub(crate) const IF_PSCHANGE_MC_NO: u64 = 1 << 6;
    pub(crate) const TSX_CTRL: u64 = 1 << 7;
    pub(crate) const TAA_NO: u64 = 1 << 8;
    pub(crate) const SBDR_SSDP_NO: u64 = 1 << 13;
    pub(crate) const FBSDP_NO: u64 = 1 << 14;
    pub(crate) const PSDP_NO: u64 = 1 << 15;
    pub(crate) const FB_CLEAR: u64 = 1 << 17;
    /// As RSBA, but kept out by enhanced IBRS.
    pub(crate) const RRSBA: u64 = 1 << 19;
    pub(crate) const BHI_NO: u64 = 1 << 20;
    pub(crate) const PBRSB_NO: u64 = 1 << 24;
    pub(crate) const GDS_CTRL: u64 = 1 << 25;
    pub(crate) const GDS_NO: u64 = 1 << 26;
    pub(crate) const RFDS_NO: u64 = 1 << 27;
    pub(crate) const RFDS_CLEAR: u64 = 1 << 28;
    pub(crate) const ITS_NO: u64 = 1 << 62;
}

/// Bits of SPEC_CTRL.
pub(crate) mod spec_ctrl {
    pub(crate) const IBRS: u64 = 1 << 0;
    pub(crate) const STIBP: u64 = 1 << 1;
    pub(crate) const SSBD: u64 = 1 << 2;
    pub(crate) const PSFD: u64 = 1 << 7;
    pub(crate) const BHI_DIS_S: u64 = 1 << 10;
    /// All bits that Paravane sets on some processor.
    pub(crate) const KNOWN: u64 = IBRS | STIBP | SSBD | PSFD | BHI_DIS_S;
}

/// Bits of TSX_CTRL.
pub(crate) mod tsx_ctrl {
    /// CPUID does not show TSX.
    pub(crate) const CPUID_CLEAR: u64 = 1 << 1;
    /// This, and transactions abort at their start.
    pub(crate) const ALL: u64 = CPUID_CLEAR | 1 << 0;
}

/// Bits of TSX_FORCE_ABORT.
pub(crate) mod tsx_force_abort {
    /// Transactions abort at their start.
    pub(crate) const FORCE_ABORT: u64 = 1 << 0;
    /// CPUID does not show TSX.
    pub(crate) const CPUID_CLEAR: u64 = 1 << 1;
    /// Transactions work in spite of microcode that makes them abort.
    pub(crate) const ENABLE_RTM: u64 = 1 << 2;
}

/// Bits of MCU_OPT_CTRL.
pub(crate) mod mcu_opt_ctrl {
    /// The mitigation of SRBDS is off.
    pub(crate) const RNGDS_MITG_DIS: u64 = 1 << 0;
    /// TSX_CTRL can switch transactions on.
    pub(crate) const RTM_ALLOW: u64 = 1 << 1;
    /// The bit above cannot be changed.
    pub(crate) const RTM_LOCKED: u64 = 1 << 2;
    /// The mitigation of GDS is off.
    pub(crate) const GDS_MITG_DIS: u64 = 1 << 4;
    /// The bit above cannot be changed.
    pub(crate) const GDS_MITG_LOCK: u64 = 1 << 5;
}
