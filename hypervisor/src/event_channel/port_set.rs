//! A set of port numbers that finds its lowest member in constant time.
//!
//! It has a bit per port, a bit per non-empty word of these, and a bit per non-empty word of those.
//! A port can be a member after a word has been added for it.

use alloc::vec::Vec;

use abi::errno::Errno;
use abi::event_channel::fifo::NR_CHANNELS;
use machine::speculation::MaskedIndex;

/// Number of ports per word.
use crate::domain::Port;

pub(super) const PORTS_PER_WORD: u32 = u64::BITS;
/// Maximum number of words, and of groups of 64 words.
const WORDS: usize = (NR_CHANNELS / PORTS_PER_WORD) as usize;
const GROUPS: usize = WORDS / u64::BITS as usize;
const _: () = assert!(GROUPS <= u64::BITS as usize);

/// A set of ports.
pub(super) struct PortSet {
    words: Vec<u64>,
    /// A bit per non-empty word.
    groups: [u64; GROUPS],
    /// A bit per non-empty group.
    top: u64,
}

/// The lowest set bit from bit `from` on.
fn lowest(bits: u64, from: u32) -> Option<u32> {
    let rest = bits & u64::MAX.checked_shl(from).unwrap_or(0);
    (rest != 0).then(|| rest.trailing_zeros())
}

/// Sets or clears a bit. Returns whether any bit is set afterwards.
fn put(bits: &mut u64, bit: u32, is_set: bool) -> bool {
    let mask = 1 << (bit % u64::BITS);
    *bits = if is_set { *bits | mask } else { *bits & !mask };
    *bits != 0
}

impl PortSet {
    /// An empty set without words.
    pub(super) const fn new() -> Self {
        Self { words: Vec::new(), groups: [0; GROUPS], top: 0 }
    }

    /// Adds a word, so that more ports can be members.
    ///
    /// # Errors
    /// `ENOMEM`, or `ENOSPC` if the set has the maximum number of words.
    pub(super) fn add_word(&mut self) -> Result<(), Errno> {
        if self.words.len() >= WORDS {
            return Err(Errno::ENOSPC);
        }
        self.words.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.words.push(0);
        Ok(())
    }

    /// Adds or removes a port. A port without a word is ignored.
    pub(super) fn set(&mut self, port: Port, is_member: bool) {
        let (word, group) = (port.word(), port.word() / u64::BITS);
        let Some(bits) = self.words.masked_mut(word as usize) else { return };
        let any = put(bits, port.bit(), is_member);
        let Some(bits) = self.groups.masked_mut(group as usize) else { return };
        let any = put(bits, word, any);
        put(&mut self.top, group, any);
    }

    /// The members in a word, by bit. `None` if there is no such word.
    pub(super) fn word(&self, index: usize) -> Option<u64> {
        self.words.masked(index).copied()
    }

    /// The lowest member from `from` on.
    pub(super) fn first_from(&self, from: Port) -> Option<Port> {
        let (word, group) = (from.word(), from.word() / u64::BITS);
        let member = |word: u32, bit: u32| Port::new(word * PORTS_PER_WORD + bit);
        let bit = |word: u32, from| self.words.masked(word as usize).and_then(|bits| lowest(*bits, from));
        if let Some(bit) = bit(word, from.bit()) {
            return Some(member(word, bit));
        }
        let word_in = |group: u32, from| {
            let bits = self.groups.masked(group as usize)?;
            lowest(*bits, from).map(|word| group * u64::BITS + word)
        };
        let word = word_in(group, word % u64::BITS + 1)
            .or_else(|| lowest(self.top, group + 1).and_then(|group| word_in(group, 0)))?;
        bit(word, 0).map(|bit| member(word, bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn random_operations_agree_with_a_sorted_set() {
        let mut set = PortSet::new();
        let mut model = BTreeSet::new();
        for _ in 0..WORDS {
            set.add_word().expect("room");
        }
        assert_eq!(set.add_word(), Err(Errno::ENOSPC));
        let mut random = 5u64;
        for _ in 0..crate::testing::rounds(50_000) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = (random >> 33) as u32;
            // Ports close to each other, so that words and groups become empty again.
            let port = (draw >> 8) % 4 * 33_000 % NR_CHANNELS + (draw >> 10) % 3 * 64 + draw % 7;
            if draw & 0x80 != 0 {
                set.set(Port::new(port), true);
                model.insert(port);
            } else {
                set.set(Port::new(port), false);
                model.remove(&port);
            }
            let from = draw % NR_CHANNELS;
            for from in [0, from, port, port + 1, NR_CHANNELS - 1, NR_CHANNELS, u32::MAX] {
                let expected = model.range(from..).next().copied().map(Port::new);
                assert_eq!(set.first_from(Port::new(from)), expected, "from {from}");
            }
        }
    }

    #[test]
    fn a_port_without_a_word_is_not_a_member() {
        let mut set = PortSet::new();
        set.add_word().expect("room");
        for port in [0, 63, 64, NR_CHANNELS, u32::MAX] {
            set.set(Port::new(port), true);
        }
        let found = [0, 1, 64].map(|from| set.first_from(Port::new(from)));
        assert_eq!(found, [Some(0), Some(63), None].map(|port| port.map(Port::new)));
    }
}
