//! What guests are told about flaws and controls: what is true for a kernel that runs in ring 3
//! (docs/decisions/0013-guests-are-told-what-holds-in-ring-3.md).

use super::bits::{capability, leaf_7_edx, leaf_e8_ebx, leaf_e21_eax};
use super::facts::Facts;
use super::flaws::{Flaw, Status};
use super::models;
use super::plan::{BranchControl, GatherControl, Plan};

/// The bits of CPUID and of ARCH_CAPABILITIES about transient execution that guests may see. Other
/// bits of the same words are not decided here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names of CPUID words are the architecture's")]
pub struct GuestView {
    pub leaf_7_edx: u32,
    pub leaf_e8_ebx: u32,
    pub leaf_e21_eax: u32,
    pub arch_capabilities: u64,
    /// AVX is not withheld.
    pub avx: bool,
}

/// How SPEC_CTRL is used while guests run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestSpecCtrl {
    /// The bits that guests can set in the register.
    pub(crate) offered: u64,
    /// The bits that are set whatever a guest has chosen.
    pub(crate) required: u64,
    /// The entry code writes the guest's value and Paravane's.
    pub(crate) at_entry: bool,
}

impl GuestSpecCtrl {
    /// The register's use with a plan in force.
    pub(super) const fn of(facts: &Facts, plan: &Plan) -> Self {
        let offered = if plan.guest_controls { facts.spec_ctrl_bits() } else { 0 };
        Self { offered, required: plan.spec_ctrl_of_guests(), at_entry: matches!(plan.branches, BranchControl::Legacy) }
    }

    /// The register's value while a guest runs that has set `chosen`. The processor accepts it
    /// whatever `chosen` is.
    pub(crate) const fn value(&self, chosen: u64) -> u64 {
        chosen & self.offered | self.required
    }
}

/// Reports of the processor that hold in ring 3 as well. Those about the border between ring 3 and
/// ring 0 do not help a kernel in ring 3: enhanced IBRS, RRSBA, automatic IBRS, and that SRSO does
/// not cross it.
const PASSED: u64 = capability::RDCL_NO
    | capability::SSB_NO
    | capability::MDS_NO
    | capability::IF_PSCHANGE_MC_NO
    | capability::TAA_NO
    | capability::SBDR_SSDP_NO
    | capability::FBSDP_NO
    | capability::PSDP_NO
    | capability::FB_CLEAR
    | capability::BHI_NO
    | capability::PBRSB_NO
    | capability::GDS_NO
    | capability::RFDS_NO
    | capability::RFDS_CLEAR
    | capability::ITS_NO;

impl GuestView {
    /// Nothing is told.
    pub const NOTHING: Self = Self { leaf_7_edx: 0, leaf_e8_ebx: 0, leaf_e21_eax: 0, arch_capabilities: 0, avx: true };

    /// The view with a plan in force.
    pub(super) fn of(facts: &Facts, plan: &Plan) -> Self {
        let controls = |bits| if plan.guest_controls { bits } else { 0 };
        let arch_capabilities = if facts.is_amd() { 0 } else { capabilities(facts, plan) };
        let told = if arch_capabilities == 0 { 0 } else { leaf_7_edx::ARCH_CAPS };
        let of_7 = leaf_7_edx::MD_CLEAR | controls(leaf_7_edx::IBRSB | leaf_7_edx::STIBP | leaf_7_edx::SSBD);
        let of_e8 = leaf_e8_ebx::SSB_NO
            | leaf_e8_ebx::BTC_NO
            | leaf_e8_ebx::IBPB_RET
            | controls(leaf_e8_ebx::IBPB | leaf_e8_ebx::STIBP | leaf_e8_ebx::SSBD | leaf_e8_ebx::PSFD);
        let of_e21 = leaf_e21_eax::SRSO_NO | leaf_e21_eax::VERW_CLEAR | controls(leaf_e21_eax::IBPB_BRTYPE);
        let mut leaf_e21_eax = facts.leaf_e21_eax & of_e21;
        let clears = facts.may_have(Flaw::Tsa) && models::has_microcode(facts, models::TSA_VERW);
        leaf_e21_eax |= if clears { leaf_e21_eax::VERW_CLEAR } else { 0 };
        leaf_e21_eax |= if super::plan::barrier_covers_types(facts) { controls(leaf_e21_eax::IBPB_BRTYPE) } else { 0 };
        Self {
            leaf_7_edx: facts.leaf_7_edx & of_7 | told,
            leaf_e8_ebx: facts.leaf_e8_ebx & of_e8,
            leaf_e21_eax,
            arch_capabilities,
            avx: plan.gather != GatherControl::WithoutAvx,
        }
    }
}

/// ARCH_CAPABILITIES for guests. It also says what older microcode does not, so that guests need
/// not assume the worst.
fn capabilities(facts: &Facts, plan: &Plan) -> u64 {
    let mut bits = facts.arch_capabilities.unwrap_or(0) & PASSED;
    let lacks = |flaw| facts.verdict(flaw).status == Status::NotAffected;
    for (flaw, bit) in [
        (Flaw::Bhi, capability::BHI_NO),
        (Flaw::Gds, capability::GDS_NO),
        (Flaw::Rfds, capability::RFDS_NO),
        (Flaw::Its, capability::ITS_NO),
    ] {
        bits |= if lacks(flaw) { bit } else { 0 };
    }
    // With the mitigation on, a guest need not do more.
    bits |= if plan.gather == GatherControl::On { capability::GDS_NO } else { 0 };
    // A kernel in ring 3 has no IBRS that keeps its processes' predictions from its returns.
    bits |= if facts.may_have(Flaw::RsbUnderflow) { capability::RSBA } else { 0 };
    bits
}
