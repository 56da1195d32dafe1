//! The measures that answer flaws, and which of them this version has.

macro_rules! measures {
    ($($(#[$doc:meta])* $measure:ident $field:ident $key:literal $text:literal;)*) => {
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

        /// The measures that this version has. A field becomes true with the code that makes the
        /// measure effective wherever the plan wants it.
        #[derive(Clone, Copy, Debug)]
        pub struct Implemented {
            $($(#[$doc])* pub $field: bool,)*
        }

        impl Implemented {
            /// The measures that this version has.
            pub const fn measures(&self) -> Measures {
                let mut measures = Measures(0);
                $(measures.add(Measure::$measure, self.$field);)*
                measures
            }
        }
    };
}

measures! {
    /// Guests run with root tables that do not map Paravane's memory.
    SplitRoots split_roots "split-roots" "split roots";
    /// Entries that L1TF could use are refused.
    RefuseEntries refuse_entries "refuse-entries" "dangerous entries refused";
    /// Indices from guests are masked.
    MaskIndices mask_indices "mask-indices" "masked indices";
    /// IBRS at each entry, or enhanced or automatic IBRS once.
    Ibrs ibrs "ibrs" "IBRS";
    /// Retpolines, or LFENCE before indirect branches.
    Thunks thunks "thunks" "retpolines";
    /// Indirect branches and returns are in the upper halves of cache lines.
    AlignBranches align_branches "align-branches" "aligned branches";
    /// The return stack buffer is overwritten at entry.
    FillReturnStack fill_return_stack "fill-return-stack" "RSB fill";
    /// The return stack buffer is overwritten before a CPU becomes idle.
    FillReturnStackIdle fill_return_stack_idle "fill-return-stack-idle" "RSB fill before idle";
    /// `BHI_DIS_S`, or the history of branches is cleared at entry.
    History history "history" "branch history control";
    /// Predictions are discarded when another domain is loaded.
    BarrierAtSwitch barrier_at_switch "ibpb-switch" "IBPB between domains";
    /// Predictions are discarded at entry.
    BarrierAtEntry barrier_at_entry "ibpb-entry" "IBPB at entry";
    /// STIBP while Paravane runs.
    Stibp stibp "stibp" "STIBP";
    /// SPEC_CTRL and PRED_CMD for guests.
    GuestControls guest_controls "guest-controls" "controls for guests";
    /// VERW on the way to a guest.
    Verw verw "verw" "VERW before guests";
    /// Transactional memory is off.
    TsxOff tsx_off "tsx-off" "TSX off";
    /// The buffer of random numbers is locked and cleared by microcode.
    LockRandom lock_random "srb-lock" "locked random numbers";
    /// Gather instructions are made safe by microcode.
    GatherControl gather_control "gds-mit" "GDS control";
    /// AVX, and with it gather instructions, is withheld from guests.
    WithoutAvx without_avx "no-avx" "no AVX";
    /// A division before the way to a guest.
    DivScrub div_scrub "div-scrub" "division before guests";
    /// Corrections of errata in MSRs.
    Corrections corrections "corrections" "chicken bit";
    /// One thread per core.
    SmtOff smt_off "smt-off" "SMT off";
}

/// What this version has. When all fields are true, this and [`Implemented`] go.
pub const IMPLEMENTED: Implemented = Implemented {
    split_roots: true,
    refuse_entries: true,
    mask_indices: true,
    ibrs: true,
    thunks: true,
    align_branches: true,
    fill_return_stack: true,
    fill_return_stack_idle: true,
    history: true,
    barrier_at_switch: true,
    barrier_at_entry: true,
    stibp: true,
    guest_controls: true,
    verw: true,
    tsx_off: true,
    lock_random: true,
    gather_control: true,
    without_avx: true,
    div_scrub: true,
    corrections: true,
    smt_off: true,
};

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
