//! Intel's processors.
//!
//! Which model has which flaw: "Affected Processors: Transient Execution Attacks and Related
//! Security Issues by CPU" (Intel), as the lists of Linux 6.17 repeat it. The bits that microcode
//! adds: Intel's pages on each flaw. The choice of a measure: Xen 4.17's `spec_ctrl.c`, and the
//! advisory that a row names. A row differs from Xen where it says so.

use super::super::bits::{capability as cap, leaf_1_ecx, leaf_7_2_edx, leaf_7_ebx, leaf_7_edx};
use super::Flaw::*;
use super::Measure::*;
use super::{BranchControl, CONTROLS, Facts, Row, Thunk, Vendor, processor};

const fn intel(model: u8, stepping: u8) -> Facts {
    processor(Vendor::Intel, 6, model, stepping)
}

/// The processors with Meltdown, with the last microcode.
const fn old(model: u8, stepping: u8, more: u32) -> Facts {
    Facts { leaf_7_edx: CONTROLS | leaf_7_edx::MD_CLEAR | more, ..intel(model, stepping) }
}

/// The processors with enhanced IBRS.
const fn new(model: u8, stepping: u8, capabilities: u64, more: u32) -> Facts {
    let capabilities = capabilities | cap::RDCL_NO | cap::IBRS_ALL | cap::MDS_NO;
    let leaf_7_edx = CONTROLS | leaf_7_edx::MD_CLEAR | leaf_7_edx::ARCH_CAPS | more;
    Facts { leaf_7_edx, arch_capabilities: Some(capabilities), mcu_opt_ctrl: Some(0), ..intel(model, stepping) }
}

/// The processors with `BHI_DIS_S`, from Alder Lake on.
const fn latest(model: u8, stepping: u8, capabilities: u64) -> Facts {
    let immune = cap::TAA_NO | cap::SBDR_SSDP_NO | cap::FBSDP_NO | cap::PSDP_NO | cap::GDS_NO;
    Facts { leaf_7_2_edx: leaf_7_2_edx::BHI_CTRL, ..new(model, stepping, capabilities | immune, 0) }
}

/// Skylake and its relatives with the microcode of August 2023, which has RSBA and GDS_CTRL, and
/// that of June 2021, which hides TSX on client processors.
const fn skylake(model: u8, stepping: u8, more: u32) -> Facts {
    Facts {
        arch_capabilities: Some(cap::RSBA | cap::GDS_CTRL),
        mcu_opt_ctrl: Some(0),
        ..old(model, stepping, leaf_7_edx::ARCH_CAPS | leaf_7_edx::TSX_FORCE_ABORT | more)
    }
}

const fn with_tsx(facts: Facts) -> Facts {
    Facts { leaf_7_ebx: facts.leaf_7_ebx | leaf_7_ebx::RTM, ..facts }
}

/// Before Ivy Bridge.
const fn without_smep(facts: Facts) -> Facts {
    let leaf_1_ecx = facts.leaf_1_ecx & !leaf_1_ecx::RDRAND;
    Facts { leaf_1_ecx, leaf_7_ebx: 0, ..facts }
}

/// Silvermont has no AVX, no SMT and no PCID; Tremont neither of the first two.
const fn atom(facts: Facts) -> Facts {
    let leaf_1_ecx = facts.leaf_1_ecx & !leaf_1_ecx::AVX;
    Facts { leaf_1_ecx, threads_per_core: 1, ..facts }
}

const CLIENT: u32 = leaf_7_edx::SRBDS_CTRL;
const DEFEATURED: u32 = leaf_7_edx::SRBDS_CTRL | leaf_7_edx::RTM_ALWAYS_ABORT;

const SKYLAKE_FLAWS: &[super::Flaw] = &[Meltdown, L1tf, RsbUnderflow, Ssb, Mds, MmioStaleData, Srbds, Gds];
const SKYLAKE_MEASURES: &[super::Measure] =
    &[SplitRoots, RefuseEntries, Ibrs, BarrierAtSwitch, Stibp, GuestControls, Verw, LockRandom, GatherControl];
/// Enhanced IBRS without `BHI_DIS_S`, with GDS and ITS.
const ENHANCED: &[super::Measure] =
    &[Ibrs, AlignBranches, History, BarrierAtSwitch, Stibp, GuestControls, GatherControl];

const fn row(name: &'static str, facts: Facts, branches: BranchControl, thunk: Thunk) -> Row {
    Row { name, facts, affected: &[], unknown: &[], branches, thunk, measures: &[], lacking: &[] }
}

const fn retpoline(name: &'static str, facts: Facts) -> Row {
    row(name, facts, BranchControl::Off, Thunk::Retpoline)
}

const fn legacy(name: &'static str, facts: Facts) -> Row {
    row(name, facts, BranchControl::Legacy, Thunk::Jump)
}

const fn enhanced(name: &'static str, facts: Facts) -> Row {
    row(name, facts, BranchControl::Enhanced, Thunk::Jump)
}

pub(super) const ROWS: &[Row] = &[
    Row {
        // No SMEP, so ring 0 could be sent to user pages by a return. No INVPCID, so no PCID.
        affected: &[Meltdown, L1tf, Ssb, Mds],
        unknown: &[MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, FillReturnStack, BarrierAtSwitch, GuestControls, Verw],
        ..retpoline("Sandy Bridge", without_smep(old(0x2a, 7, 0)))
    },
    Row {
        affected: &[Meltdown, L1tf, Ssb, Mds],
        unknown: &[MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, FillReturnStack],
        lacking: &[SpectreV2, Ssb, Mds],
        ..retpoline("Sandy Bridge with the firmware of 2011", without_smep(intel(0x2a, 7)))
    },
    Row {
        affected: &[Meltdown, L1tf, Ssb, Mds, Srbds],
        unknown: &[MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, BarrierAtSwitch, GuestControls, Verw, LockRandom],
        ..retpoline("Ivy Bridge, microcode 0x21 (XSA-320)", old(0x3a, 9, CLIENT))
    },
    Row {
        affected: &[Meltdown, L1tf, Ssb, Mds],
        unknown: &[MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, BarrierAtSwitch, GuestControls, Verw],
        ..retpoline("Ivy Bridge-EP", old(0x3e, 4, 0))
    },
    Row {
        affected: &[Meltdown, L1tf, Ssb, Mds, Srbds],
        unknown: &[MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, BarrierAtSwitch, GuestControls, Verw, LockRandom],
        ..retpoline("Haswell, microcode 0x28", old(0x3c, 3, CLIENT))
    },
    Row {
        affected: &[Meltdown, L1tf, Ssb, Mds, MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, BarrierAtSwitch, GuestControls, Verw],
        ..retpoline("Haswell-EP", old(0x3f, 2, 0))
    },
    Row {
        // TAA is answered by VERW, as MDS is; TSX stays on.
        affected: &[Meltdown, L1tf, Ssb, Mds, Taa, Srbds],
        unknown: &[MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, BarrierAtSwitch, GuestControls, Verw, LockRandom],
        ..retpoline("Broadwell-U", Facts { microcode: Some(0x2f), ..with_tsx(old(0x3d, 4, CLIENT)) })
    },
    Row {
        affected: &[Meltdown, L1tf, Ssb, Mds, Taa, MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Thunks, BarrierAtSwitch, GuestControls, Verw],
        ..retpoline("Broadwell-EP", Facts { microcode: Some(0x0b00_0040), ..with_tsx(old(0x4f, 1, 0)) })
    },
    Row {
        // Intel's guidance on retpolines: not before 0x0b000021.
        affected: &[Meltdown, L1tf, Ssb, Mds, Taa, MmioStaleData],
        measures: &[SplitRoots, RefuseEntries, Ibrs, BarrierAtSwitch, Stibp, GuestControls],
        lacking: &[Mds, Taa],
        ..legacy(
            "Broadwell-EP, early microcode with IBRS",
            Facts { microcode: Some(0x0b00_0020), leaf_7_edx: CONTROLS, ..with_tsx(intel(0x4f, 1)) },
        )
    },
    Row {
        affected: SKYLAKE_FLAWS,
        measures: SKYLAKE_MEASURES,
        ..legacy("Skylake, microcode 0xf0", skylake(0x5e, 3, DEFEATURED))
    },
    Row {
        // XSA-435: without GDS_CTRL, AVX is withheld.
        affected: &[Meltdown, L1tf, RsbUnderflow, Ssb, Mds, Taa, MmioStaleData, Srbds, Gds],
        measures: &[SplitRoots, RefuseEntries, Thunks, WithoutAvx],
        lacking: &[SpectreV2, RsbUnderflow, Ssb, Mds, Taa, Srbds, Gds],
        ..retpoline("Skylake with the firmware of 2015", with_tsx(intel(0x5e, 3)))
    },
    Row {
        affected: &[Meltdown, L1tf, RsbUnderflow, Ssb, Mds, Taa, MmioStaleData, Gds],
        measures: &[SplitRoots, RefuseEntries, Ibrs, BarrierAtSwitch, Stibp, GuestControls, Verw, GatherControl],
        ..legacy("Skylake-SP", with_tsx(skylake(0x55, 4, 0)))
    },
    Row { affected: SKYLAKE_FLAWS, measures: SKYLAKE_MEASURES, ..legacy("Kaby Lake-U", skylake(0x8e, 9, DEFEATURED)) },
    Row { affected: SKYLAKE_FLAWS, measures: SKYLAKE_MEASURES, ..legacy("Kaby Lake", skylake(0x9e, 9, DEFEATURED)) },
    Row {
        affected: SKYLAKE_FLAWS,
        measures: SKYLAKE_MEASURES,
        ..legacy("Coffee Lake, stepping U0", skylake(0x9e, 0xa, DEFEATURED))
    },
    Row {
        // XSA-305 and XSA-320: with TSX off, nothing reads the random numbers, and they are not
        // locked. Linux keeps them locked.
        affected: &[RsbUnderflow, Bhi, Ssb, Taa, MmioStaleData, Srbds, Gds, Its],
        measures: &[Ibrs, AlignBranches, History, BarrierAtSwitch, Stibp, GuestControls, TsxOff, GatherControl],
        ..enhanced(
            "Coffee Lake Refresh, stepping R0",
            new(0x9e, 0xd, cap::TSX_CTRL | cap::RRSBA | cap::FB_CLEAR | cap::GDS_CTRL, DEFEATURED),
        )
    },
    Row {
        affected: &[RsbUnderflow, Bhi, Ssb, Taa, MmioStaleData, Gds, Its],
        measures: &[Ibrs, AlignBranches, History, BarrierAtSwitch, Stibp, GuestControls, TsxOff, GatherControl],
        ..enhanced(
            "Cascade Lake",
            with_tsx(new(0x55, 7, cap::TSX_CTRL | cap::RRSBA | cap::FB_CLEAR | cap::GDS_CTRL, 0)),
        )
    },
    Row {
        // XSA-305: VERW clears nothing on processors with MDS_NO until microcode adds TSX_CTRL.
        affected: &[RsbUnderflow, Bhi, Ssb, Taa, MmioStaleData, Gds, Its],
        measures: &[Ibrs, AlignBranches, History, BarrierAtSwitch, Stibp, GuestControls, WithoutAvx],
        lacking: &[Taa, Gds],
        ..enhanced("Cascade Lake with the microcode of May 2019", with_tsx(new(0x55, 7, 0, 0)))
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, MmioStaleData, Srbds, Gds, Its],
        measures: ENHANCED,
        ..enhanced("Comet Lake", new(0xa5, 5, cap::RRSBA | cap::FB_CLEAR | cap::GDS_CTRL, CLIENT))
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, MmioStaleData, Srbds, Gds, Its],
        measures: ENHANCED,
        ..enhanced("Ice Lake-U", new(0x7e, 5, cap::TAA_NO | cap::RRSBA | cap::FB_CLEAR | cap::GDS_CTRL, CLIENT))
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, MmioStaleData, Gds, Its],
        measures: ENHANCED,
        ..enhanced(
            "Ice Lake-SP, microcode 0xd0003b9",
            with_tsx(new(0x6a, 6, cap::TAA_NO | cap::RRSBA | cap::FB_CLEAR | cap::GDS_CTRL, 0)),
        )
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, Gds, Its],
        measures: ENHANCED,
        ..enhanced(
            "Tiger Lake",
            new(
                0x8c,
                1,
                cap::TAA_NO | cap::RRSBA | cap::SBDR_SSDP_NO | cap::FBSDP_NO | cap::PSDP_NO | cap::GDS_CTRL,
                0,
            ),
        )
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, MmioStaleData, Gds, Its],
        measures: ENHANCED,
        ..enhanced("Rocket Lake", new(0xa7, 1, cap::TAA_NO | cap::RRSBA | cap::FB_CLEAR | cap::GDS_CTRL, 0))
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, Rfds],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls, Verw],
        ..enhanced("Alder Lake, with the microcode of March 2024", {
            let facts = latest(0x97, 2, cap::RRSBA | cap::RFDS_CLEAR);
            Facts { leaf_7_edx: facts.leaf_7_edx | leaf_7_edx::HYBRID, ..facts }
        })
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb, Rfds],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls],
        lacking: &[Rfds],
        ..enhanced("Raptor Lake, without that microcode", {
            let facts = latest(0xb7, 1, cap::RRSBA);
            Facts { leaf_7_edx: facts.leaf_7_edx | leaf_7_edx::HYBRID, ..facts }
        })
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls],
        ..enhanced("Xeon E-2400 (Raptor Lake without E cores)", latest(0xb7, 1, cap::RRSBA))
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls],
        ..enhanced("Sapphire Rapids", with_tsx(latest(0x8f, 8, cap::RRSBA | cap::RFDS_NO | cap::PBRSB_NO)))
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls],
        ..enhanced("Emerald Rapids", with_tsx(latest(0xcf, 2, cap::RRSBA | cap::RFDS_NO | cap::PBRSB_NO)))
    },
    Row {
        affected: &[Bhi, RsbUnderflow, Ssb],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls],
        ..enhanced("Granite Rapids", with_tsx(latest(0xad, 1, cap::RRSBA | cap::RFDS_NO | cap::ITS_NO)))
    },
    Row {
        affected: &[Bhi, Ssb],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls],
        ..enhanced("Sierra Forest", Facts { threads_per_core: 1, ..latest(0xaf, 3, cap::RFDS_NO | cap::ITS_NO) })
    },
    Row {
        // The return stack buffer has 32-bit entries, so SMEP does not stand in for filling it.
        affected: &[Meltdown, Mds],
        unknown: &[MmioStaleData],
        measures: &[SplitRoots, Thunks, FillReturnStack, BarrierAtSwitch, GuestControls, Verw],
        ..retpoline("Silvermont (Bay Trail)", {
            let facts = atom(old(0x37, 8, 0));
            Facts { leaf_1_ecx: leaf_1_ecx::RDRAND, leaf_7_ebx: leaf_7_ebx::SMEP, ..facts }
        })
    },
    Row {
        affected: &[Meltdown, Ssb, Rfds],
        measures: &[SplitRoots, Thunks, BarrierAtSwitch, GuestControls],
        lacking: &[Rfds],
        ..retpoline("Goldmont (Apollo Lake)", atom(Facts { leaf_7_edx: CONTROLS, ..intel(0x5c, 9) }))
    },
    Row {
        affected: &[Bhi, Ssb, MmioStaleData, Rfds],
        measures: &[Ibrs, History, BarrierAtSwitch, Stibp, GuestControls, Verw],
        ..enhanced("Tremont (Snow Ridge)", atom(new(0x86, 5, cap::TAA_NO | cap::FB_CLEAR | cap::RFDS_CLEAR, 0)))
    },
];
