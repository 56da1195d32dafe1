//! Virtual machines: the hypervisor below decides what is visible. A model that it reports need not
//! be the real one, so a flaw is ruled out only by a bit that says so; Linux and Xen do the same.

use super::super::bits::{capability as cap, leaf_1_ecx, leaf_7_ebx, leaf_7_edx, leaf_e8_ebx as e8};
use super::Flaw::*;
use super::Measure::*;
use super::{BranchControl, CONTROLS, Facts, Row, Thunk, Vendor, processor};

const fn inside(facts: Facts) -> Facts {
    Facts { leaf_1_ecx: facts.leaf_1_ecx | leaf_1_ecx::HYPERVISOR, ..facts }
}

/// QEMU's emulation: no PCID, no controls, one thread per core.
const fn emulated(facts: Facts) -> Facts {
    let leaf_1_ecx = facts.leaf_1_ecx & !leaf_1_ecx::PCID;
    inside(Facts { leaf_1_ecx, threads_per_core: 1, leaf_7_ebx: leaf_7_ebx::SMEP, microcode: Some(1), ..facts })
}

const fn row(name: &'static str, facts: Facts, branches: BranchControl, thunk: Thunk) -> Row {
    Row { name, facts, affected: &[], unknown: &[], branches, thunk, measures: &[], lacking: &[] }
}

pub(super) const ROWS: &[Row] = &[
    Row {
        // AVX is not withheld: the microcode of the machine below decides about GDS.
        affected: &[Meltdown, L1tf, RsbUnderflow, Ssb, Mds, Taa, MmioStaleData, Gds],
        unknown: &[Bhi, Srbds, Rfds, Its],
        measures: &[SplitRoots, RefuseEntries, Thunks, AlignBranches, History],
        lacking: &[SpectreV2, RsbUnderflow, Ssb, Mds, Taa, Srbds, Rfds, Gds],
        ..row(
            "a cloud machine of 2017 on Skylake-SP that hides all controls",
            inside(Facts {
                leaf_7_ebx: leaf_7_ebx::SMEP | leaf_7_ebx::INVPCID | leaf_7_ebx::RTM,
                ..processor(Vendor::Intel, 6, 0x55, 4)
            }),
            BranchControl::Off,
            Thunk::Retpoline,
        )
    },
    Row {
        // ARCH_CAPABILITIES is hidden, so Ice Lake is treated as a processor with Meltdown.
        affected: &[Ssb, MmioStaleData, Gds, Its],
        unknown: &[Meltdown, L1tf, Bhi, RsbUnderflow, Mds, Srbds, Rfds],
        measures: &[
            SplitRoots,
            RefuseEntries,
            Ibrs,
            AlignBranches,
            History,
            BarrierAtSwitch,
            Stibp,
            GuestControls,
            Verw,
        ],
        lacking: &[Srbds, Rfds, Gds],
        ..row(
            "a cloud machine on Ice Lake-SP that hides ARCH_CAPABILITIES",
            inside(Facts { leaf_7_edx: CONTROLS | leaf_7_edx::MD_CLEAR, ..processor(Vendor::Intel, 6, 0x6a, 6) }),
            BranchControl::Legacy,
            Thunk::Jump,
        )
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, MmioStaleData, Its],
        unknown: &[Srbds],
        measures: &[Ibrs, AlignBranches, History, BarrierAtSwitch, Stibp, GuestControls],
        lacking: &[Srbds],
        ..row(
            "a cloud machine on Ice Lake-SP that passes ARCH_CAPABILITIES",
            inside(Facts {
                leaf_7_edx: CONTROLS | leaf_7_edx::MD_CLEAR | leaf_7_edx::ARCH_CAPS,
                arch_capabilities: Some(
                    cap::RDCL_NO
                        | cap::IBRS_ALL
                        | cap::MDS_NO
                        | cap::TAA_NO
                        | cap::FB_CLEAR
                        | cap::RRSBA
                        | cap::GDS_NO
                        | cap::RFDS_NO,
                ),
                ..processor(Vendor::Intel, 6, 0x6a, 6)
            }),
            BranchControl::Enhanced,
            Thunk::Jump,
        )
    },
    Row {
        // BTC_NO and the selective barrier are hidden. The barrier at entry answers both flaws as
        // far as the processor can.
        affected: &[Srso, Ssb, Tsa],
        unknown: &[BranchTypeConfusion],
        measures: &[Thunks, FillReturnStack, BarrierAtEntry, Stibp, GuestControls],
        lacking: &[Srso, Tsa],
        ..row(
            "a cloud machine on Zen 3 with the first controls only",
            inside(Facts {
                leaf_e8_ebx: e8::IBPB | e8::IBRS | e8::STIBP | e8::SSBD,
                ..processor(Vendor::Amd, 0x19, 0x01, 1)
            }),
            BranchControl::Off,
            Thunk::Retpoline,
        )
    },
    Row {
        affected: &[Meltdown, L1tf, Ssb, Mds, Srbds],
        unknown: &[Bhi, RsbUnderflow, MmioStaleData, Rfds, Gds, Its],
        measures: &[SplitRoots, RefuseEntries, Thunks, AlignBranches, History],
        lacking: &[SpectreV2, RsbUnderflow, Ssb, Mds, Srbds, Rfds, Gds],
        ..row(
            "QEMU -cpu Haswell, emulated",
            emulated(processor(Vendor::Intel, 6, 0x3c, 4)),
            BranchControl::Off,
            Thunk::Retpoline,
        )
    },
    Row {
        // A processor of family 0xf, older than all other AMD rows.
        affected: &[BranchTypeConfusion],
        measures: &[Thunks],
        lacking: &[SpectreV2, BranchTypeConfusion],
        ..row(
            "QEMU -cpu max, emulated",
            emulated(processor(Vendor::Amd, 0xf, 0x6b, 1)),
            BranchControl::Off,
            Thunk::Retpoline,
        )
    },
    Row {
        affected: &[BranchTypeConfusion, Srso, Ssb, DivLeak],
        measures: &[Thunks, DivScrub],
        lacking: &[SpectreV2, BranchTypeConfusion, Srso, Ssb],
        ..row(
            "QEMU -cpu EPYC, emulated",
            emulated(processor(Vendor::Amd, 0x17, 0x01, 2)),
            BranchControl::Off,
            Thunk::Retpoline,
        )
    },
];
