//! CPU policies: whether a host can give a guest the processor that it has seen so far.

use std::collections::BTreeMap;

/// A leaf of `cpuid`: leaf, subleaf (all ones if there is none), EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 6];

/// The registers whose bits are features: leaf, subleaf, register from EAX on, bits that the
/// hypervisor sets by the guest's state and that do not count, and the name of the register.
const FEATURES: [(u32, u32, usize, u32, &str); 17] = [
    (1, 0, 3, 1 << 9, "1.edx"),
    (1, 0, 2, 1 << 27, "1.ecx"),
    (7, 0, 1, 0, "7.ebx"),
    (7, 0, 2, 1 << 4, "7.ecx"),
    (7, 0, 3, 0, "7.edx"),
    (7, 1, 0, 0, "7:1.eax"),
    (7, 1, 1, 0, "7:1.ebx"),
    (7, 1, 2, 0, "7:1.ecx"),
    (7, 1, 3, 0, "7:1.edx"),
    (0xd, 0, 0, 0, "xstate.eax"),
    (0xd, 0, 3, 0, "xstate.edx"),
    (0xd, 1, 0, 0, "xstate:1.eax"),
    (0x8000_0001, 0, 3, 1 << 9, "80000001.edx"),
    (0x8000_0001, 0, 2, 0, "80000001.ecx"),
    (0x8000_0007, 0, 3, 0, "80000007.edx"),
    (0x8000_0008, 0, 1, 0, "80000008.ebx"),
    (0x8000_0021, 0, 0, 0, "80000021.eax"),
];

/// Bits of leaf 0x8000_0001 EDX that AMD's processors repeat from leaf 1; Intel's do not.
const REPEATED: u32 = 0x0183_f3ff;

/// Reads the leaves of a policy from the output of `xen-cpuid --policy`: those below the line that
/// begins with `title`.
pub fn parse(output: &str, title: &str) -> Vec<Leaf> {
    output
        .lines()
        .skip_while(|line| !line.starts_with(title))
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .filter_map(leaf)
        .collect()
}

/// A line like `  00000007:00000000 -> 00000000:00000001:00000002:00000003`.
fn leaf(line: &str) -> Option<Leaf> {
    let (name, values) = line.trim().split_once(" -> ")?;
    let numbers = name.split(':').chain(values.split(':')).map(|number| u32::from_str_radix(number, 16));
    let numbers: Vec<u32> = numbers.collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// What the guest has and the host cannot give, in words; nothing if it can give all.
pub fn lacking(guest: &[Leaf], host: &[Leaf]) -> Vec<String> {
    let (guest, host) = (by_name(guest), by_name(host));
    let value = |leaves: &BTreeMap<(u32, u32), [u32; 4]>, leaf, subleaf, register: usize| {
        leaves.get(&(leaf, subleaf)).and_then(|values| values.get(register)).copied().unwrap_or(0)
    };
    let mut lacking = Vec::new();
    let vendor = |leaves| [1, 3, 2].map(|register| value(leaves, 0, 0, register));
    if vendor(&guest) != vendor(&host) {
        lacking.push(format!("the vendor is {} there, {} here", text(vendor(&host)), text(vendor(&guest))));
    }
    for (leaf, what) in [(0, "leaves"), (0x8000_0000, "extended leaves")] {
        if value(&guest, leaf, 0, 0) > value(&host, leaf, 0, 0) {
            lacking.push(format!("{what} up to {:#x}", value(&guest, leaf, 0, 0)));
        }
    }
    for (leaf, subleaf, register, ignored, name) in FEATURES {
        let ignored = if (leaf, register) == (0x8000_0001, 3) { ignored | REPEATED } else { ignored };
        let missing = value(&guest, leaf, subleaf, register) & !value(&host, leaf, subleaf, register) & !ignored;
        if missing != 0 {
            let bits: Vec<String> =
                (0..32).filter(|bit| missing >> bit & 1 != 0).map(|bit: u32| bit.to_string()).collect();
            lacking.push(format!("{name} bits {}", bits.join(" ")));
        }
    }
    lacking
}

/// Leaves without subleaves are found as subleaf 0.
fn by_name(leaves: &[Leaf]) -> BTreeMap<(u32, u32), [u32; 4]> {
    leaves
        .iter()
        .map(|&[leaf, subleaf, a, b, c, d]| ((leaf, if subleaf == u32::MAX { 0 } else { subleaf }), [a, b, c, d]))
        .collect()
}

fn text(registers: [u32; 3]) -> String {
    String::from_utf8_lossy(&registers.map(u32::to_le_bytes).concat()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Xen reports there are maximum 117 leaves and 2 MSRs\n\
        Raw policy: 2 leaves, 1 MSRs\n CPUID:\n  leaf     subleaf  -> eax      ebx      ecx      edx\n  \
        00000000:ffffffff -> 0000000d:756e6547:6c65746e:49656e69\n MSRs:\n  index    -> value\n  \
        000000ce -> 0000000080000000\n\
        PV Max policy: 2 leaves, 1 MSRs\n CPUID:\n  leaf     subleaf  -> eax      ebx      ecx      edx\n  \
        00000000:ffffffff -> 00000007:756e6547:6c65746e:49656e69\n  \
        00000001:ffffffff -> 000306c1:00000800:00000003:00000005\n MSRs:\n  index    -> value\n";

    #[test]
    fn a_policy_is_read() {
        let leaves = parse(OUTPUT, "PV Max");
        assert_eq!(leaves.len(), 2);
        assert_eq!(leaves[1], [1, u32::MAX, 0x306c1, 0x800, 3, 5]);
        assert!(parse(OUTPUT, "Domain 3").is_empty());
    }

    #[test]
    fn a_host_lacks_what_the_guest_has_beyond_it() {
        let host = parse(OUTPUT, "PV Max");
        assert!(lacking(&host, &host).is_empty());
        let mut guest = host.clone();
        guest[1][4] |= 1 << 28 | 1 << 27;
        assert_eq!(lacking(&guest, &host), ["1.ecx bits 28"], "OSXSAVE is the guest's state");
        guest[0][2] = 0xd;
        assert_eq!(lacking(&guest, &host)[0], "leaves up to 0xd");
        guest[0][3] = 0x6874_7541;
        assert!(lacking(&guest, &host)[0].contains("GenuineIntel there"));
        guest.push([7, 0, 0, 0, 0, 4]);
        assert!(lacking(&guest, &host).contains(&"7.edx bits 2".into()), "a leaf that the host does not have");
    }
}
