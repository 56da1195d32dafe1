//! The options that choose defences against transient execution: `xpti=`, `pcid=`, `pv-l1tf=`,
//! `smt=`, `tsx=` and `spec-ctrl=`, by Xen's names and with Xen's rules.
//!
//! The options are requests: [`crate::defences`] decides. An unknown part of a list is reported,
//! and the other parts are applied. The parts of `spec-ctrl=` are in `spec_ctrl.rs`.

use core::fmt;

use super::spec_ctrl::SpecCtrl;
use super::value::boolean;

/// A choice for the initial domain and for other domains; `None` lets the processor decide.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PerDomain {
    /// For the initial domain.
    pub dom0: Option<bool>,
    /// For all other domains.
    pub domu: Option<bool>,
}

impl PerDomain {
    const fn all(on: bool) -> Self {
        Self { dom0: Some(on), domu: Some(on) }
    }

    /// Applies `[BOOL|dom0=BOOL|domu=BOOL],...`; the empty list means `yes`. Returns the first part
    /// that is not known.
    fn apply<'a>(&mut self, list: &'a str, has_default: bool) -> Result<(), &'a str> {
        if list.is_empty() {
            *self = Self::all(true);
            return Ok(());
        }
        each(list, |part| {
            match (boolean(part), name_and_value(part)) {
                (Some(on), _) => *self = Self::all(on),
                (None, ("dom0", value)) => self.dom0 = Some(boolean(value)?),
                (None, ("domu", value)) => self.domu = Some(boolean(value)?),
                (None, ("default", "yes")) if has_default => *self = Self::default(),
                _ => return None,
            }
            Some(())
        })
    }
}

/// `pcid=`: the domains that get process-context identifiers, if the processor has them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum PcidUse {
    /// None.
    Never,
    /// All.
    Always,
    /// Those with split roots.
    #[default]
    SplitRoots,
    /// Those without split roots.
    OneRoot,
}

/// `tsx=`: what happens to transactional memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Tsx {
    /// It is switched off where it leaks.
    #[default]
    Automatic,
    /// It stays as the firmware set it.
    AsFound,
    /// It is switched on.
    On,
    /// It is switched off.
    Off,
}

/// All choices of defences.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choices {
    /// `xpti=`: split root tables.
    pub xpti: PerDomain,
    /// `pcid=`.
    pub pcid: PcidUse,
    /// `pv-l1tf=`: page-table entries that L1TF could use are refused.
    pub pv_l1tf: PerDomain,
    /// `smt=`: whether all threads of a core are used.
    pub smt: Option<bool>,
    /// `tsx=`.
    pub tsx: Tsx,
    /// `spec-ctrl=`.
    pub spec_ctrl: SpecCtrl,
}

impl Choices {
    /// The choices without any option.
    pub const DEFAULT: Self = Self {
        xpti: PerDomain { dom0: None, domu: None },
        pcid: PcidUse::SplitRoots,
        pv_l1tf: PerDomain { dom0: None, domu: None },
        smt: None,
        tsx: Tsx::Automatic,
        spec_ctrl: SpecCtrl::DEFAULT,
    };

    pub(super) fn apply_xpti<'a>(&mut self, list: &'a str) -> Result<(), &'a str> {
        self.xpti.apply(list, true)
    }

    pub(super) fn apply_pv_l1tf<'a>(&mut self, list: &'a str) -> Result<(), &'a str> {
        self.pv_l1tf.apply(list, false)
    }

    pub(super) fn apply_pcid<'a>(&mut self, text: &'a str) -> Result<(), &'a str> {
        self.pcid = match (boolean(text), name_and_value(text)) {
            (Some(on), _) if on => PcidUse::Always,
            (Some(_), _) => PcidUse::Never,
            (None, ("xpti", value)) => match boolean(value).ok_or(text)? {
                true => PcidUse::SplitRoots,
                false => PcidUse::OneRoot,
            },
            _ if text.is_empty() => PcidUse::Always,
            _ => return Err(text),
        };
        Ok(())
    }

    /// Applies a list of `spec-ctrl=`. `no` also decides the other options that have not been given
    /// before.
    pub(super) fn apply_spec_ctrl<'a>(&mut self, list: &'a str) -> Result<(), &'a str> {
        each(list, |part| match boolean(part) {
            Some(false) => {
                self.spec_ctrl = SpecCtrl::NONE;
                for choice in [&mut self.xpti, &mut self.pv_l1tf] {
                    choice.dom0.get_or_insert(false);
                    choice.domu.get_or_insert(false);
                }
                self.smt.get_or_insert(true);
                if self.tsx == Tsx::Automatic {
                    self.tsx = Tsx::AsFound;
                }
                Some(())
            }
            Some(true) => None,
            None => self.spec_ctrl.apply_part(part),
        })
    }
}

/// Applies each part of a list. Returns the first part that is not known.
pub(super) fn each(list: &str, mut apply: impl FnMut(&str) -> Option<()>) -> Result<(), &str> {
    let mut unknown = None;
    for part in list.split(',') {
        if apply(part).is_none() {
            unknown.get_or_insert(part);
        }
    }
    unknown.map_or(Ok(()), Err)
}

/// Name and value of a part. A name without a value has the value `yes`, one after `no-` the value
/// `no`.
pub(super) fn name_and_value(part: &str) -> (&str, &str) {
    part.split_once('=').unwrap_or_else(|| part.strip_prefix("no-").map_or((part, "yes"), |name| (name, "no")))
}

impl fmt::Display for Choices {
    /// The options in force, in the syntax of the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xpti={} pcid={} pv-l1tf={}", self.xpti, self.pcid.name(), self.pv_l1tf)?;
        let smt = self.smt.map_or("default", yes_or_no);
        write!(f, " smt={smt} tsx={} spec-ctrl={}", self.tsx.name(), self.spec_ctrl)
    }
}

impl fmt::Display for PerDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.dom0, self.domu) {
            (None, None) => f.write_str("default"),
            (Some(dom0), Some(domu)) if dom0 == domu => f.write_str(yes_or_no(dom0)),
            (Some(dom0), None) => write!(f, "dom0={}", yes_or_no(dom0)),
            (None, Some(domu)) => write!(f, "domu={}", yes_or_no(domu)),
            (Some(dom0), Some(domu)) => write!(f, "dom0={},domu={}", yes_or_no(dom0), yes_or_no(domu)),
        }
    }
}

impl PcidUse {
    const fn name(self) -> &'static str {
        match self {
            Self::Never => "no",
            Self::Always => "yes",
            Self::SplitRoots => "xpti",
            Self::OneRoot => "no-xpti",
        }
    }
}

impl Tsx {
    const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "default",
            Self::AsFound => "unchanged",
            Self::On => "yes",
            Self::Off => "no",
        }
    }
}

pub(super) const fn yes_or_no(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}
