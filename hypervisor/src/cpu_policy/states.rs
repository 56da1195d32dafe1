//! Leaf 13: the layout of the XSAVE area.

use machine::integers::low_u32;

use super::policy::{EXTENDED_STATES, Policy, Registers};

/// x87 and SSE.
pub(super) const LEGACY: u64 = 3;
/// AVX, and the three states of AVX-512.
pub(super) const AVX: u64 = 1 << 2;
pub(super) const AVX512: u64 = 7 << 5;
/// Size of the XSAVE area's legacy region and header.
const LEGACY_SIZE: u32 = 512 + 64;
/// XSAVEC in EAX of subleaf 1.
const COMPACT: u32 = 1 << 1;

/// Restricts the leaf to these states, whose sizes and offsets it must contain. The XSAVE
/// instructions in it are kept.
pub(super) fn restrict(policy: &mut Policy, states: u64) {
    let instructions = policy.leaf(EXTENDED_STATES, 1)[0];
    policy.retain(|leaf, subleaf| leaf != EXTENDED_STATES || subleaf >= 2 && states & 1 << subleaf != 0);
    for subleaf in components(states) {
        // Bit 0 of the flags marks a supervisor state, bit 1 one that is aligned in the compacted
        // format.
        policy.update(EXTENDED_STATES, subleaf, |[_, _, flags, reserved]| {
            *flags &= 2;
            *reserved = 0;
        });
    }
    if states != 0 {
        let size = image_size(policy, states);
        policy.set(EXTENDED_STATES, 0, [low_u32(states), size, size, low_u32(states >> 32)]);
        policy.set(EXTENDED_STATES, 1, [instructions, 0, 0, 0]);
    }
}

/// The leaf as seen by a guest that has enabled `enabled`.
pub(super) fn leaf(policy: &Policy, subleaf: u32, enabled: u64) -> Registers {
    let [eax, ebx, ecx, edx] = policy.leaf(EXTENDED_STATES, subleaf);
    let enabled = enabled & policy.extended_states();
    match subleaf {
        0 if eax != 0 => [eax, image_size(policy, enabled), ecx, edx],
        1 if eax & COMPACT != 0 => [eax, compact_size(policy, enabled), 0, 0],
        _ => [eax, ebx, ecx, edx],
    }
}

/// The numbers of the states other than x87 and SSE.
fn components(states: u64) -> impl Iterator<Item = u32> {
    (2..63).filter(move |number| states & 1 << number != 0)
}

fn image_size(policy: &Policy, states: u64) -> u32 {
    components(states).fold(LEGACY_SIZE, |end, number| {
        let [size, offset, ..] = policy.leaf(EXTENDED_STATES, number);
        end.max(offset.saturating_add(size))
    })
}

fn compact_size(policy: &Policy, states: u64) -> u32 {
    components(states).fold(LEGACY_SIZE, |end, number| {
        let [size, _, flags, _] = policy.leaf(EXTENDED_STATES, number);
        let start = if flags & 2 != 0 { end.next_multiple_of(64) } else { end };
        start.saturating_add(size)
    })
}
