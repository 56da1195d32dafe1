//! The measures against flaws.

macro_rules! measures {
    ($($(#[$doc:meta])* $measure:ident $key:literal $text:literal;)*) => {
        /// A measure against a flaw.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Measure {
            $($(#[$doc])* $measure,)*
        }

        impl Measure {
            /// All measures.
            pub const ALL: &[Self] = &[$(Self::$measure),*];

            /// The name for scripts.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$measure => $key,)* }
            }

            /// The name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$measure => $text,)* }
            }
        }
    };
}

measures! {
    /// Guests run with root tables that do not map Paravane's memory.
    SplitRoots "split-roots" "split roots";
    /// Entries that L1TF could use are refused.
    RefuseEntries "refuse-entries" "dangerous entries refused";
    /// Indices from guests are masked.
    MaskIndices "mask-indices" "masked indices";
    /// IBRS at each entry, or enhanced or automatic IBRS once.
    Ibrs "ibrs" "IBRS";
    /// Retpolines, or LFENCE before indirect branches.
    Thunks "thunks" "retpolines";
    /// Indirect branches and returns are in the upper halves of cache lines.
    AlignBranches "align-branches" "aligned branches";
    /// The return stack buffer is overwritten at entry.
    FillReturnStack "fill-return-stack" "RSB fill";
    /// The return stack buffer is overwritten before a CPU becomes idle.
    FillReturnStackIdle "fill-return-stack-idle" "RSB fill before idle";
    /// `BHI_DIS_S`, or the history of branches is cleared at entry.
    History "history" "branch history control";
    /// Predictions are discarded when another domain is loaded.
    BarrierAtSwitch "ibpb-switch" "IBPB between domains";
    /// Predictions are discarded at entry.
    BarrierAtEntry "ibpb-entry" "IBPB at entry";
    /// STIBP while Paravane runs.
    Stibp "stibp" "STIBP";
    /// SPEC_CTRL and PRED_CMD for guests.
    GuestControls "guest-controls" "controls for guests";
    /// VERW on the way to a guest.
    Verw "verw" "VERW before guests";
    /// Transactional memory is off.
    TsxOff "tsx-off" "TSX off";
    /// The buffer of random numbers is locked and cleared by microcode.
    LockRandom "srb-lock" "locked random numbers";
    /// Gather instructions are made safe by microcode.
    GatherControl "gds-mit" "GDS control";
    /// AVX, and with it gather instructions, is withheld from guests.
    WithoutAvx "no-avx" "no AVX";
    /// A division before the way to a guest.
    DivScrub "div-scrub" "division before guests";
    /// Corrections of errata in MSRs.
    Corrections "corrections" "chicken bit";
    /// One thread per core.
    SmtOff "smt-off" "SMT off";
}

/// A set of measures.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Measures(u32);

impl Measures {
    /// These measures.
    pub const fn of(list: &[Measure]) -> Self {
        let (mut bits, mut rest) = (0, list);
        while let [first, others @ ..] = rest {
            bits |= 1 << *first as u32;
            rest = others;
        }
        Self(bits)
    }

    /// Adds a measure if `wanted`.
    pub(super) const fn add(&mut self, measure: Measure, wanted: bool) {
        self.0 |= (wanted as u32) << measure as u32;
    }

    /// The measures that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The measures that are not in the other set.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The measures that are in any of both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a measure is in the set.
    pub const fn contains(self, measure: Measure) -> bool {
        self.0 & 1 << measure as u32 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The measures in the set.
    pub fn iter(self) -> impl Iterator<Item = Measure> {
        Measure::ALL.iter().copied().filter(move |&measure| self.contains(measure))
    }
}
