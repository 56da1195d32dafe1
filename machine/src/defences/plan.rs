//! The plan: what Paravane does against the flaws of a processor, as a pure function of facts and
//! options.
//!
//! The choices are those of Xen 4.17 with its later security fixes, except where a comment gives a
//! reason.

use super::bits::{capability, leaf_1_ecx, leaf_7_2_edx, leaf_7_ebx, leaf_7_edx, leaf_e8_ebx, leaf_e21_eax, spec_ctrl};
use super::errata::{self, Corrections};
use super::facts::{Facts, Vendor};
use super::flaws::Flaw;
use super::guest::GuestView;
use super::measures::{Measure, Measures};
use super::models::{self, Generation, Traits};
use crate::boot::options::{Choices, HistorySequence, PcidUse, PerDomain, Thunk, Tsx};

/// A setting for the initial domain and for the others.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Domains {
    /// For the initial domain.
    pub dom0: bool,
    /// For all other domains.
    pub domu: bool,
}

impl Domains {
    fn chosen(choice: PerDomain, dom0: bool, domu: bool) -> Self {
        Self { dom0: choice.dom0.unwrap_or(dom0), domu: choice.domu.unwrap_or(domu) }
    }

    /// Any domain has it.
    pub const fn any(self) -> bool {
        self.dom0 || self.domu
    }
}

/// How the use of a guest's branch predictions in ring 0 is restricted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum BranchControl {
    /// Not at all.
    #[default]
    Off,
    /// IBRS is set at each entry and restored at each return.
    Legacy,
    /// Enhanced IBRS is set once.
    Enhanced,
    /// Automatic IBRS is set once, in EFER.
    Automatic,
}

/// How ring 0 is protected against the history of a guest's branches.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum HistoryControl {
    /// Not at all.
    #[default]
    Off,
    /// `BHI_DIS_S` is set once.
    Disabled,
    /// A sequence clears the history at entry.
    Cleared(HistorySequence, Domains),
}

/// The state of the microcode's mitigation of GDS.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum GatherControl {
    /// As found.
    #[default]
    AsFound,
    /// On.
    On,
    /// Off.
    Off,
    /// There is none, so guests get no AVX.
    WithoutAvx,
}

/// What becomes of transactional memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TsxControl {
    /// It stays as found.
    #[default]
    AsFound,
    /// It is switched on.
    On,
    /// It is switched off, by TSX_CTRL or TSX_FORCE_ABORT.
    Off,
}

/// What Paravane does against the flaws of the processor. All CPUs do the same.
///
/// L1D_FLUSH is not part of it: it protects against guests that fill the cache after a VM entry,
/// and PV guests are kept from L1TF by their page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Domains that run with root tables that do not map Paravane's memory.
    pub split_roots: Domains,
    /// Root tables have process-context identifiers.
    pub pcid: Domains,
    /// Domains whose page-table entries must not name memory unless they are present.
    pub refuse_entries: Domains,
    /// VERW before each return to a guest.
    pub verw: bool,
    /// VERW before a CPU becomes idle, since another thread then gets its share of the buffers.
    pub verw_idle: bool,
    /// How a guest's predictions are kept from ring 0.
    pub branches: BranchControl,
    /// How Paravane's indirect branches are executed.
    pub thunk: Thunk,
    /// Indirect branches and returns must be in the upper halves of cache lines.
    pub align_branches: bool,
    /// The return stack buffer is overwritten at each entry.
    pub fill_return_stack: bool,
    /// The return stack buffer is overwritten before a CPU becomes idle.
    pub fill_return_stack_idle: bool,
    /// How ring 0 is protected against the history of branches.
    pub history: HistoryControl,
    /// IBPB when a vCPU of another domain is loaded.
    pub barrier_at_switch: bool,
    /// IBPB at entry from these domains.
    pub barrier_at_entry: Domains,
    /// IBPB leaves the return stack buffer, which must be overwritten after it.
    pub barrier_keeps_returns: bool,
    /// STIBP while Paravane runs.
    pub stibp: bool,
    /// SSBD while Paravane runs.
    pub ssbd: bool,
    /// PSFD while Paravane runs.
    pub psfd: bool,
    /// Guests use SPEC_CTRL and PRED_CMD.
    pub guest_controls: bool,
    /// The mitigation of GDS by microcode.
    pub gather: GatherControl,
    /// The mitigation of SRBDS by microcode, if it can be chosen.
    pub lock_random: Option<bool>,
    /// Transactional memory.
    pub tsx: TsxControl,
    /// A division before each return to a guest.
    pub div_scrub: bool,
    /// One thread per core is used.
    pub smt_off: bool,
    /// Corrections in MSRs.
    pub corrections: Corrections,
    /// What guests are told.
    pub guest: GuestView,
}

/// Decides what to do on a processor with these facts, given these options.
pub fn plan(facts: &Facts, choices: &Choices) -> Plan {
    let spec = &choices.spec_ctrl;
    let smt_off = choices.smt == Some(false);
    let has_smt = facts.threads_per_core > 1 && !smt_off;
    let split_roots = {
        let by_default = facts.may_have(Flaw::Meltdown);
        Domains::chosen(choices.xpti, by_default, by_default)
    };
    let tsx = tsx(facts, choices);
    let verw = verw(facts, choices, tsx);
    let (branches, thunk) = branches(facts, choices);
    let barrier_at_entry = barrier_at_entry(facts, choices);
    let barrier = facts.has_ibpb();
    let full_returns = facts.leaf_7_ebx & leaf_7_ebx::SMEP != 0 && !facts.has_trait(Traits::NARROW_RETURNS);
    let barrier_keeps_returns = facts.is_amd() && barrier && !facts.leaf_e8_ebx(leaf_e8_ebx::IBPB_RET);
    // A guest's return addresses are in user pages, which SMEP keeps ring 0 from executing. The
    // address that follows the last one of a guest is not executable either.
    let needs_returns = !full_returns || barrier_keeps_returns && barrier_at_entry.any();
    let fill_return_stack = spec.rsb.unwrap_or(needs_returns);
    let implied_stibp = matches!(branches, BranchControl::Legacy | BranchControl::Enhanced);
    let mut plan = Plan {
        split_roots,
        pcid: pcid(facts, choices.pcid, split_roots),
        refuse_entries: Domains::chosen(choices.pv_l1tf, false, facts.may_have(Flaw::L1tf)),
        verw,
        verw_idle: verw
            && has_smt
            && [Flaw::Mds, Flaw::MmioStaleData, Flaw::Tsa].into_iter().any(|flaw| facts.may_have(flaw)),
        branches,
        thunk,
        align_branches: spec.thunk.is_none() && facts.may_have(Flaw::Its),
        fill_return_stack,
        fill_return_stack_idle: !fill_return_stack
            && spec.rsb != Some(false)
            && has_smt
            && facts.may_have(Flaw::CrossThreadReturns),
        history: history(facts, choices),
        // Predictions that are discarded at entry cannot reach the next domain.
        barrier_at_switch: barrier && spec.ibpb.unwrap_or(!barrier_at_entry.domu),
        barrier_at_entry,
        barrier_keeps_returns,
        stibp: facts.has_stibp() && spec.stibp.unwrap_or(implied_stibp || facts.is_amd()),
        ssbd: facts.has_ssbd() && spec.ssbd,
        psfd: facts.has_psfd() && spec.psfd.unwrap_or(spec.ssbd),
        guest_controls: spec.guest_controls && (facts.has_ibrs() || facts.has_ibpb() || facts.has_ssbd()),
        gather: gather(facts, choices),
        lock_random: lock_random(facts, choices, tsx),
        tsx,
        div_scrub: spec.div_scrub.unwrap_or(facts.may_have(Flaw::DivLeak)),
        smt_off,
        corrections: errata::corrections(facts),
        guest: GuestView::NOTHING,
    };
    plan.guest = GuestView::of(facts, &plan);
    plan
}

/// INVPCID is needed to flush the contexts that are not in use.
fn pcid(facts: &Facts, choice: PcidUse, split: Domains) -> Domains {
    let possible = facts.leaf_1_ecx & leaf_1_ecx::PCID != 0 && facts.leaf_7_ebx & leaf_7_ebx::INVPCID != 0;
    let of = |split| {
        possible
            && match choice {
                PcidUse::Never => false,
                PcidUse::Always => true,
                PcidUse::SplitRoots => split,
                PcidUse::OneRoot => !split,
            }
    };
    Domains { dom0: of(split.dom0), domu: of(split.domu) }
}

fn tsx(facts: &Facts, choices: &Choices) -> TsxControl {
    let can = facts.can(capability::TSX_CTRL) || facts.leaf_7_edx(leaf_7_edx::TSX_FORCE_ABORT);
    match choices.tsx {
        _ if !can => TsxControl::AsFound,
        Tsx::AsFound => TsxControl::AsFound,
        Tsx::On => TsxControl::On,
        Tsx::Off => TsxControl::Off,
        // Where VERW is needed for MDS, it also answers TAA.
        Tsx::Automatic if facts.can(capability::TSX_CTRL) && aborts_leak(facts) => TsxControl::Off,
        Tsx::Automatic => TsxControl::AsFound,
    }
}

/// TAA reveals what VERW for MDS does not clear.
fn aborts_leak(facts: &Facts) -> bool {
    facts.may_have(Flaw::Taa) && !facts.may_have(Flaw::Mds)
}

/// VERW clears buffers on this processor.
pub(super) fn verw_clears(facts: &Facts) -> bool {
    facts.leaf_7_edx(leaf_7_edx::MD_CLEAR)
        || facts.leaf_e21_eax(leaf_e21_eax::VERW_CLEAR)
        || facts.may_have(Flaw::Tsa) && models::has_microcode(facts, models::TSA_VERW)
}

fn verw(facts: &Facts, choices: &Choices, tsx: TsxControl) -> bool {
    if !verw_clears(facts) {
        return false;
    }
    let device_memory =
        choices.spec_ctrl.unpriv_mmio && facts.may_have(Flaw::MmioStaleData) && facts.can(capability::FB_CLEAR);
    let needed = facts.may_have(Flaw::Mds)
        || facts.may_have(Flaw::Rfds) && facts.can(capability::RFDS_CLEAR)
        || facts.may_have(Flaw::Tsa)
        // Without TSX_CTRL, VERW clears nothing on processors that report MDS_NO.
        || aborts_leak(facts) && facts.can(capability::TSX_CTRL) && tsx != TsxControl::Off
        || device_memory;
    choices.spec_ctrl.verw.unwrap_or(needed)
}

/// Whether a retpoline keeps predictions from a branch.
fn retpoline_is_safe(facts: &Facts) -> bool {
    if facts.is_amd() {
        return true;
    }
    // A return is predicted otherwise after an underflow, or with enhanced IBRS. A hypervisor that
    // does not tell may move the machine to such a processor.
    if facts.vendor != Vendor::Intel || facts.may_have(Flaw::RsbUnderflow) || facts.has_enhanced_ibrs() {
        return false;
    }
    if facts.arch_capabilities.is_some() {
        return true;
    }
    let from = models::intel(facts).and_then(|row| row.retpoline_from);
    from.is_some_and(|from| from == 0 || facts.microcode.is_some_and(|loaded| loaded >= from))
}

fn branches(facts: &Facts, choices: &Choices) -> (BranchControl, Thunk) {
    let spec = &choices.spec_ctrl;
    let best = if facts.leaf_e21_eax(leaf_e21_eax::AUTOMATIC_IBRS) {
        BranchControl::Automatic
    } else if facts.has_enhanced_ibrs() {
        BranchControl::Enhanced
    } else if facts.has_ibrs() {
        BranchControl::Legacy
    } else {
        BranchControl::Off
    };
    let safe = retpoline_is_safe(facts);
    match (spec.ibrs, spec.thunk) {
        (None, None) if !facts.may_have(Flaw::SpectreV2) => (BranchControl::Off, Thunk::Jump),
        // Setting a bit once is cheaper than a retpoline, also on AMD's processors.
        (None, None) if matches!(best, BranchControl::Enhanced | BranchControl::Automatic) => (best, Thunk::Jump),
        (None, None) if safe || best == BranchControl::Off => (BranchControl::Off, Thunk::Retpoline),
        (None, None) => (best, Thunk::Jump),
        (ibrs, thunk) => {
            let branches = if ibrs == Some(true) { best } else { BranchControl::Off };
            let default = if branches == BranchControl::Off { Thunk::Retpoline } else { Thunk::Jump };
            (branches, thunk.unwrap_or(default))
        }
    }
}

fn history(facts: &Facts, choices: &Choices) -> HistoryControl {
    let spec = &choices.spec_ctrl;
    let affected = facts.may_have(Flaw::Bhi);
    if facts.leaf_7_2_edx & leaf_7_2_edx::BHI_CTRL != 0 && spec.bhi_dis_s.unwrap_or(affected) {
        return HistoryControl::Disabled;
    }
    let loops = HistorySequence::Short;
    let sequence = match spec.sequence {
        None if affected => loops,
        None | Some(HistorySequence::Off) => return HistoryControl::Off,
        // Without any trace of transactions, their instructions do not exist.
        Some(HistorySequence::Tsx)
            if !facts.has_tsx() && !facts.leaf_7_edx(leaf_7_edx::RTM_ALWAYS_ABORT | leaf_7_edx::TSX_FORCE_ABORT) =>
        {
            loops
        }
        Some(sequence) => sequence,
    };
    let domains = Domains { dom0: spec.bhb_entry_dom0, domu: spec.bhb_entry.unwrap_or(affected) };
    if domains.any() { HistoryControl::Cleared(sequence, domains) } else { HistoryControl::Off }
}

/// IBPB also discards the types of branches, so that SRSO has nothing to use.
pub(super) fn barrier_covers_types(facts: &Facts) -> bool {
    let synthesised = match models::amd(facts) {
        // A hypervisor reports it.
        _ if facts.is_virtual() => false,
        Some(generation) if generation <= Generation::Zen2 => true,
        Some(Generation::Zen3 | Generation::Zen4) => facts.selective_barrier,
        _ => false,
    };
    facts.has_ibpb() && (synthesised || facts.leaf_e21_eax(leaf_e21_eax::IBPB_BRTYPE))
}

fn barrier_at_entry(facts: &Facts, choices: &Choices) -> Domains {
    let spec = &choices.spec_ctrl;
    if !facts.has_ibpb() {
        return Domains::default();
    }
    let needed = facts.may_have(Flaw::BranchTypeConfusion) || facts.may_have(Flaw::Srso) && barrier_covers_types(facts);
    Domains { dom0: spec.ibpb_entry_dom0, domu: spec.ibpb_entry.unwrap_or(needed) }
}

fn gather(facts: &Facts, choices: &Choices) -> GatherControl {
    let affected = facts.may_have(Flaw::Gds);
    let choice = choices.spec_ctrl.gds_mit;
    if facts.can(capability::GDS_CTRL) && !facts.can(capability::GDS_NO) {
        return match choice {
            _ if facts.mcu_opt_ctrl.is_none() || facts.gather_lock().is_some() => GatherControl::AsFound,
            Some(false) => GatherControl::Off,
            _ => GatherControl::On,
        };
    }
    // A hypervisor below has microcode with the mitigation, which is on unless it chose otherwise,
    // or has none, and then guests of others read our registers anyway. So AVX is withheld on bare
    // metal only; Xen withholds it in both cases.
    let certain = affected && !facts.is_virtual() && models::intel(facts).is_some();
    if certain && choice != Some(false) { GatherControl::WithoutAvx } else { GatherControl::AsFound }
}

/// Random numbers are revealed by MDS, TAA or device memory only.
fn lock_random(facts: &Facts, choices: &Choices, tsx: TsxControl) -> Option<bool> {
    let readable = facts.may_have(Flaw::Mds)
        || facts.may_have(Flaw::Taa) && tsx != TsxControl::Off
        || choices.spec_ctrl.unpriv_mmio;
    facts.leaf_7_edx(leaf_7_edx::SRBDS_CTRL).then(|| choices.spec_ctrl.srb_lock.unwrap_or(readable))
}

impl Plan {
    /// Paravane's value of SPEC_CTRL.
    pub const fn spec_ctrl(&self) -> u64 {
        let ibrs = matches!(self.branches, BranchControl::Legacy | BranchControl::Enhanced);
        let history = matches!(self.history, HistoryControl::Disabled);
        (ibrs as u64 * spec_ctrl::IBRS)
            | (self.stibp as u64 * spec_ctrl::STIBP)
            | (self.ssbd as u64 * spec_ctrl::SSBD)
            | (self.psfd as u64 * spec_ctrl::PSFD)
            | (history as u64 * spec_ctrl::BHI_DIS_S)
    }

    /// The bits of SPEC_CTRL that are set while guests run, whatever they have chosen. With IBRS at
    /// each entry, IBRS and STIBP are set only while Paravane runs: such processors pay for them
    /// with every branch.
    pub const fn spec_ctrl_of_guests(&self) -> u64 {
        let at_entry = match self.branches {
            BranchControl::Legacy => spec_ctrl::IBRS | spec_ctrl::STIBP,
            _ => 0,
        };
        self.spec_ctrl() & !at_entry
    }

    /// The measures that the plan wants.
    pub fn measures(&self) -> Measures {
        let mut measures = Measures::default();
        for (measure, wanted) in [
            (Measure::SplitRoots, self.split_roots.any()),
            (Measure::RefuseEntries, self.refuse_entries.any()),
            (Measure::Ibrs, self.branches != BranchControl::Off),
            (Measure::Thunks, self.thunk != Thunk::Jump),
            (Measure::AlignBranches, self.align_branches),
            (Measure::FillReturnStack, self.fill_return_stack),
            (Measure::FillReturnStackIdle, self.fill_return_stack_idle),
            (Measure::History, self.history != HistoryControl::Off),
            (Measure::BarrierAtSwitch, self.barrier_at_switch),
            (Measure::BarrierAtEntry, self.barrier_at_entry.any()),
            (Measure::Stibp, self.stibp),
            (Measure::GuestControls, self.guest_controls),
            (Measure::Verw, self.verw),
            (Measure::TsxOff, self.tsx == TsxControl::Off),
            (Measure::LockRandom, self.lock_random == Some(true)),
            (Measure::GatherControl, self.gather == GatherControl::On),
            (Measure::WithoutAvx, self.gather == GatherControl::WithoutAvx),
            (Measure::DivScrub, self.div_scrub),
            (Measure::Corrections, !self.corrections.is_empty()),
            (Measure::SmtOff, self.smt_off),
        ] {
            measures.add(measure, wanted);
        }
        measures
    }
}
