//! A policy: the values of CPUID by leaf and subleaf, and of ARCH_CAPABILITIES, independent of the
//! vCPU. It contains the leaves that the interface's lists can express.

use alloc::collections::BTreeMap;

use abi::arch_x86_64::CpuidLeaf;
use machine::integers::saturating_u32;

/// The last basic leaf that a policy can have, and the range of extended leaves.
pub(super) const LAST_BASIC: u32 = 0xd;
pub(super) const FIRST_EXTENDED: u32 = 0x8000_0000;
pub(super) const LAST_EXTENDED: u32 = 0x8000_0021;
pub(super) const CACHES: u32 = 4;
pub(super) const STRUCTURED: u32 = 7;
pub(super) const TOPOLOGY: u32 = 0xb;
pub(super) const EXTENDED_STATES: u32 = 0xd;
pub(super) const ADDRESSES: u32 = 0x8000_0008;
/// The last subleaf of a leaf that a policy can have.
const LAST_CACHE: u32 = 5;
const LAST_STRUCTURED: u32 = 2;
const LAST_TOPOLOGY: u32 = 1;
const LAST_STATE: u32 = 62;

/// In the interface's lists: marks a leaf without subleaves.
pub(super) const NO_SUBLEAF: u32 = u32::MAX;
/// Leaves of the hypervisor in the lists, which limit the number of its leaves.
const HYPERVISOR_LIMITS: [u32; 2] = [0x4000_0000, 0x4000_0100];

/// Upper bound on the entries of a list.
pub(crate) const MAX_LEAVES: u32 = (LAST_BASIC - 3)
    + (LAST_CACHE + 1)
    + (LAST_STRUCTURED + 1)
    + (LAST_TOPOLOGY + 1)
    + (LAST_STATE + 1)
    + saturating_u32(HYPERVISOR_LIMITS.len())
    + (LAST_EXTENDED - FIRST_EXTENDED + 1);

/// EAX, EBX, ECX, EDX.
pub(crate) type Registers = [u32; 4];

/// CPUID by leaf and subleaf, and ARCH_CAPABILITIES. A leaf without subleaves is stored as subleaf
/// 0. Absent leaves read as zeros.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Policy {
    leaves: BTreeMap<(u32, u32), Registers>,
    /// The value of ARCH_CAPABILITIES.
    pub(crate) arch_capabilities: u64,
}

impl Policy {
    /// Reads the processor's leaves that the lists can express.
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

    /// Sets one leaf. Zeros remove it.
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

    /// Replaces the leaves that `which` selects by those of another policy.
    pub(super) fn take_from(&mut self, other: &Self, which: impl Fn(u32) -> bool) {
        self.retain(|leaf, _| !which(leaf));
        self.leaves
            .extend(other.leaves.iter().filter(|((leaf, _), _)| which(*leaf)).map(|(key, value)| (*key, *value)));
    }

    /// The last basic leaf, the last subleaf of leaf 7, the last extended leaf.
    pub(super) fn limits(&self) -> [u32; 3] {
        [self.leaf(0, 0)[0], self.leaf(STRUCTURED, 0)[0], self.leaf(FIRST_EXTENDED, 0)[0]]
    }

    /// The extended states in leaf 13.
    pub(super) fn extended_states(&self) -> u64 {
        let [low, _, _, high] = self.leaf(EXTENDED_STATES, 0);
        u64::from(high) << 32 | u64::from(low)
    }

    /// The leaves in the format and order of the interface's lists. All leaves up to the limits are
    /// included, even empty ones. The tools merge a list into a policy of their own, where an
    /// absent leaf would keep its previous value, and expect that listing the result takes as many
    /// entries.
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

    /// Applies an entry of a list. Returns `false` if the entry is invalid in a list. An entry for
    /// the number of the hypervisor's leaves is accepted and ignored.
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

/// The last subleaf of a leaf that a policy can have, or `None` for a leaf without subleaves.
const fn last_subleaf(leaf: u32) -> Option<u32> {
    match leaf {
        CACHES => Some(LAST_CACHE),
        STRUCTURED => Some(LAST_STRUCTURED),
        TOPOLOGY => Some(LAST_TOPOLOGY),
        EXTENDED_STATES => Some(LAST_STATE),
        _ => None,
    }
}
