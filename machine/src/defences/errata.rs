//! Settings of MSRs that correct errata or make instructions behave as documented. They cost
//! nothing after boot and are independent of the options, as in Xen.

use bitflags::bitflags;

use super::bits::leaf_e21_eax;
use super::facts::{Facts, Vendor};
use super::flaws::Flaw;
use super::models::{self, Generation};
use crate::processor::msr;

bitflags! {
    /// Corrections of a processor.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Corrections: u32 {
        /// LFENCE waits for all earlier instructions, also on AMD's processors.
        const LFENCE = 1 << 0;
        /// Zenbleed: registers are not renamed by moves of the upper halves.
        const ZENBLEED = 1 << 1;
        /// Erratum 665 of family 0x12: integer division.
        const E665 = 1 << 2;
        /// Erratum 721 of families 0x10 and 0x12: a wrong stack pointer.
        const E721 = 1 << 3;
        /// Erratum 793 of family 0x16: a locked instruction can hang the core.
        const E793 = 1 << 4;
        /// Erratum 1485 of Zen 4: wrong #UD with STIBP off.
        const E1485 = 1 << 5;
    }
}

/// One correction: the bits that are set in an MSR of each CPU.
#[derive(Debug)]
pub struct Correction {
    /// Its flag.
    pub flag: Corrections,
    /// Its name in reports.
    pub name: &'static str,
    /// The MSR.
    pub msr: u32,
    /// The bits to set.
    pub bits: u64,
}

const LS_CFG: u32 = 0xc001_1020;
const BP_CFG: u32 = 0xc001_102e;

/// All corrections. Sources: AMD's software optimisation guides on LFENCE, AMD-SB-7008, and the
/// revision guides 41322 (family 0x10), 44739 (0x12), 51810 (0x16) and 57095 (0x19).
pub const CORRECTIONS: &[Correction] = &[
    Correction { flag: Corrections::LFENCE, name: "LFENCE", msr: msr::DE_CFG, bits: 1 << 1 },
    Correction { flag: Corrections::ZENBLEED, name: "Zenbleed", msr: msr::DE_CFG, bits: 1 << 9 },
    Correction { flag: Corrections::E665, name: "665", msr: msr::DE_CFG, bits: 1 << 31 },
    Correction { flag: Corrections::E721, name: "721", msr: msr::DE_CFG, bits: 1 << 0 },
    Correction { flag: Corrections::E793, name: "793", msr: LS_CFG, bits: 1 << 15 },
    Correction { flag: Corrections::E1485, name: "1485", msr: BP_CFG, bits: 1 << 5 },
];

/// The corrections that a processor needs. A hypervisor below makes them itself, and does not let
/// others write to these registers; LFENCE is set if the register can be read.
pub(super) fn corrections(facts: &Facts) -> Corrections {
    let Some(generation) = models::amd(facts) else { return Corrections::empty() };
    let bare = !facts.is_virtual();
    let family = |wanted| facts.vendor == Vendor::Amd && facts.family == wanted;
    let serialises =
        facts.leaf_e21_eax(leaf_e21_eax::LFENCE_SERIALISES) || facts.de_cfg.is_none_or(|bits| bits & 2 != 0);
    let mut needed = Corrections::empty();
    // Families 0xf and 0x11 have no such register, and their LFENCE serialises.
    needed.set(Corrections::LFENCE, !serialises && !family(0xf) && !family(0x11));
    needed.set(Corrections::ZENBLEED, bare && facts.may_have(Flaw::Zenbleed));
    needed.set(Corrections::E665, bare && family(0x12));
    needed.set(Corrections::E721, bare && (family(0x10) || family(0x12)));
    needed.set(Corrections::E793, bare && family(0x16) && facts.model <= 0x0f);
    needed.set(Corrections::E1485, bare && generation == Generation::Zen4);
    needed
}
