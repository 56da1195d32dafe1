//! Which models of processors have which flaw: facts that CPUID and MSRs do not report, or report
//! with later microcode only.
//!
//! Sources. Intel: "Affected Processors: Transient Execution Attacks and Related Security Issues by
//! CPU", the consolidated table by model and stepping, and the guidance on retpolines for the
//! microcode of Broadwell. AMD: the bulletins AMD-SB-1037 (branch type confusion), 1045
//! (cross-thread predictions), 7005 (SRSO), 7007 (division), 7008 (Zenbleed) and 7029 (TSA). The
//! rows were compared with the lists of Linux 6.17 (`arch/x86/kernel/cpu/common.c`, `amd.c`) and of
//! Xen 4.20 (`xen/arch/x86/spec_ctrl.c`, `cpu/amd.c`).

use bitflags::bitflags;

use super::facts::{Facts, Vendor};

bitflags! {
    /// Properties of an Intel model.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Traits: u32 {
        /// In order: nothing is executed speculatively beyond a fetch.
        const IN_ORDER = 1 << 0;
        const MELTDOWN = 1 << 1;
        const L1TF = 1 << 2;
        const SSB = 1 << 3;
        const MDS = 1 << 4;
        /// Of MDS, the store buffers only.
        const STORE_BUFFERS = 1 << 5;
        const SRBDS = 1 << 6;
        const MMIO = 1 << 7;
        /// Stale data of MMIO include the random number generator's.
        const SHARED_BUFFERS = 1 << 8;
        /// Intel no longer assesses the model for newer flaws.
        const UNASSESSED = 1 << 9;
        /// Returns use other predictors when the return stack buffer is empty.
        const UNDERFLOW = 1 << 10;
        const GDS = 1 << 11;
        const ITS = 1 << 12;
        const RFDS = 1 << 13;
        /// RFDS if the processor reports itself as hybrid, as server variants do not.
        const RFDS_IF_HYBRID = 1 << 14;
        /// Entries of the return stack buffer have 32 bits.
        const NARROW_RETURNS = 1 << 15;
    }
}

/// One Intel model of family 6, up to a stepping.
pub(super) struct Model {
    model: u8,
    last_stepping: u8,
    /// Its properties.
    pub(super) traits: Traits,
    /// The microcode from which on a retpoline is safe, `None` if it never is.
    pub(super) retpoline_from: Option<u32>,
}

const ALL: u8 = 0xf;

const fn model(model: u8, last_stepping: u8, traits: Traits) -> Model {
    Model { model, last_stepping, traits, retpoline_from: None }
}

/// A model on which a retpoline is safe with this microcode.
const fn retpoline(model: u8, last_stepping: u8, traits: Traits, microcode: u32) -> Model {
    Model { model, last_stepping, traits, retpoline_from: Some(microcode) }
}

/// The union of sets.
macro_rules! all {
    ($($name:ident)|+) => { Traits::empty()$(.union(Traits::$name))+ };
}

const ATOM_IN_ORDER: Traits = all!(IN_ORDER | UNASSESSED);
/// Penryn.
const EARLY: Traits = all!(MELTDOWN | L1TF | SSB | UNASSESSED);
/// Nehalem to Broadwell.
const CORE: Traits = all!(MELTDOWN | L1TF | SSB | MDS);
const CORE_CLIENT: Traits = CORE.union(all!(UNASSESSED));
const CORE_RNG: Traits = CORE_CLIENT.union(all!(SRBDS));
const CORE_SERVER: Traits = CORE.union(all!(MMIO));
const SKYLAKE_SERVER: Traits = CORE.union(all!(MMIO | UNDERFLOW | GDS));
const SKYLAKE: Traits = SKYLAKE_SERVER.union(all!(SRBDS));
/// Silvermont and Airmont.
const SILVERMONT: Traits = all!(MELTDOWN | MDS | STORE_BUFFERS | UNASSESSED | NARROW_RETURNS);
const KNIGHTS: Traits = all!(MELTDOWN | MDS | STORE_BUFFERS | UNASSESSED);
const GOLDMONT: Traits = all!(MELTDOWN | SSB | RFDS);
const TREMONT: Traits = all!(SSB | MMIO | RFDS);
/// Ice Lake of servers.
const ICE_LAKE_SERVER: Traits = all!(SSB | MMIO | GDS | ITS);
const ICE_LAKE: Traits = ICE_LAKE_SERVER.union(all!(SHARED_BUFFERS | UNDERFLOW));
const CASCADE_LAKE: Traits = all!(SSB | MMIO | UNDERFLOW | GDS | ITS);

/// Sorted by model, then by stepping. The first row that includes a stepping holds for it.
const INTEL: &[Model] = &[
    retpoline(0x17, ALL, EARLY, 0),         // Penryn
    retpoline(0x1a, ALL, CORE_CLIENT, 0),   // Nehalem-EP
    retpoline(0x1c, ALL, ATOM_IN_ORDER, 0), // Bonnell
    retpoline(0x1d, ALL, EARLY, 0),         // Dunnington
    retpoline(0x1e, ALL, CORE_CLIENT, 0),   // Nehalem
    retpoline(0x1f, ALL, CORE_CLIENT, 0),
    retpoline(0x25, ALL, CORE_CLIENT, 0), // Westmere
    retpoline(0x26, ALL, ATOM_IN_ORDER, 0),
    retpoline(0x27, ALL, ATOM_IN_ORDER, 0),
    retpoline(0x2a, ALL, CORE_CLIENT, 0), // Sandy Bridge
    retpoline(0x2c, ALL, CORE_CLIENT, 0),
    retpoline(0x2d, ALL, CORE_CLIENT, 0), // Sandy Bridge-EP
    retpoline(0x2e, ALL, CORE_CLIENT, 0),
    retpoline(0x2f, ALL, CORE_CLIENT, 0),
    retpoline(0x35, ALL, ATOM_IN_ORDER, 0),
    retpoline(0x36, ALL, ATOM_IN_ORDER, 0),
    retpoline(0x37, ALL, SILVERMONT, 0),
    retpoline(0x3a, ALL, CORE_RNG, 0),    // Ivy Bridge
    retpoline(0x3c, ALL, CORE_RNG, 0),    // Haswell
    retpoline(0x3d, ALL, CORE_RNG, 0x2a), // Broadwell-U
    retpoline(0x3e, ALL, CORE_CLIENT, 0), // Ivy Bridge-EP
    retpoline(0x3f, ALL, CORE_SERVER, 0), // Haswell-EP
    retpoline(0x45, ALL, CORE_RNG, 0),    // Haswell-U
    retpoline(0x46, ALL, CORE_RNG, 0),    // Haswell with Iris graphics
    retpoline(0x47, ALL, CORE_RNG, 0x1d), // Broadwell with Iris graphics
    retpoline(0x4a, ALL, SILVERMONT, 0),
    retpoline(0x4c, ALL, SILVERMONT, 0), // Airmont
    retpoline(0x4d, ALL, SILVERMONT, 0),
    model(0x4e, ALL, SKYLAKE),                      // Skylake-U
    retpoline(0x4f, ALL, CORE_SERVER, 0x0b00_0021), // Broadwell-EP
    model(0x55, 5, SKYLAKE_SERVER),                 // Skylake-SP
    model(0x55, ALL, CASCADE_LAKE),                 // Cascade Lake, Cooper Lake
    retpoline(0x56, 2, CORE_SERVER, 0x15),          // Broadwell-DE
    retpoline(0x56, 3, CORE_SERVER, 0x0700_0012),
    retpoline(0x56, 4, CORE_SERVER, 0x0f00_0011),
    retpoline(0x56, 5, CORE_SERVER, 0x0e00_0009),
    retpoline(0x57, ALL, KNIGHTS, 0), // Knights Landing
    retpoline(0x5a, ALL, SILVERMONT.union(Traits::SSB), 0),
    retpoline(0x5c, ALL, GOLDMONT, 0), // Goldmont
    retpoline(0x5d, ALL, SILVERMONT, 0),
    model(0x5e, ALL, SKYLAKE),                                       // Skylake
    retpoline(0x5f, ALL, GOLDMONT, 0),                               // Denverton
    model(0x66, ALL, CORE.union(all!(UNDERFLOW | UNASSESSED))),      // Cannon Lake
    model(0x6a, ALL, ICE_LAKE_SERVER),                               // Ice Lake-SP
    model(0x6c, ALL, ICE_LAKE_SERVER),                               // Ice Lake-D
    retpoline(0x75, ALL, SILVERMONT.union(Traits::SSB), 0),          // Lightning Mountain
    model(0x7a, ALL, GOLDMONT),                                      // Goldmont Plus
    model(0x7e, ALL, ICE_LAKE),                                      // Ice Lake-U
    retpoline(0x85, ALL, KNIGHTS, 0),                                // Knights Mill
    model(0x86, ALL, TREMONT),                                       // Snow Ridge
    model(0x8a, ALL, all!(SSB | MMIO | SHARED_BUFFERS | UNDERFLOW)), // Lakefield
    model(0x8c, ALL, all!(SSB | GDS | ITS)),                         // Tiger Lake-U
    model(0x8d, ALL, all!(SSB | GDS | ITS)),                         // Tiger Lake-H
    model(0x8e, 0xb, SKYLAKE),                                       // Kaby Lake-U to Whiskey Lake
    model(0x8e, ALL, CASCADE_LAKE.union(Traits::SRBDS)),             // Whiskey Lake, Comet Lake-U
    model(0x8f, ALL, Traits::SSB),                                   // Sapphire Rapids
    model(0x96, ALL, TREMONT.union(Traits::SHARED_BUFFERS)),         // Elkhart Lake
    model(0x97, ALL, all!(SSB | RFDS_IF_HYBRID)),                    // Alder Lake
    model(0x9a, ALL, all!(SSB | RFDS)),                              // Alder Lake-P
    model(0x9c, ALL, TREMONT.union(Traits::SHARED_BUFFERS)),         // Jasper Lake
    model(0x9e, 0xc, SKYLAKE),                                       // Kaby Lake, Coffee Lake
    model(0x9e, ALL, CASCADE_LAKE.union(Traits::SRBDS)),             // Coffee Lake Refresh
    model(0xa5, ALL, CASCADE_LAKE.union(Traits::SHARED_BUFFERS)),    // Comet Lake
    model(0xa6, 0, CASCADE_LAKE),                                    // Comet Lake-U
    model(0xa6, ALL, CASCADE_LAKE.union(Traits::SHARED_BUFFERS)),
    model(0xa7, ALL, CASCADE_LAKE), // Rocket Lake
    model(0xaa, ALL, Traits::SSB),  // Meteor Lake
    model(0xac, ALL, Traits::SSB),
    model(0xad, ALL, Traits::SSB),                // Granite Rapids
    model(0xae, ALL, Traits::SSB),                // Granite Rapids-D
    model(0xaf, ALL, Traits::SSB),                // Sierra Forest
    model(0xb5, ALL, Traits::SSB),                // Arrow Lake-U
    model(0xb6, ALL, Traits::SSB),                // Grand Ridge
    model(0xb7, ALL, all!(SSB | RFDS_IF_HYBRID)), // Raptor Lake
    model(0xba, ALL, all!(SSB | RFDS)),           // Raptor Lake-P
    model(0xbd, ALL, Traits::SSB),                // Lunar Lake
    model(0xbe, ALL, all!(SSB | RFDS)),           // Alder Lake-N
    model(0xbf, ALL, all!(SSB | RFDS)),           // Raptor Lake-S
    model(0xc5, ALL, Traits::SSB),                // Arrow Lake-H
    model(0xc6, ALL, Traits::SSB),                // Arrow Lake
    model(0xcf, ALL, Traits::SSB),                // Emerald Rapids
    model(0xdd, ALL, Traits::SSB),                // Clearwater Forest
];

/// The row of an Intel processor, if the model is known.
pub(super) fn intel(facts: &Facts) -> Option<&'static Model> {
    let known = facts.vendor == Vendor::Intel && facts.family == 6;
    let holds = |row: &&Model| row.model == facts.model && facts.stepping <= row.last_stepping;
    INTEL.iter().filter(|_| known).find(holds)
}

/// A generation of AMD's cores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Generation {
    /// Families 0xf to 0x12.
    K8,
    /// Families 0x14 to 0x16: Bobcat, Bulldozer, Jaguar.
    Bulldozer,
    /// Zen and Zen+, and Hygon's processors.
    Zen1,
    Zen2,
    Zen3,
    Zen4,
    Zen5,
    /// Any later one.
    Later,
}

/// The generation of an AMD or Hygon processor.
pub(super) const fn amd(facts: &Facts) -> Option<Generation> {
    Some(match (facts.vendor, facts.family, facts.model) {
        (Vendor::Hygon, ..) => Generation::Zen1,
        (Vendor::Amd, 0xf..=0x12, _) => Generation::K8,
        (Vendor::Amd, 0x14..=0x16, _) => Generation::Bulldozer,
        (Vendor::Amd, 0x17, 0x00..=0x2f | 0x50..=0x5f) => Generation::Zen1,
        (Vendor::Amd, 0x17, _) => Generation::Zen2,
        (Vendor::Amd, 0x19, 0x00..=0x0f | 0x20..=0x5f) => Generation::Zen3,
        (Vendor::Amd, 0x19, _) => Generation::Zen4,
        (Vendor::Amd, 0x1a, 0x00..=0x2f | 0x40..=0x4f | 0x60..=0x7f) => Generation::Zen5,
        (Vendor::Amd, ..) => Generation::Later,
        _ => return None,
    })
}

/// Microcode revisions with a fix; a revision belongs to the model of its upper three bytes.
type Revisions = &'static [u32];

/// From these revisions on, Zenbleed is fixed (AMD-SB-7008).
pub(super) const ZENBLEED_FIXED: Revisions = &[0x0830_107a, 0x0860_010b, 0x0860_8105, 0x0870_1032, 0x08a0_0008];

/// From these revisions on, VERW clears what TSA reveals (AMD-SB-7029).
pub(super) const TSA_VERW: Revisions = &[
    0x0a00_11d7,
    0x0a00_123b,
    0x0a00_820d,
    0x0a10_114c,
    0x0a10_124c,
    0x0a10_8109,
    0x0a20_102e,
    0x0a20_1211,
    0x0a40_4108,
    0x0a50_0012,
    0x0a60_120a,
    0x0a70_4108,
    0x0a70_5208,
    0x0a70_8008,
    0x0a70_c008,
    0x0aa0_0216,
];

/// The processor has microcode of a list, or later. Within a hypervisor the revision means nothing.
pub(super) fn has_microcode(facts: &Facts, list: Revisions) -> bool {
    !facts.is_virtual()
        && facts.microcode.is_some_and(|loaded| list.iter().any(|fixed| loaded >> 8 == fixed >> 8 && loaded >= *fixed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        for pair in INTEL.windows(2) {
            let key = |row: &Model| (row.model, row.last_stepping);
            assert!(key(&pair[0]) < key(&pair[1]), "{:#x} before {:#x}", pair[0].model, pair[1].model);
        }
        for list in [ZENBLEED_FIXED, TSA_VERW] {
            assert!(list.is_sorted_by(|one, other| one >> 8 < other >> 8));
        }
    }

    #[test]
    fn a_stepping_selects_the_row() {
        let traits = |model, stepping| {
            let facts = Facts { vendor: Vendor::Intel, family: 6, model, stepping, ..Facts::NOTHING };
            intel(&facts).map(|row| row.traits)
        };
        for (model, last, first, stepping) in [
            (0x55, SKYLAKE_SERVER, CASCADE_LAKE, 5),
            (0x8e, SKYLAKE, CASCADE_LAKE.union(Traits::SRBDS), 0xb),
            (0x9e, SKYLAKE, CASCADE_LAKE.union(Traits::SRBDS), 0xc),
            (0xa6, CASCADE_LAKE, CASCADE_LAKE.union(Traits::SHARED_BUFFERS), 0),
        ] {
            assert_eq!((traits(model, 0), traits(model, stepping)), (Some(last), Some(last)), "{model:#x}");
            assert_eq!((traits(model, stepping + 1), traits(model, 0xf)), (Some(first), Some(first)), "{model:#x}");
        }
        assert_eq!(traits(0x00, 0), None);
        assert!(intel(&Facts { vendor: Vendor::Intel, family: 0x13, model: 1, ..Facts::NOTHING }).is_none());
    }

    #[test]
    fn microcode_is_compared_within_its_model() {
        let with = |revision, virt| {
            let leaf_1_ecx = if virt { super::super::bits::leaf_1_ecx::HYPERVISOR } else { 0 };
            let facts = Facts { vendor: Vendor::Amd, microcode: Some(revision), leaf_1_ecx, ..Facts::NOTHING };
            has_microcode(&facts, ZENBLEED_FIXED)
        };
        assert!(with(0x0830_107a, false) && with(0x0830_10ff, false));
        assert!(!with(0x0830_1079, false) && !with(0x0831_0000, false) && !with(0x0830_107a, true));
        assert!(!has_microcode(&Facts::NOTHING, ZENBLEED_FIXED));
    }
}
