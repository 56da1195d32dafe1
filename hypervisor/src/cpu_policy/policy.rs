//! A policy: what CPUID and some MSRs say, leaf by leaf, whatever vCPU asks. It has the leaves that the interface's lists know, no others.

use alloc::collections::BTreeMap;

use abi::arch_x86_64::CpuidLeaf;
use machine::integers::saturating_u32;

/// The last basic and extended leaf that a policy can have.
pub(super) const LAST_BASIC: u32 = 0xd;
pub(super) const FIRST_EXTENDED: u32 = 0x8000_0000;
pub(super) const LAST_EXTENDED: u32 = 0x8000_0021;
pub(super) const CACHES: u32 = 4;
pub(super) const STRUCTURED: u32 = 7;
pub(super) const TOPOLOGY: u32 = 0xb;
pub(super) const EXTENDED_STATES: u32 = 0xd;
/// The last subleaf that a policy can have of a leaf.
const LAST_CACHE: u32 = 5;
const LAST_STRUCTURED: u32 = 2;
const LAST_TOPOLOGY: u32 = 1;
const LAST_STATE: u32 = 62;

/// In the interface's lists: a leaf without subleaves.
pub(super) const NO_SUBLEAF: u32 = u32::MAX;
/// The hypervisor's own leaves, of which the lists hold how many there are to be.
const HYPERVISOR_LIMITS: [u32; 2] = [0x4000_0000, 0x4000_0100];

/// The most leaves that a list can have.
pub(crate) const MAX_LEAVES: u32 = (LAST_BASIC - 3)
    + (LAST_CACHE + 1)
    + (LAST_STRUCTURED + 1)
    + (LAST_TOPOLOGY + 1)
    + (LAST_STATE + 1)
    + saturating_u32(HYPERVISOR_LIMITS.len())
    + (LAST_EXTENDED - FIRST_EXTENDED + 1);

/// EAX, EBX, ECX, EDX.
pub(crate) type Registers = [u32; 4];

/// What CPUID says, by leaf and subleaf; a leaf without subleaves counts as its subleaf 0. What is not there reads as zeros.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Policy {
    leaves: BTreeMap<(u32, u32), Registers>,
}

impl Policy {
    /// All that the lists can hold of what a processor says.
    pub(super) fn read(host: impl Fn(u32, u32) -> Registers) -> Self {
        let mut policy = Self::default();
        let basic = host(0, 0)[0].min(LAST_BASIC);
        let extended = match host(FIRST_EXTENDED, 0)[0] {
            last @ FIRST_EXTENDED.. => last.min(LAST_EXTENDED),
            _ => FIRST_EXTENDED,
        };
        for leaf in (0..=basic).chain(FIRST_EXTENDED..=extended) {
            for subleaf in 0..=last_subleaf(leaf).unwrap_or(0) {
                let registers = host(leaf, subleaf);
                let [eax, _, ecx, _] = registers;
                let beyond_the_last = match leaf {
                    CACHES => eax & 0x1f == 0,
                    STRUCTURED => subleaf > host(STRUCTURED, 0)[0],
                    TOPOLOGY => ecx & 0xff00 == 0,
                    _ => false,
                };
                if beyond_the_last {
                    break;
                }
                policy.set(leaf, subleaf, registers);
            }
        }
        policy
    }

    /// One leaf.
    pub(super) fn leaf(&self, leaf: u32, subleaf: u32) -> Registers {
        let subleaf = if last_subleaf(leaf).is_some() { subleaf } else { 0 };
        self.leaves.get(&(leaf, subleaf)).copied().unwrap_or_default()
    }

    /// Sets one leaf; zeros remove it.
    pub(super) fn set(&mut self, leaf: u32, subleaf: u32, registers: Registers) {
        if registers == [0; 4] {
            self.leaves.remove(&(leaf, subleaf));
        } else {
            self.leaves.insert((leaf, subleaf), registers);
        }
    }

    /// Changes one leaf.
    pub(crate) fn update(&mut self, leaf: u32, subleaf: u32, change: impl FnOnce(&mut Registers)) {
        let mut registers = self.leaf(leaf, subleaf);
        change(&mut registers);
        self.set(leaf, subleaf, registers);
    }

    /// Removes the leaves for which `keep` does not hold.
    pub(super) fn retain(&mut self, keep: impl Fn(u32, u32) -> bool) {
        self.leaves.retain(|&(leaf, subleaf), _| keep(leaf, subleaf));
    }

    /// Takes the leaves that `which` names from another policy.
    pub(super) fn take_from(&mut self, other: &Self, which: impl Fn(u32) -> bool) {
        self.retain(|leaf, _| !which(leaf));
        self.leaves
            .extend(other.leaves.iter().filter(|((leaf, _), _)| which(*leaf)).map(|(key, value)| (*key, *value)));
    }

    /// The last basic leaf, the last subleaf of leaf 7, the last extended leaf.
    pub(super) fn limits(&self) -> [u32; 3] {
        [self.leaf(0, 0)[0], self.leaf(STRUCTURED, 0)[0], self.leaf(FIRST_EXTENDED, 0)[0]]
    }

    /// The extended states that there are.
    pub(super) fn extended_states(&self) -> u64 {
        let [low, _, _, high] = self.leaf(EXTENDED_STATES, 0);
        u64::from(high) << 32 | u64::from(low)
    }

    /// The leaves as the interface's lists have them, in order. All that the limits promise are there, empty ones too: the tools put a list
    /// into a policy of theirs, where what is missing keeps the value that it had, and expect to need as many entries when they list that.
    pub fn list(&self) -> impl Iterator<Item = CpuidLeaf> {
        let [basic, structured, extended] = self.limits();
        let states = self.extended_states();
        let subleaves = move |leaf| 0..=last_subleaf(leaf).unwrap_or(0);
        let shown = move |leaf, subleaf| match leaf {
            STRUCTURED => subleaf <= structured,
            EXTENDED_STATES => subleaf < 2 || states >> subleaf != 0,
            _ => true,
        };
        let keys = move |leaf| {
            subleaves(leaf).filter(move |subleaf| shown(leaf, *subleaf)).map(move |subleaf| (leaf, subleaf))
        };
        let all = (0..=basic.min(LAST_BASIC))
            .chain(HYPERVISOR_LIMITS)
            .chain(FIRST_EXTENDED..=extended.clamp(FIRST_EXTENDED, LAST_EXTENDED));
        all.flat_map(keys).map(|(leaf, subleaf)| {
            let [eax, ebx, ecx, edx] = self.leaf(leaf, subleaf);
            let subleaf = if last_subleaf(leaf).is_some() { subleaf } else { NO_SUBLEAF };
            CpuidLeaf { leaf, subleaf, eax, ebx, ecx, edx }
        })
    }

    /// Takes up an entry of a list; `false` if it is none that a list can have. How many leaves the hypervisor has is not a policy's choice here.
    #[must_use]
    pub(super) fn take_up(&mut self, entry: &CpuidLeaf) -> bool {
        let CpuidLeaf { leaf, subleaf, eax, ebx, ecx, edx } = *entry;
        if HYPERVISOR_LIMITS.contains(&leaf) {
            return subleaf == NO_SUBLEAF;
        }
        let known = leaf <= LAST_BASIC || (FIRST_EXTENDED..=LAST_EXTENDED).contains(&leaf);
        let subleaf = match last_subleaf(leaf) {
            Some(last) if subleaf <= last => subleaf,
            None if subleaf == NO_SUBLEAF => 0,
            _ => return false,
        };
        if known {
            self.set(leaf, subleaf, [eax, ebx, ecx, edx]);
        }
        known
    }
}

/// The last subleaf that a policy can have of a leaf; `None` for a leaf without subleaves.
const fn last_subleaf(leaf: u32) -> Option<u32> {
    match leaf {
        CACHES => Some(LAST_CACHE),
        STRUCTURED => Some(LAST_STRUCTURED),
        TOPOLOGY => Some(LAST_TOPOLOGY),
        EXTENDED_STATES => Some(LAST_STATE),
        _ => None,
    }
}
