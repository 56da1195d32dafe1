//! `spec-ctrl=`: the parts of the list, by Xen's names.

use core::fmt;

use super::defences::{name_and_value, yes_or_no};
use super::value::boolean;

/// How Paravane's indirect branches are executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thunk {
    /// As they are.
    Jump,
    /// After an LFENCE.
    Lfence,
    /// As a return that does not use the branch target buffer.
    Retpoline,
}

/// The sequence that clears the branch history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistorySequence {
    /// None.
    Off,
    /// A short loop.
    Short,
    /// An aborted transaction.
    Tsx,
    /// A long loop.
    Long,
}

/// The parts of `spec-ctrl=`; `None` lets the processor decide. Parts that concern hardware
/// virtualisation only are not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpecCtrl {
    /// `msr-sc`: guests may use SPEC_CTRL and PRED_CMD.
    pub guest_controls: bool,
    /// `rsb`: the return stack buffer is overwritten at entry.
    pub rsb: Option<bool>,
    /// `verw`: buffers are cleared on the way to a guest.
    pub verw: Option<bool>,
    /// `ibpb-entry`: branch predictions are discarded at entry.
    pub ibpb_entry: Option<bool>,
    /// `ibpb-entry` was given for all domains, so the initial domain is included.
    pub ibpb_entry_dom0: bool,
    /// `bhb-entry`: the branch history is cleared at entry.
    pub bhb_entry: Option<bool>,
    /// `bhb-entry` was given for all domains, so the initial domain is included.
    pub bhb_entry_dom0: bool,
    /// `bti-thunk=`.
    pub thunk: Option<Thunk>,
    /// `bhb-seq=`.
    pub sequence: Option<HistorySequence>,
    /// `ibrs`.
    pub ibrs: Option<bool>,
    /// `stibp`.
    pub stibp: Option<bool>,
    /// `ssbd`: stores are not bypassed in Paravane.
    pub ssbd: bool,
    /// `psfd`: store forwarding is not predicted in Paravane.
    pub psfd: Option<bool>,
    /// `bhi-dis-s`.
    pub bhi_dis_s: Option<bool>,
    /// `ibpb`: branch predictions are discarded when another domain is loaded.
    pub ibpb: Option<bool>,
    /// `srb-lock`.
    pub srb_lock: Option<bool>,
    /// `unpriv-mmio`: domains without full privilege may have device memory.
    pub unpriv_mmio: bool,
    /// `gds-mit`.
    pub gds_mit: Option<bool>,
    /// `div-scrub`.
    pub div_scrub: Option<bool>,
}

impl SpecCtrl {
    /// The value without the option.
    pub const DEFAULT: Self = Self {
        guest_controls: true,
        rsb: None,
        verw: None,
        ibpb_entry: None,
        ibpb_entry_dom0: false,
        bhb_entry: None,
        bhb_entry_dom0: false,
        thunk: None,
        sequence: None,
        ibrs: None,
        stibp: None,
        ssbd: false,
        psfd: None,
        bhi_dis_s: None,
        ibpb: None,
        srb_lock: None,
        unpriv_mmio: false,
        gds_mit: None,
        div_scrub: None,
    };

    /// `no-xen`: Paravane does not defend itself; guests can defend themselves.
    pub const NO_OWN: Self = Self {
        guest_controls: true,
        rsb: Some(false),
        verw: Some(false),
        ibpb_entry: Some(false),
        ibpb_entry_dom0: false,
        bhb_entry: Some(false),
        bhb_entry_dom0: false,
        thunk: Some(Thunk::Jump),
        sequence: Some(HistorySequence::Off),
        ibrs: Some(false),
        stibp: Some(false),
        ssbd: false,
        psfd: Some(false),
        bhi_dis_s: Some(false),
        ibpb: Some(false),
        srb_lock: Some(false),
        unpriv_mmio: false,
        gds_mit: Some(false),
        div_scrub: Some(false),
    };

    /// `no`: no defence.
    pub const NONE: Self = Self { guest_controls: false, ..Self::NO_OWN };

    /// Applies one part that concerns this structure only.
    pub(super) fn apply_part(&mut self, part: &str) -> Option<()> {
        let (name, value) = name_and_value(part);
        match name {
            "xen" if boolean(value) == Some(false) => {
                *self = Self { guest_controls: self.guest_controls, ..Self::NO_OWN };
            }
            "pv" => {
                let on = boolean(value)?;
                self.guest_controls = on;
                self.rsb = Some(on);
                self.verw = Some(on);
                self.ibpb_entry = Some(on);
                self.bhb_entry = Some(on);
            }
            "msr-sc" => match Kinds::parse(value)? {
                Kinds::All(on) | Kinds::Pv(on) => self.guest_controls = on,
                Kinds::Hvm => {}
            },
            "rsb" => Kinds::parse(value)?.apply(&mut self.rsb),
            "verw" | "md-clear" => Kinds::parse(value)?.apply(&mut self.verw),
            "ibpb-entry" => Kinds::parse(value)?.apply_with_dom0(&mut self.ibpb_entry, &mut self.ibpb_entry_dom0),
            "bhb-entry" => Kinds::parse(value)?.apply_with_dom0(&mut self.bhb_entry, &mut self.bhb_entry_dom0),
            "bti-thunk" => self.thunk = Some(thunk(value)?),
            "bhb-seq" => self.sequence = Some(sequence(value)?),
            "ssbd" => self.ssbd = boolean(value)?,
            "unpriv-mmio" => self.unpriv_mmio = boolean(value)?,
            // There is no hardware virtualisation, extended state is always switched at once, and
            // no branch or lock has a barrier that could be left out.
            "hvm" | "l1d-flush" | "eager-fpu" | "branch-harden" | "lock-harden" => {
                boolean(value)?;
            }
            _ => *self.switch(name)? = Some(boolean(value)?),
        }
        Some(())
    }

    /// The parts that are on, off, or up to the processor.
    fn switch(&mut self, name: &str) -> Option<&mut Option<bool>> {
        Some(match name {
            "ibrs" => &mut self.ibrs,
            "stibp" => &mut self.stibp,
            "psfd" => &mut self.psfd,
            "bhi-dis-s" => &mut self.bhi_dis_s,
            "ibpb" => &mut self.ibpb,
            "srb-lock" => &mut self.srb_lock,
            "gds-mit" => &mut self.gds_mit,
            "div-scrub" => &mut self.div_scrub,
            _ => return None,
        })
    }
}

/// The kinds of domains to which a part applies.
enum Kinds {
    All(bool),
    Pv(bool),
    Hvm,
}

impl Kinds {
    /// Parses `BOOL`, `pv=BOOL` or `hvm=BOOL`.
    fn parse(value: &str) -> Option<Self> {
        match (boolean(value), name_and_value(value)) {
            (Some(on), _) => Some(Self::All(on)),
            (None, ("pv", value)) => boolean(value).map(Self::Pv),
            (None, ("hvm", value)) => boolean(value).map(|_| Self::Hvm),
            _ => None,
        }
    }

    const fn apply(self, part: &mut Option<bool>) {
        if let Self::All(on) | Self::Pv(on) = self {
            *part = Some(on);
        }
    }

    /// As [`apply`](Self::apply), for a part that includes the initial domain on request only.
    const fn apply_with_dom0(self, part: &mut Option<bool>, dom0: &mut bool) {
        if let Self::All(on) = self {
            *dom0 = on;
        }
        self.apply(part);
    }
}

fn thunk(name: &str) -> Option<Thunk> {
    Some(match name {
        "jmp" => Thunk::Jump,
        "lfence" => Thunk::Lfence,
        "retpoline" => Thunk::Retpoline,
        _ => return None,
    })
}

fn sequence(name: &str) -> Option<HistorySequence> {
    Some(match name {
        "none" => HistorySequence::Off,
        "short" => HistorySequence::Short,
        "tsx" => HistorySequence::Tsx,
        "long" => HistorySequence::Long,
        _ => return None,
    })
}

impl Thunk {
    const fn name(self) -> &'static str {
        match self {
            Self::Jump => "jmp",
            Self::Lfence => "lfence",
            Self::Retpoline => "retpoline",
        }
    }
}

impl HistorySequence {
    const fn name(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::Short => "short",
            Self::Tsx => "tsx",
            Self::Long => "long",
        }
    }
}

impl fmt::Display for SpecCtrl {
    /// The parts that differ from the default, in the syntax of the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DEFAULT => return f.write_str("default"),
            Self::NO_OWN => return f.write_str("no-xen"),
            Self::NONE => return f.write_str("no"),
            _ => {}
        }
        let given = |on: bool, default: bool| (on != default).then_some(on);
        let parts = [
            ("msr-sc", given(self.guest_controls, true)),
            ("rsb", self.rsb),
            ("verw", self.verw),
            ("ibpb-entry", self.ibpb_entry),
            ("bhb-entry", self.bhb_entry),
            ("ibrs", self.ibrs),
            ("stibp", self.stibp),
            ("ibpb", self.ibpb),
            ("ssbd", given(self.ssbd, false)),
            ("psfd", self.psfd),
            ("bhi-dis-s", self.bhi_dis_s),
            ("srb-lock", self.srb_lock),
            ("unpriv-mmio", given(self.unpriv_mmio, false)),
            ("gds-mit", self.gds_mit),
            ("div-scrub", self.div_scrub),
        ];
        let words = parts.into_iter().filter_map(|(name, on)| Some((name, yes_or_no(on?))));
        let named = [("bti-thunk", self.thunk.map(Thunk::name)), ("bhb-seq", self.sequence.map(HistorySequence::name))];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (index, (name, value)) in words.chain(named).enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::boot::options::Options;

    fn parts(list: &str) -> SpecCtrl {
        Options::parse(&["spec-ctrl=", list].concat()).defences.spec_ctrl
    }

    #[test]
    fn parts_of_a_list_are_applied_in_order() {
        assert_eq!(parts("no"), SpecCtrl::NONE);
        assert_eq!(parts("off"), SpecCtrl::NONE);
        assert_eq!(parts("no-xen"), SpecCtrl::NO_OWN);
        assert_eq!(parts("xen=0"), SpecCtrl::NO_OWN);
        assert_eq!(parts("no,ibpb"), SpecCtrl { ibpb: Some(true), ..SpecCtrl::NONE });
        assert_eq!(parts("ibpb,no"), SpecCtrl::NONE);
        let verw = |on| SpecCtrl { verw: Some(on), ..SpecCtrl::DEFAULT };
        assert_eq!(parts("verw"), verw(true));
        assert_eq!(parts("no-verw"), verw(false));
        assert_eq!(parts("md-clear=off"), verw(false));
        assert_eq!(parts("verw=pv"), verw(true));
        assert_eq!(parts("verw=no-pv"), verw(false));
        assert_eq!(parts("verw=pv=no"), verw(false));
        assert_eq!(parts("verw=no-hvm,hvm=0,l1d-flush,eager-fpu=yes,branch-harden"), SpecCtrl::DEFAULT);
        assert_eq!(parts("bti-thunk=lfence").thunk, Some(Thunk::Lfence));
        assert_eq!(parts("bhb-seq=tsx").sequence, Some(HistorySequence::Tsx));
        let pv = parts("pv=no");
        assert_eq!((pv.guest_controls, pv.rsb, pv.verw, pv.ibpb_entry), (false, Some(false), Some(false), Some(false)));
    }

    #[test]
    fn the_initial_domain_is_included_on_request_only() {
        let entry = |list| {
            let parts = parts(list);
            (parts.ibpb_entry, parts.ibpb_entry_dom0, parts.bhb_entry, parts.bhb_entry_dom0)
        };
        assert_eq!(entry("ibpb-entry"), (Some(true), true, None, false));
        assert_eq!(entry("ibpb-entry=pv"), (Some(true), false, None, false));
        assert_eq!(entry("bhb-entry=pv,bhb-entry=yes"), (None, false, Some(true), true));
        assert_eq!(entry("bhb-entry,bhb-entry=no"), (None, false, Some(false), false));
    }

    #[test]
    fn what_is_printed_is_understood() {
        for list in
            ["no", "no-xen", "default", "no,ibpb", "msr-sc=no,rsb=yes,ssbd=yes,bti-thunk=jmp,bhb-seq=long", "psfd"]
        {
            let once = parts(list);
            assert_eq!(parts(&once.to_string()), once, "{list}");
        }
        assert_eq!(parts("verw,ibrs=0").to_string(), "verw=yes,ibrs=no");
    }
}
