//! CPUID and feature sets of guests on simulated processors.

use std::vec::Vec;

use machine::cpu::Features;
use machine::defences::GuestView;

use super::system::SystemPolicies;
use super::*;

/// A processor with every feature bit set.
fn everything(vendor: &'static [u8; 12]) -> impl Fn(u32, u32) -> [u32; 4] {
    let word = |at: usize| u32::from_le_bytes([vendor[at], vendor[at + 1], vendor[at + 2], vendor[at + 3]]);
    move |leaf, subleaf| match (leaf, subleaf) {
        (0, _) => [0x1f, word(0), word(8), word(4)],
        (0x8000_0000, _) => [0x8000_0028, 0, 0, 0],
        // Sizes and offsets of the XSAVE area as on current processors.
        (0xd, 0) => [0x602e7, 0x1234, 0x2b00, 0],
        (0xd, 1) => [0x1f, 0x1234, 0x1_9900, 0],
        (0xd, 2) => [256, 576, 0, 0],
        (0xd, 5) => [64, 1088, 0, 0],
        (0xd, 6) => [512, 1152, 0, 0],
        (0xd, 7) => [1024, 1664, 0, 0],
        (0xd, 9) => [8, 2688, 0, 0],
        (0xd, 17) => [64, 2752, 2, 0],
        (0xd, 18) => [8192, 2816, 6, 0],
        (0xd, _) => [0; 4],
        _ => [u32::MAX; 4],
    }
}

/// A query, and the processor features in use.
struct Asked {
    view: View,
    features: Features,
}

/// CPUID of a guest whose policy has not been set.
fn answer(asked: &Asked, host: impl Fn(u32, u32) -> [u32; 4], leaf: u32, subleaf: u32) -> [u32; 4] {
    let policies = SystemPolicies::new(Policy::read(host), &asked.features, &GuestView::NOTHING);
    super::answer(&asked.view, &policies.initial, leaf, subleaf)
}

/// Everything is told.
const ALL: GuestView = GuestView {
    leaf_7_edx: u32::MAX,
    leaf_e8_ebx: u32::MAX,
    leaf_e21_eax: u32::MAX,
    arch_capabilities: RDCL_NO | MDS_NO,
    avx: true,
};
const RDCL_NO: u64 = 1 << 0;
const RSBA: u64 = 1 << 2;
const MDS_NO: u64 = 1 << 5;
const FB_CLEAR: u64 = 1 << 17;

fn view(xcr0: u64) -> Asked {
    let features = Features {
        no_execute: true,
        sysenter: true,
        fsgsbase: true,
        invariant_tsc: true,
        xsaveopt: true,
        physical_bits: 46,
        xcr0,
        ..Features::default()
    };
    let view =
        View { vcpu: VcpuId::new(3), xcr0: xcr0 & 7, invariant_tsc: true, tsc_kilohertz: 2_100_000, address_bits: 46 };
    Asked { view, features }
}

fn bit(word: u32, number: u32) -> bool {
    word >> number & 1 != 0
}

#[test]
fn working_features_are_shown_and_all_others_are_hidden() {
    for vendor in [b"GenuineIntel", b"AuthenticAMD", b"HygonGenuine", b"CentaurHauls"] {
        let host = everything(vendor);
        let view = view(0xe7);
        let [_, ebx, ecx, edx] = answer(&view, &host, 1, 0);
        assert_eq!(ebx >> 24, 6, "the APIC id is twice the number");
        for (number, name) in
            [(3, "MONITOR"), (5, "VMX"), (17, "PCID"), (21, "x2APIC"), (24, "TSC deadline"), (15, "PDCM")]
        {
            assert!(!bit(ecx, number), "{name}");
        }
        for (number, name) in [(0, "SSE3"), (26, "XSAVE"), (27, "OSXSAVE"), (28, "AVX"), (31, "hypervisor")] {
            assert!(bit(ecx, number), "{name}");
        }
        for (number, name) in
            [(1, "VME"), (3, "PSE"), (7, "MCE"), (12, "MTRR"), (13, "PGE"), (14, "MCA"), (17, "PSE36")]
        {
            assert!(!bit(edx, number), "{name}");
        }
        let [last, ebx, ecx, edx] = answer(&view, &host, 7, 0);
        assert_eq!(last, 1);
        for (number, name) in [(1, "TSC_ADJUST"), (2, "SGX"), (7, "SMEP"), (10, "INVPCID"), (14, "MPX"), (20, "SMAP")] {
            assert!(!bit(ebx, number), "{name}");
        }
        assert!(bit(ebx, 0) && bit(ebx, 5) && bit(ebx, 16), "FSGSBASE, AVX2, AVX512F");
        for (number, name) in [(2, "UMIP"), (3, "PKU"), (4, "OSPKE"), (7, "CET_SS"), (16, "LA57"), (22, "RDPID")] {
            assert!(!bit(ecx, number), "{name}");
        }
        for number in [22, 24, 25, 26, 27, 28, 29, 30, 31] {
            assert!(!bit(edx, number), "AMX or speculation control, bit {number}");
        }
        assert_eq!(answer(&view, &host, 0x8000_0008, 0)[0], 0x30ff, "48 bits of linear address");
        let [_, _, ecx, edx] = answer(&view, &host, 0x8000_0001, 0);
        assert!(!bit(ecx, 2) && !bit(ecx, 22) && !bit(ecx, 29), "SVM, TOPOEXT, MONITORX");
        assert!(bit(edx, 11) && bit(edx, 20) && bit(edx, 29), "SYSCALL, NX, LM");
        assert!(!bit(edx, 26) && !bit(edx, 27), "1 GiB pages, RDTSCP");
        assert!(!bit(edx, 3) && !bit(edx, 13), "PSE and PGE where AMD repeats them");
    }
}

#[test]
fn instructions_of_disabled_states_are_hidden() {
    let host = everything(b"GenuineIntel");
    let without = Asked { features: Features::default(), ..view(0) };
    let [_, _, ecx, edx] = answer(&without, &host, 1, 0);
    assert_eq!(ecx & (1 << 12 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29), 0, "XSAVE and features that require it");
    assert!(!bit(edx, 11), "SYSENTER");
    let [_, ebx, ecx, edx] = answer(&without, &host, 7, 0);
    assert_eq!(ebx & (1 | 1 << 5 | 1 << 16 | 1 << 17 | 1 << 31), 0, "FSGSBASE, AVX2, AVX-512");
    assert_eq!(ecx & (1 << 1 | 1 << 9 | 1 << 10 | 1 << 14), 0);
    assert_eq!(edx & (1 << 2 | 1 << 3 | 1 << 8), 0);
    assert_eq!(answer(&without, &host, 7, 1)[0] & (1 << 4 | 1 << 5), 0);
    for subleaf in 0..64 {
        assert_eq!(answer(&without, &host, 0xd, subleaf), [0; 4]);
    }
    assert!(!bit(answer(&without, &host, 0x8000_0007, 0)[3], 8), "invariant TSC");
    let [_, ebx, ..] = answer(&view(7), &host, 7, 0);
    assert!(bit(ebx, 5) && !bit(ebx, 16), "AVX without AVX-512");
}

#[test]
fn the_xsave_image_has_the_size_of_the_enabled_states() {
    let host = everything(b"GenuineIntel");
    assert_eq!(answer(&view(0xe7), &host, 0xd, 0), [0xe7, 832, 2688, 0]);
    assert_eq!(answer(&view(7), &host, 0xd, 0), [7, 832, 832, 0]);
    assert_eq!(answer(&view(3), &host, 0xd, 0), [3, 576, 576, 0]);
    assert_eq!(answer(&view(0xe7), &host, 0xd, 1), [7, 832, 0, 0], "no XSAVES, no supervisor states");
    assert_eq!(answer(&view(0xe7), &host, 0xd, 2), [256, 576, 0, 0]);
    for subleaf in [8, 9, 17, 18, 63, 64, u32::MAX] {
        assert_eq!(answer(&view(0xe7), &host, 0xd, subleaf), [0; 4]);
    }
}

#[test]
fn unknown_leaves_are_zero() {
    for vendor in [b"GenuineIntel", b"AuthenticAMD"] {
        let host = everything(vendor);
        let hidden =
            [3, 5, 6, 8, 9, 0xa, 0xb, 0xc, 0xe, 0xf, 0x10, 0x12, 0x14, 0x15, 0x1c, 0x1f, 0x3fff_ffff, 0x5000_0000];
        let more = [0x7fff_ffff, 0x8000_000a, 0x8000_001e, 0x8000_001f, 0x8000_0022, 0x8fff_ffff, u32::MAX];
        for leaf in hidden.into_iter().chain(more) {
            for subleaf in [0, 1, u32::MAX] {
                assert_eq!(answer(&view(7), &host, leaf, subleaf), [0; 4], "leaf {leaf:#x}");
            }
        }
        assert_eq!(answer(&view(7), &host, 0, 0)[0], 0xd);
    }
}

#[test]
fn the_hypervisor_names_itself() {
    let host = everything(b"GenuineIntel");
    let [last, ebx, ecx, edx] = answer(&view(7), &host, 0x4000_0000, 0);
    let name: Vec<u8> = [ebx, ecx, edx].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!((last, &name[..]), (0x4000_0005, &b"XenVMMXenVMM"[..]));
    assert_eq!(answer(&view(7), &host, 0x4000_0001, 0), [0x0004_0011, 0, 0, 0]);
    assert_eq!(answer(&view(7), &host, 0x4000_0002, 0), [1, 0x4000_0000, 1, 0]);
    assert_eq!(answer(&view(7), &host, 0x4000_0003, 0), [2, 2, 2_100_000, 0]);
    assert_eq!(answer(&view(7), &host, 0x4000_0003, 2)[0], 2_100_000);
    assert_eq!(answer(&view(7), &host, 0x4000_0005, 0), [0, 46, 0, 0]);
    for leaf in [0x4000_0004, 0x4000_0006, 0x4000_0100, 0x4fff_ffff] {
        assert_eq!(answer(&view(7), &host, leaf, 0), [0; 4]);
    }
}

fn system(vendor: &'static [u8; 12]) -> SystemPolicies {
    told(vendor, &ALL)
}

fn told(vendor: &'static [u8; 12], told: &GuestView) -> SystemPolicies {
    SystemPolicies::new(Policy::read(everything(vendor)), &view(0xe7).features, told)
}

#[test]
fn lists_contain_all_leaves_within_the_limits() {
    for vendor in [b"GenuineIntel", b"AuthenticAMD"] {
        let SystemPolicies { raw, host, maximum, usual, .. } = system(vendor);
        for policy in [&raw, &host, &maximum, &usual] {
            let list: Vec<_> = policy.list().collect();
            assert!(list.len() <= MAX_LEAVES as usize);
            assert!(list.is_sorted_by_key(|entry| (entry.leaf, entry.subleaf)));
            let count = |leaf| list.iter().filter(|entry| entry.leaf == leaf).count();
            assert!((0..=0xd).all(|leaf| count(leaf) >= 1), "empty leaves are there");
            assert_eq!((count(4), count(0xb)), (6, 2));
            assert_eq!(count(0xd) as u32, policy.extended_states().checked_ilog2().unwrap_or(1) + 1, "with holes");
            // The lists of MSRs have the rest.
            let mut again = Policy::default();
            again.arch_capabilities = policy.arch_capabilities;
            assert!(list.iter().all(|entry| again.take_up(entry)));
            assert_eq!(&again, policy);
        }
    }
    let mut policy = Policy::default();
    for (leaf, subleaf) in
        [(0xe, u32::MAX), (1, 0), (4, 6), (7, 3), (0xd, 63), (0x4000_0001, u32::MAX), (0x8000_0022, u32::MAX)]
    {
        assert!(
            !policy.take_up(&CpuidLeaf { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 }),
            "{leaf:#x}/{subleaf:#x}"
        );
    }
}

#[test]
fn the_default_policy_is_within_the_maximum_and_derives_itself() {
    for vendor in [b"GenuineIntel", b"AuthenticAMD"] {
        let system = system(vendor);
        let (maximum, usual) = (feature_set(&system.maximum), feature_set(&system.usual));
        assert!(maximum.iter().zip(usual).all(|(most, word)| word & !most == 0));
        assert!(bit(maximum[7], 8) && !bit(usual[7], 8), "ITSC is available on request");
        assert!(bit(maximum[0], 28) && !bit(usual[0], 28), "HTT is set by the tools only");
        for policy in [&system.maximum, &system.usual, &*system.initial] {
            assert_eq!(derive::derive(policy, &system.maximum).as_ref(), Ok(policy));
        }
    }
}

#[test]
fn bits_about_transient_execution_are_those_of_the_defences() {
    // Leaf 7, EDX; leaf 0x80000008, EBX; leaf 0x80000021, EAX.
    const DECIDED: [(usize, u32); 3] = [(9, 0xac00_0400), (8, 0x7500_9000), (11, 0x3000_0020)];
    for vendor in [b"GenuineIntel", b"AuthenticAMD"] {
        let (all, nothing) = (system(vendor), told(vendor, &GuestView::NOTHING));
        let words = [&all.initial, &nothing.initial].map(|policy| feature_set(policy));
        for (word, decided) in DECIDED {
            let is_there = word != 11 || vendor == b"AuthenticAMD";
            let expected = if is_there { decided } else { 0 };
            assert_eq!(words.map(|words| words[word] & decided), [expected, 0], "word {word}");
            assert_eq!(words[0][word] & !decided, words[1][word] & !decided, "word {word}");
        }
        assert_eq!([all.initial.arch_capabilities, nothing.initial.arch_capabilities], [RDCL_NO | MDS_NO, 0]);
    }
    // A processor reports less than is true.
    let older = |leaf, subleaf| match leaf {
        0x8000_0000 => [0x8000_001f, 0, 0, 0],
        7 | 0x8000_0008 | 0x8000_0021 => [0; 4],
        _ => everything(b"AuthenticAMD")(leaf, subleaf),
    };
    let SystemPolicies { initial, .. } = SystemPolicies::new(Policy::read(older), &view(7).features, &ALL);
    let words = feature_set(&initial);
    assert_eq!(DECIDED.map(|(word, _)| words[word]), DECIDED.map(|(_, decided)| decided));
    assert_eq!(initial.limits()[2], 0x8000_0021);
    // One without leaf 7.
    let first = |leaf, subleaf| match leaf {
        0 => {
            let [_, ebx, ecx, edx] = everything(b"GenuineIntel")(0, 0);
            [5, ebx, ecx, edx]
        }
        _ => everything(b"GenuineIntel")(leaf, subleaf),
    };
    let policies = SystemPolicies::new(Policy::read(first), &view(0).features, &ALL);
    for policy in [&*policies.initial, &policies.maximum] {
        assert_eq!((policy.leaf(7, 0), policy.arch_capabilities), ([0; 4], 0));
    }
}

#[test]
fn a_guest_can_be_told_of_the_hosts_to_which_it_may_be_moved() {
    let SystemPolicies { maximum, usual, .. } = system(b"GenuineIntel");
    assert_eq!(usual.arch_capabilities, RDCL_NO | MDS_NO);
    assert_eq!(maximum.arch_capabilities & (RSBA | FB_CLEAR), RSBA | FB_CLEAR);
    let with = |arch_capabilities| {
        let mut wanted = usual.clone();
        wanted.arch_capabilities = arch_capabilities;
        derive::derive(&wanted, &maximum).expect("no more leaves than there are").arch_capabilities
    };
    assert_eq!(with(RDCL_NO | RSBA), RDCL_NO | RSBA);
    assert_eq!(with(u64::MAX), maximum.arch_capabilities, "no more than the maximum");
    let mut wanted = usual.clone();
    wanted.update(7, 0, |[.., edx]| *edx &= !features::ARCH_CAPS);
    let settled = derive::derive(&wanted, &maximum).expect("less than there is");
    assert_eq!((settled.arch_capabilities, feature_set(&settled)[16]), (0, 0), "nothing in a register that is hidden");
    // A host of another vendor has no such register.
    assert_eq!(told(b"AuthenticAMD", &GuestView::NOTHING).maximum.arch_capabilities, 0);
}

#[test]
fn controls_without_their_register_are_hidden() {
    let SystemPolicies { maximum, usual, .. } = system(b"GenuineIntel");
    let mut wanted = usual;
    wanted.update(7, 0, |[.., edx]| *edx &= !features::IBRSB);
    let settled = derive::derive(&wanted, &maximum).expect("less than there is");
    assert_eq!(settled.leaf(7, 0)[3] & features::STRUCTURED_EDX_IBRSB, 0);
}

#[test]
fn avx_can_be_withheld() {
    for vendor in [b"GenuineIntel", b"AuthenticAMD"] {
        let with = system(vendor);
        let without = told(vendor, &GuestView { avx: false, ..ALL });
        let wanted = derive::derive(&with.maximum, &without.maximum).expect("no more leaves than there are");
        for policy in [&*without.initial, &without.usual, &without.maximum, &wanted] {
            let words = feature_set(policy);
            assert_eq!(policy.extended_states(), 3);
            assert_eq!(words[1] & features::BASIC_ECX_AVX, 0, "AVX, FMA, F16C");
            assert_eq!(words[5] & (features::STRUCTURED_EBX_AVX | features::STRUCTURED_EBX_AVX512), 0);
            assert_eq!(words[6] & (features::STRUCTURED_ECX_AVX | features::STRUCTURED_ECX_AVX512), 0);
            assert_eq!(words[3] & features::EXTENDED_ECX_AVX, 0, "XOP, FMA4");
            assert!(bit(words[1], 26), "XSAVE is kept");
        }
        assert_eq!(with.initial.extended_states(), 0xe7);
    }
}

#[test]
fn no_domain_gets_more_than_the_maximum() {
    let SystemPolicies { raw, maximum, usual, .. } = system(b"GenuineIntel");
    // All features that the processor has, within the maximum number of leaves.
    let mut wanted = raw;
    let limits = maximum.limits();
    wanted.update(0, 0, |[last, ..]| *last = limits[0]);
    wanted.update(7, 0, |[last, ..]| *last = limits[1]);
    wanted.update(0x8000_0000, 0, |[last, ..]| *last = limits[2]);
    wanted.arch_capabilities = u64::MAX;
    let settled = derive::derive(&wanted, &maximum).expect("no more leaves than there are");
    assert_eq!(feature_set(&settled), feature_set(&maximum));
    assert_eq!(settled.extended_states(), 0xe7);
    for (leaf, subleaf, excess) in [(0, 0, u32::MAX), (7, 0, 0), (0x8000_0000, 0, u32::MAX)] {
        let mut wanted = usual.clone();
        wanted.update(leaf, subleaf, |[last, ..]| *last += 1);
        assert_eq!(derive::derive(&wanted, &maximum), Err(Excess { leaf, subleaf: excess }));
    }
}

#[test]
fn features_without_their_prerequisite_are_hidden() {
    let SystemPolicies { maximum, usual, .. } = system(b"GenuineIntel");
    let mut wanted = usual.clone();
    wanted.update(1, 0, |[_, _, ecx, _]| *ecx &= !features::AVX);
    let settled = derive::derive(&wanted, &maximum).expect("less than there is");
    let words = feature_set(&settled);
    assert_eq!(settled.extended_states(), 3);
    assert!(
        !bit(words[1], 12) && !bit(words[5], 5) && !bit(words[5], 16) && !bit(words[6], 9),
        "FMA, AVX2, AVX512F, VAES"
    );
    assert!(bit(words[1], 26), "XSAVE is kept");
    assert_eq!(settled.leaf(0xd, 0), [3, 576, 576, 0]);
    wanted.update(1, 0, |[_, _, ecx, _]| *ecx &= !features::XSAVE);
    let settled = derive::derive(&wanted, &maximum).expect("less than there is");
    assert_eq!((settled.extended_states(), settled.leaf(0xd, 1)), (0, [0; 4]));
    wanted = usual;
    wanted.update(0, 0, |[last, ..]| *last = 4);
    let settled = derive::derive(&wanted, &maximum).expect("less than there is");
    assert_eq!((settled.leaf(7, 0), settled.extended_states()), ([0; 4], 0));
}
