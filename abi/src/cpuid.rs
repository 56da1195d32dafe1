//! `arch-x86/cpuid.h`: the hypervisor's CPUID leaves.

use crate::layout::constants;

constants! {
    header "xen/arch-x86/cpuid.h";

    /// Leaves; their base may be any multiple of 0x100 from [`leaf::FIRST`] on.
    pub mod leaf: u32 {
        FIRST = 0x4000_0000, "XEN_CPUID_FIRST_LEAF";
    }

    /// The signature in EBX, ECX and EDX of the first leaf.
    pub mod signature: u32 {
        EBX = 0x566e_6558, "XEN_CPUID_SIGNATURE_EBX";
        ECX = 0x6558_4d4d, "XEN_CPUID_SIGNATURE_ECX";
        EDX = 0x4d4d_566e, "XEN_CPUID_SIGNATURE_EDX";
    }

    /// ECX of the third leaf.
    pub mod feature: u32 {
        MMU_PT_UPDATE_PRESERVE_AD = 0x1, "XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD";
    }
}
