//! The flaws, and which processors have them.

use super::bits::{
    capability, leaf_1_ecx, leaf_7_2_edx, leaf_7_ebx, leaf_7_edx, leaf_e8_ebx, leaf_e21_eax, leaf_e21_ecx,
};
use super::facts::{Facts, Vendor};
use super::models::{self, Generation, Model, Traits};

macro_rules! flaws {
    ($($(#[$doc:meta])* $flaw:ident $key:literal $name:literal;)*) => {
        /// A flaw of processors.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Flaw {
            $($(#[$doc])* $flaw,)*
        }

        impl Flaw {
            /// All flaws, in the order of reports.
            pub const ALL: [Self; [$($key),*].len()] = [$(Self::$flaw),*];

            /// The name for scripts: that of Linux's file in the folder
            /// `/sys/devices/system/cpu/vulnerabilities`, if it has one.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$flaw => $key,)* }
            }

            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$flaw => $name,)* }
            }
        }
    };
}

flaws! {
    /// User mode reads what only ring 0 may, through its own page tables.
    Meltdown "meltdown" "Meltdown";
    /// A page-table entry that is not present reads the first-level cache at its address.
    L1tf "l1tf" "L1TF";
    /// A mispredicted bounds check.
    SpectreV1 "spectre_v1" "Spectre v1";
    /// Predictions of indirect branches trained by other code.
    SpectreV2 "spectre_v2" "Spectre v2";
    /// The history of branches selects a prediction of ring 0's own.
    Bhi "bhi" "BHI";
    /// Intel: returns without an entry in the return stack buffer use other predictors.
    RsbUnderflow "retbleed" "Retbleed (Intel)";
    /// AMD: any instruction is predicted to be a branch.
    BranchTypeConfusion "branch_type_confusion" "Retbleed (AMD)";
    /// AMD: predictions overwrite the return stack.
    Srso "spec_rstack_overflow" "SRSO";
    /// AMD: one thread of a core uses the return predictions of another.
    CrossThreadReturns "cross_thread_rsb" "cross-thread returns";
    /// A load uses older data than that of a store whose address is not known yet.
    Ssb "spec_store_bypass" "speculative store bypass";
    /// Fill buffers, load ports and store buffers reveal their contents.
    Mds "mds" "MDS";
    /// The same, by an aborted transaction.
    Taa "tsx_async_abort" "TSX asynchronous abort";
    /// Accesses to device memory reveal stale data of buffers.
    MmioStaleData "mmio_stale_data" "MMIO stale data";
    /// The numbers of RDRAND and RDSEED of another CPU are revealed.
    Srbds "srbds" "SRBDS";
    /// Register files reveal their contents.
    Rfds "reg_file_data_sampling" "RFDS";
    /// A gather instruction reveals vector registers.
    Gds "gather_data_sampling" "GDS";
    /// Indirect branches in the lower half of a cache line are predicted wrongly.
    Its "indirect_target_selection" "ITS";
    /// AMD: the scheduler uses wrong data of stores or of the first-level cache.
    Tsa "tsa" "TSA";
    /// AMD: the upper halves of vector registers are revealed.
    Zenbleed "zenbleed" "Zenbleed";
    /// AMD: a division by zero reveals the previous quotient.
    DivLeak "div_leak" "division leak";
    /// A guest's predictions are used by its device emulator.
    Vmscape "vmscape" "VMSCAPE";
}

/// Whether a processor has a flaw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It does not.
    NotAffected,
    /// It does.
    Affected,
    /// Neither the processor nor the tables tell. It is treated as affected.
    Unknown,
}

/// Whether a processor has a flaw, and what shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether it has the flaw.
    pub status: Status,
    /// What shows it.
    pub why: &'static str,
}

const fn no(why: &'static str) -> Verdict {
    Verdict { status: Status::NotAffected, why }
}

const fn yes(why: &'static str) -> Verdict {
    Verdict { status: Status::Affected, why }
}

const fn unknown(why: &'static str) -> Verdict {
    Verdict { status: Status::Unknown, why }
}

const ON_LIST: &str = "model on the list";
const NOT_ON_LIST: &str = "model not on the list";
const IN_ORDER: &str = "in-order processor";

impl Facts {
    /// Whether the processor has a flaw, or may have it.
    pub fn may_have(&self, flaw: Flaw) -> bool {
        self.verdict(flaw).status != Status::NotAffected
    }

    /// Judges one flaw.
    pub fn verdict(&self, flaw: Flaw) -> Verdict {
        match flaw {
            Flaw::SpectreV1 | Flaw::SpectreV2 => {
                if self.has_trait(Traits::IN_ORDER) {
                    no(IN_ORDER)
                } else {
                    yes("all that speculate")
                }
            }
            Flaw::Ssb => self.store_bypass(),
            Flaw::Vmscape => no("PV guests have no VM exits; their devices are emulated in other domains"),
            Flaw::BranchTypeConfusion
            | Flaw::Srso
            | Flaw::CrossThreadReturns
            | Flaw::Tsa
            | Flaw::Zenbleed
            | Flaw::DivLeak => models::amd(self).map_or(no("AMD only"), |generation| self.of_amd(flaw, generation)),
            _ if self.vendor == Vendor::Intel => self.of_intel(flaw),
            _ if self.is_amd() => no("Intel only"),
            _ => unknown("maker not known"),
        }
    }

    fn of_intel(&self, flaw: Flaw) -> Verdict {
        if self.has_trait(Traits::IN_ORDER) {
            return no(IN_ORDER);
        }
        match flaw {
            Flaw::Meltdown if self.can(capability::RDCL_NO) => no("RDCL_NO"),
            Flaw::Meltdown => self.listed(Traits::MELTDOWN),
            Flaw::L1tf if self.can(capability::RDCL_NO) => no("RDCL_NO"),
            Flaw::L1tf => self.listed(Traits::L1TF),
            Flaw::Bhi => self.history_injection(),
            Flaw::RsbUnderflow if self.can(capability::RSBA | capability::RRSBA) => yes("RSBA or RRSBA"),
            // All microcode with ARCH_CAPABILITIES reports RSBA where it exists, but some has
            // enhanced IBRS without RRSBA.
            Flaw::RsbUnderflow
                if self.arch_capabilities.is_some()
                    && !self.has_enhanced_ibrs()
                    && !self.has_trait(Traits::UNDERFLOW) =>
            {
                no("no RSBA")
            }
            Flaw::RsbUnderflow => self.listed(Traits::UNDERFLOW),
            Flaw::Mds if self.can(capability::MDS_NO) => no("MDS_NO"),
            Flaw::Mds => self.listed(Traits::MDS),
            Flaw::Taa => self.asynchronous_abort(),
            Flaw::MmioStaleData => self.stale_data(),
            Flaw::Srbds if self.leaf_1_ecx & leaf_1_ecx::RDRAND == 0 && self.leaf_7_ebx & leaf_7_ebx::RDSEED == 0 => {
                no("no RDRAND and no RDSEED")
            }
            Flaw::Srbds => self.listed(Traits::SRBDS.union(Traits::SHARED_BUFFERS)),
            Flaw::Rfds => self.register_files(),
            Flaw::Gds if self.can(capability::GDS_NO) => no("GDS_NO"),
            Flaw::Gds if self.can(capability::GDS_CTRL) => yes("GDS_CTRL"),
            Flaw::Gds if self.leaf_1_ecx & leaf_1_ecx::AVX == 0 => no("no AVX"),
            Flaw::Gds => self.listed(Traits::GDS),
            Flaw::Its if self.can(capability::ITS_NO) => no("ITS_NO"),
            Flaw::Its if self.leaf_7_2_edx & leaf_7_2_edx::BHI_CTRL != 0 => no("no processor with BHI_CTRL"),
            Flaw::Its => self.listed(Traits::ITS),
            _ => unknown("not judged for Intel"),
        }
    }

    fn of_amd(&self, flaw: Flaw, generation: Generation) -> Verdict {
        use Generation::{Bulldozer, Zen1, Zen2, Zen3, Zen4};
        let later = || if self.is_virtual() { unknown("hypervisor is silent") } else { no(NOT_ON_LIST) };
        match flaw {
            Flaw::BranchTypeConfusion if self.leaf_e8_ebx(leaf_e8_ebx::BTC_NO) => no("BTC_NO"),
            Flaw::BranchTypeConfusion if generation <= Zen2 => yes("up to Zen 2"),
            Flaw::BranchTypeConfusion => later(),
            Flaw::Srso if self.leaf_e21_eax(leaf_e21_eax::SRSO_NO) => no("SRSO_NO"),
            Flaw::Srso if self.leaf_e21_eax(leaf_e21_eax::SRSO_USER_KERNEL_NO) => no("not from ring 3 to ring 0"),
            Flaw::Srso if generation <= Bulldozer => no("older than Zen"),
            Flaw::Srso if generation <= Zen2 && self.threads_per_core == 1 && !self.is_virtual() => {
                no("one thread per core")
            }
            Flaw::Srso if generation == Generation::Later => unknown("model not known"),
            Flaw::Srso => yes("Zen without SRSO_NO"),
            Flaw::CrossThreadReturns if !matches!(generation, Zen1 | Zen2) => no(NOT_ON_LIST),
            Flaw::CrossThreadReturns if self.threads_per_core == 1 => no("one thread per core"),
            Flaw::CrossThreadReturns => yes("Zen 1 and 2 with SMT"),
            Flaw::Tsa if !matches!(generation, Zen3 | Zen4) => no(NOT_ON_LIST),
            Flaw::Tsa if self.leaf_e21_ecx & TSA_NO == TSA_NO => no("TSA_SQ_NO and TSA_L1_NO"),
            Flaw::Tsa => yes("Zen 3 and 4"),
            Flaw::Zenbleed if generation != Zen2 => no(NOT_ON_LIST),
            Flaw::Zenbleed if models::has_microcode(self, models::ZENBLEED_FIXED) => no("fixed by microcode"),
            Flaw::Zenbleed => yes("Zen 2"),
            Flaw::DivLeak if generation == Zen1 => yes("Zen 1"),
            Flaw::DivLeak => no(NOT_ON_LIST),
            _ => unknown("not judged for AMD"),
        }
    }

    /// The row of an Intel processor has one of these properties.
    pub(super) fn has_trait(&self, traits: Traits) -> bool {
        models::intel(self).is_some_and(|row| row.traits.intersects(traits))
    }

    /// Judges by the list of models. A hypervisor may invent the model, and may move the machine to
    /// another one, so only a match is conclusive there.
    fn listed(&self, traits: Traits) -> Verdict {
        match models::intel(self) {
            Some(Model { traits: has, .. }) if has.intersects(traits) => yes(ON_LIST),
            Some(_) if self.is_virtual() => unknown("hypervisor is silent"),
            Some(_) => no(NOT_ON_LIST),
            None => unknown("model not known"),
        }
    }

    fn store_bypass(&self) -> Verdict {
        if self.can(capability::SSB_NO) || self.leaf_e8_ebx(leaf_e8_ebx::SSB_NO) {
            return no("SSB_NO");
        }
        match (self.vendor, models::amd(self)) {
            (Vendor::Intel, _) if self.has_trait(Traits::IN_ORDER) => no(IN_ORDER),
            (Vendor::Intel, _) => self.listed(Traits::SSB),
            (_, Some(Generation::K8)) => no("older than family 0x14"),
            (_, Some(_)) => yes("no SSB_NO"),
            _ => unknown("maker not known"),
        }
    }

    fn history_injection(&self) -> Verdict {
        if self.can(capability::BHI_NO) {
            no("BHI_NO")
        } else if self.has_enhanced_ibrs() {
            yes("enhanced IBRS without BHI_NO")
        } else if self.is_virtual() {
            unknown("enhanced IBRS may be hidden")
        } else {
            no("no enhanced IBRS")
        }
    }

    fn asynchronous_abort(&self) -> Verdict {
        if self.can(capability::TAA_NO) {
            no("TAA_NO")
        } else if self.has_tsx() || self.can(capability::TSX_CTRL) {
            yes("TSX without TAA_NO")
        } else {
            no("no TSX")
        }
    }

    fn stale_data(&self) -> Verdict {
        let immune = capability::SBDR_SSDP_NO | capability::FBSDP_NO | capability::PSDP_NO;
        if self.arch_capabilities.is_some_and(|bits| bits & immune == immune) {
            return no("SBDR_SSDP_NO, FBSDP_NO and PSDP_NO");
        }
        if self.has_trait(Traits::UNASSESSED) {
            return unknown("not assessed by Intel");
        }
        self.listed(Traits::MMIO)
    }

    fn register_files(&self) -> Verdict {
        if self.can(capability::RFDS_NO) {
            no("RFDS_NO")
        } else if self.can(capability::RFDS_CLEAR) {
            yes("RFDS_CLEAR")
        } else if self.has_trait(Traits::RFDS_IF_HYBRID) && self.leaf_7_edx(leaf_7_edx::HYBRID) {
            yes("hybrid processor")
        } else {
            self.listed(Traits::RFDS)
        }
    }
}

/// Both kinds of TSA are absent.
const TSA_NO: u32 = leaf_e21_ecx::TSA_SQ_NO | leaf_e21_ecx::TSA_L1_NO;
