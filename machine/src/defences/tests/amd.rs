//! AMD's and Hygon's processors.
//!
//! Which generation has which flaw: the bulletins AMD-SB-1037, 1045, 7005, 7007, 7008 and 7029. The
//! choice of a measure: Xen 4.17's `spec_ctrl.c` and `amd.c` with XSA-398, 407, 426, 433, 434, 439
//! and 471. Rows with automatic IBRS follow Linux and AMD's guidance instead of Xen, which uses a
//! retpoline there.

use super::super::bits::{leaf_7_ebx, leaf_e8_ebx as e8, leaf_e21_eax as e21};
use super::Flaw::*;
use super::Measure::*;
use super::{BranchControl, Facts, Row, Thunk, Vendor, processor};

/// A processor whose LFENCE can be made serialising.
const fn amd(family: u16, model: u8, stepping: u8, microcode: u32, leaf_e8_ebx: u32) -> Facts {
    let facts = processor(Vendor::Amd, family, model, stepping);
    Facts { de_cfg: Some(0), microcode: Some(microcode), leaf_e8_ebx, ..facts }
}

/// Zen 3 and later.
const fn recent(facts: Facts, leaf_e21_eax: u32) -> Facts {
    Facts { leaf_e21_eax: leaf_e21_eax | e21::LFENCE_SERIALISES, ..facts }
}

/// Zen 3 and later with the microcode against SRSO.
const fn selective(facts: Facts) -> Facts {
    Facts { selective_barrier: true, ..facts }
}

const ZEN2: u32 = e8::IBPB | e8::IBRS | e8::STIBP | e8::SSBD;
const ZEN3: u32 = ZEN2 | e8::PSFD | e8::BTC_NO;
const ZEN4: u32 = ZEN3 | e8::IBPB_RET;

const fn row(name: &'static str, facts: Facts) -> Row {
    Row {
        name,
        facts,
        affected: &[],
        unknown: &[],
        branches: BranchControl::Off,
        thunk: Thunk::Retpoline,
        measures: &[],
        lacking: &[],
    }
}

const fn automatic(name: &'static str, facts: Facts) -> Row {
    Row { branches: BranchControl::Automatic, thunk: Thunk::Jump, ..row(name, facts) }
}

/// Jaguar and Bulldozer have no SMEP.
const fn without_smep(facts: Facts) -> Facts {
    Facts { leaf_7_ebx: facts.leaf_7_ebx & !leaf_7_ebx::SMEP, threads_per_core: 1, ..facts }
}

pub(super) const ROWS: &[Row] = &[
    Row {
        affected: &[BranchTypeConfusion, Ssb],
        measures: &[Thunks, FillReturnStack, Corrections],
        lacking: &[SpectreV2, BranchTypeConfusion, Ssb],
        ..row("Bulldozer (Opteron 6274)", without_smep(amd(0x15, 1, 2, 0x0600_063e, 0)))
    },
    Row {
        affected: &[BranchTypeConfusion, Ssb],
        measures: &[Thunks, FillReturnStack, Corrections],
        lacking: &[SpectreV2, BranchTypeConfusion, Ssb],
        ..row("Jaguar", without_smep(amd(0x16, 0, 1, 0x0700_010f, 0)))
    },
    Row {
        // SSBD is a bit of LS_CFG only, which guests do not get.
        affected: &[BranchTypeConfusion, Srso, CrossThreadReturns, Ssb, DivLeak],
        measures: &[Thunks, FillReturnStack, BarrierAtEntry, GuestControls, DivScrub, Corrections],
        lacking: &[Ssb],
        ..row("Zen (EPYC 7601)", amd(0x17, 0x01, 2, 0x0800_126e, e8::IBPB))
    },
    Row {
        affected: &[BranchTypeConfusion, Srso, CrossThreadReturns, Ssb, DivLeak],
        measures: &[Thunks, FillReturnStackIdle, DivScrub, Corrections],
        lacking: &[SpectreV2, BranchTypeConfusion, Srso, Ssb],
        ..row("Zen+ (Ryzen 2700) with the firmware of 2017", amd(0x17, 0x08, 2, 0x0800_8204, 0))
    },
    Row {
        affected: &[BranchTypeConfusion, Ssb, DivLeak],
        measures: &[Thunks, FillReturnStack, BarrierAtEntry, GuestControls, DivScrub, Corrections],
        lacking: &[Ssb],
        ..row(
            "Zen with SMT off in the firmware",
            Facts { threads_per_core: 1, ..amd(0x17, 0x01, 2, 0x0800_126e, e8::IBPB) },
        )
    },
    Row {
        affected: &[BranchTypeConfusion, Srso, CrossThreadReturns, Ssb, DivLeak],
        measures: &[Thunks, FillReturnStack, BarrierAtEntry, GuestControls, DivScrub, Corrections],
        lacking: &[Ssb],
        ..row("Hygon Dhyana", Facts { vendor: Vendor::Hygon, ..amd(0x18, 0x00, 1, 0x0080_0901, e8::IBPB) })
    },
    Row {
        affected: &[BranchTypeConfusion, Srso, CrossThreadReturns, Ssb],
        measures: &[Thunks, FillReturnStack, BarrierAtEntry, Stibp, GuestControls, Corrections],
        ..row("Zen 2 (EPYC 7742), with a fix of Zenbleed", amd(0x17, 0x31, 0, 0x0830_107a, ZEN2))
    },
    Row {
        affected: &[BranchTypeConfusion, Srso, CrossThreadReturns, Ssb, Zenbleed],
        measures: &[Thunks, FillReturnStack, BarrierAtEntry, Stibp, GuestControls, Corrections],
        ..row("Zen 2 (Ryzen 3700X), without", amd(0x17, 0x71, 0, 0x0870_1021, ZEN2))
    },
    Row {
        affected: &[Srso, Ssb, Tsa],
        measures: &[Thunks, FillReturnStack, BarrierAtEntry, Stibp, GuestControls, Verw],
        ..row("Zen 3 (EPYC 7763)", selective(recent(amd(0x19, 0x01, 1, 0x0a00_11d7, ZEN3), 0)))
    },
    Row {
        affected: &[Srso, Ssb, Tsa],
        measures: &[Thunks, BarrierAtSwitch, Stibp, GuestControls],
        lacking: &[Srso, Tsa],
        ..row("Zen 3 (EPYC 7763) with the microcode of 2022", recent(amd(0x19, 0x01, 1, 0x0a00_1173, ZEN3), 0))
    },
    Row {
        affected: &[Srso, Ssb, Tsa],
        measures: &[Ibrs, BarrierAtEntry, Stibp, GuestControls, Verw, Corrections],
        ..automatic("Zen 4 (EPYC 9654)", selective(recent(amd(0x19, 0x11, 1, 0x0a10_114c, ZEN4), e21::AUTOMATIC_IBRS)))
    },
    Row {
        affected: &[Srso, Ssb, Tsa],
        measures: &[Ibrs, BarrierAtEntry, Stibp, GuestControls, Corrections],
        lacking: &[Tsa],
        ..automatic(
            "Zen 4 (Ryzen 7700X) with the microcode of 2024",
            selective(recent(amd(0x19, 0x61, 2, 0x0a60_1206, ZEN4), e21::AUTOMATIC_IBRS)),
        )
    },
    Row {
        affected: &[Ssb],
        measures: &[Ibrs, BarrierAtSwitch, Stibp, GuestControls],
        ..automatic(
            "Zen 5 (EPYC 9755)",
            recent(amd(0x1a, 0x02, 1, 0x0b00_2147, ZEN4), e21::AUTOMATIC_IBRS | e21::SRSO_USER_KERNEL_NO),
        )
    },
];
