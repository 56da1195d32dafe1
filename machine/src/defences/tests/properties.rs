//! Properties of the plan on processors and options that do not exist.

use core::cell::Cell;
use std::string::ToString;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::bits::{leaf_7_2_edx, leaf_e21_eax, spec_ctrl};
use super::*;
use crate::boot::options::{Choices, Options};

prop_compose! {
    fn facts()(
        vendor in prop_oneof![Just(Vendor::Intel), Just(Vendor::Amd), Just(Vendor::Hygon), Just(Vendor::Other)],
        // Mostly families and models of the tables.
        (family, model, stepping) in (
            prop_oneof![Just(6u16), 0xfu16..0x1c, any::<u16>()],
            any::<u8>(),
            0u8..16,
        ),
        [leaf_1_ecx, leaf_7_ebx, leaf_7_edx, leaf_7_2_edx] in any::<[u32; 4]>(),
        [leaf_e8_ebx, leaf_e21_eax, leaf_e21_ecx] in any::<[u32; 3]>(),
        [arch_capabilities, mcu_opt_ctrl, de_cfg] in any::<[Option<u64>; 3]>(),
        microcode in any::<Option<u32>>(),
        selective_barrier in any::<bool>(),
        threads_per_core in any::<u16>(),
    ) -> Facts {
        // MSRs are read from the processors that have them.
        let [arch_capabilities, mcu_opt_ctrl] =
            [arch_capabilities, mcu_opt_ctrl].map(|value| value.filter(|_| vendor == Vendor::Intel));
        Facts {
            vendor, family, model, stepping, leaf_1_ecx, leaf_7_ebx, leaf_7_edx, leaf_7_2_edx, leaf_e8_ebx,
            leaf_e21_eax, leaf_e21_ecx, arch_capabilities, mcu_opt_ctrl, de_cfg, microcode, selective_barrier,
            threads_per_core,
        }
    }
}

/// Command lines of parts that exist, in any order.
fn line() -> impl Strategy<Value = std::string::String> {
    let word = proptest::sample::select(std::vec![
        "xpti",
        "xpti=no",
        "xpti=dom0",
        "pcid",
        "pcid=no-xpti",
        "pv-l1tf",
        "pv-l1tf=no",
        "smt=0",
        "tsx",
        "tsx=no",
        "spec-ctrl=no",
        "spec-ctrl=no-xen",
        "spec-ctrl=ibrs",
        "spec-ctrl=no-ibrs",
        "spec-ctrl=ibpb",
        "spec-ctrl=ibpb-entry",
        "spec-ctrl=bhb-entry",
        "spec-ctrl=bhb-seq=tsx",
        "spec-ctrl=bhb-seq=none",
        "spec-ctrl=bhi-dis-s",
        "spec-ctrl=verw",
        "spec-ctrl=stibp,ssbd,psfd",
        "spec-ctrl=gds-mit,srb-lock",
        "spec-ctrl=no-gds-mit,no-srb-lock",
        "spec-ctrl=unpriv-mmio",
        "spec-ctrl=bti-thunk=jmp",
        "spec-ctrl=rsb",
        "spec-ctrl=div-scrub",
        "spec-ctrl=msr-sc=no",
    ]);
    vec(word, 0..6).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 1000 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_planned_that_the_processor_lacks(facts in facts(), line in line()) {
        let plan = plan(&facts, &Options::parse(&line).defences);
        let needs = |planned: bool, there: bool| !planned || there;
        prop_assert!(needs(matches!(plan.branches, BranchControl::Legacy | BranchControl::Enhanced), facts.has_ibrs()));
        prop_assert!(needs(
            plan.branches == BranchControl::Automatic,
            facts.leaf_e21_eax(leaf_e21_eax::AUTOMATIC_IBRS)
        ));
        prop_assert!(needs(plan.barrier_at_switch || plan.barrier_at_entry.any(), facts.has_ibpb()));
        prop_assert!(needs(plan.stibp, facts.has_stibp()));
        prop_assert!(needs(plan.ssbd, facts.has_ssbd()));
        prop_assert!(needs(plan.psfd, facts.has_psfd()));
        prop_assert!(needs(
            plan.history == HistoryControl::Disabled,
            facts.leaf_7_2_edx & leaf_7_2_edx::BHI_CTRL != 0
        ));
        prop_assert!(needs(plan.verw, super::super::plan::verw_clears(&facts)));
        prop_assert!(needs(plan.lock_random.is_some(), facts.leaf_7_edx(leaf_7_edx::SRBDS_CTRL)));
        prop_assert!(needs(plan.pcid.any(), facts.leaf_1_ecx & leaf_1_ecx::PCID != 0));
        prop_assert!(needs(plan.pcid.any(), facts.leaf_7_ebx & leaf_7_ebx::INVPCID != 0));
        // No value of a guest makes the processor refuse SPEC_CTRL, or misses what is required.
        let (control, lacking) = (GuestSpecCtrl::of(&facts, &plan), !(facts.spec_ctrl_bits() | spec_ctrl::BHI_DIS_S));
        prop_assert_eq!(control.value(u64::MAX) & lacking, 0);
        prop_assert_eq!(control.value(0), plan.spec_ctrl_of_guests());
        prop_assert_eq!(control.value(u64::MAX) & control.required, control.required);
        if control.at_entry {
            prop_assert_eq!(control.required & (spec_ctrl::IBRS | spec_ctrl::STIBP), 0);
        } else {
            prop_assert_eq!(control.required, plan.spec_ctrl(), "nothing to write at entry");
        }
        // Guests see no control that the processor lacks.
        let controls = CONTROLS | leaf_7_edx::MD_CLEAR;
        prop_assert_eq!(plan.guest.leaf_7_edx & controls & !facts.leaf_7_edx, 0);
        prop_assert_eq!(plan.guest.leaf_e8_ebx & !facts.leaf_e8_ebx, 0);
    }

    #[test]
    fn bits_of_msrs_follow_the_plan(facts in facts(), line in line(), register in any::<u64>()) {
        let plan = plan(&facts, &Options::parse(&line).defences);
        let mut made = Measures::default();
        for change in writes(&plan, &facts) {
            prop_assert_eq!(change.set & change.clear, 0, "{:?}", change);
            prop_assert!(change.measures.without(plan.measures()).is_empty(), "{:?}", change);
            made = made.or(change.measures);
            let (found, changed) = (Cell::new(register), change.set | change.clear);
            let write = |_, value| { found.set(value); true };
            prop_assert!(change.make(|_| Some(found.get()), write));
            prop_assert_eq!(found.get() & changed, change.set);
            prop_assert_eq!(found.get() & !changed, register & !changed, "other bits stay");
        }
        let cleared = matches!(plan.history, HistoryControl::Cleared(..));
        let not_bits = if cleared { Measures::of(&[Measure::History]) } else { Measures::default() };
        let bits = Measures::of(&[
            Measure::Ibrs,
            Measure::Stibp,
            Measure::History,
            Measure::TsxOff,
            Measure::LockRandom,
            Measure::GatherControl,
            Measure::Corrections,
        ]);
        prop_assert_eq!(made, plan.measures().and(bits).without(not_bits));
    }

    #[test]
    fn with_all_options_off_nothing_is_left_of_the_plan(facts in facts()) {
        let choices = Options::parse("spec-ctrl=no xpti=no pv-l1tf=no").defences;
        let mut plan = plan(&facts, &choices);
        prop_assert_eq!(plan.spec_ctrl(), 0);
        prop_assert!(!matches!(plan.gather, GatherControl::On | GatherControl::WithoutAvx));
        prop_assert!(plan.lock_random != Some(true));
        // Corrections of errata are no defences, and are made in any case.
        plan.corrections = Corrections::empty();
        prop_assert!(plan.measures().is_empty(), "{:?}", plan);
        prop_assert_eq!(plan.guest.leaf_7_edx & CONTROLS, 0);
    }

    #[test]
    fn any_facts_and_options_give_a_report(facts in facts(), line in line()) {
        let choices = Options::parse(&line).defences;
        let plan = plan(&facts, &choices);
        for finding in findings(&facts, &choices, &plan) {
            let line = finding.line(&plan).to_string();
            prop_assert!(line.len() > finding.flaw.name().len());
            prop_assert!(!(finding.in_force != finding.measures && finding.state() == State::Defended));
            prop_assert_eq!(finding.state() == State::NotAffected, !facts.may_have(finding.flaw));
        }
    }

    #[test]
    fn the_plan_without_options_answers_or_explains_every_flaw(facts in facts()) {
        let plan = plan(&facts, &Choices::DEFAULT);
        for finding in findings(&facts, &Choices::DEFAULT, &plan) {
            let answered = !finding.measures.is_empty() || finding.note.is_some();
            let explained = finding.left().any(|left| matches!(left, Left::Microcode | Left::Hidden | Left::Locked));
            prop_assert!(!facts.may_have(finding.flaw) || answered || explained, "{:?}", finding);
        }
    }
}
