//! The topology of CPUs: which thread of which core of which package each one is.
//!
//! The place of a CPU is a pure function of its APIC ID and of CPUID. CPUID is read on the boot CPU
//! only: processors with different kinds of cores divide the APIC IDs of all of them in one way.
//! Threads share a core if they have the same place but for the thread. Compute units of AMD's
//! family 0x15 share less, so each of their CPUs is a core.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::addr::{CpuId, CpuSet, MAX_CPUS, PerCpu};
use crate::per_cpu;

/// The place of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The thread in its core.
    pub thread: u32,
    /// The core in its package.
    pub core: u32,
    /// The package.
    pub package: u32,
}

impl Place {
    /// Whether both places are threads of one core.
    pub const fn shares_core(self, other: Self) -> bool {
        self.core == other.core && self.package == other.package
    }
}

/// The number of low bits of an APIC ID that select the thread in a core, and the thread and core
/// in a package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    thread: u32,
    package: u32,
}

impl Layout {
    /// Each CPU is a core of one package.
    #[cfg(not(target_os = "none"))]
    const CORES_ONLY: Self = Self { thread: 0, package: 32 };

    /// Reads the layout from CPUID, as described in the manuals of Intel (leaves 0x1f and 0xb,
    /// otherwise 4 and 1) and AMD (leaf 0xb, otherwise 0x80000008 and 0x8000001e).
    pub fn of(cpuid: &dyn Fn(u32, u32) -> [u32; 4]) -> Self {
        let (last, last_extended) = (cpuid(0, 0)[0], cpuid(0x8000_0000, 0)[0]);
        let levels = [0x1f, 0xb].into_iter().filter(|&leaf| leaf <= last);
        if let Some(layout) = levels.into_iter().find_map(|leaf| Self::of_levels(leaf, cpuid)) {
            return layout;
        }
        let [signature, numbers, _, features] = cpuid(1, 0);
        let logical = if features & 1 << 28 != 0 { bits(numbers >> 16 & 0xff) } else { 0 };
        if last >= 4 && cpuid(4, 0)[0] & 0x1f != 0 {
            let cores = bits((cpuid(4, 0)[0] >> 26) + 1);
            return Self { thread: logical.saturating_sub(cores), package: logical.max(cores) };
        }
        if last_extended >= 0x8000_0008 {
            let numbers = cpuid(0x8000_0008, 0)[2];
            let package = if numbers >> 12 & 0xf != 0 { numbers >> 12 & 0xf } else { bits((numbers & 0xff) + 1) };
            let has_threads = last_extended >= 0x8000_001e && family(signature) >= 0x17;
            let threads = if has_threads { cpuid(0x8000_001e, 0)[1] >> 8 & 0xff } else { 0 };
            return Self { thread: bits(threads + 1).min(package), package };
        }
        Self { thread: 0, package: logical }
    }

    /// The layout by a leaf whose subleaves describe one level each, if the processor has it.
    fn of_levels(leaf: u32, cpuid: &dyn Fn(u32, u32) -> [u32; 4]) -> Option<Self> {
        const THREADS: u32 = 1;
        /// More levels than are defined.
        const MAX_LEVELS: u32 = 8;
        if cpuid(leaf, 0)[1] & 0xffff == 0 {
            return None;
        }
        let level = |subleaf| {
            let [shift, _, kind, _] = cpuid(leaf, subleaf);
            (kind >> 8 & 0xff, shift & 0x1f)
        };
        let levels = || (0..MAX_LEVELS).map(level).take_while(|(kind, _)| *kind != 0);
        let thread = levels().find(|(kind, _)| *kind == THREADS).map_or(0, |(_, shift)| shift);
        let package = levels().map(|(_, shift)| shift).max().unwrap_or(0);
        Some(Self { thread, package })
    }

    /// The place of the CPU with this APIC ID.
    pub fn place(self, apic_id: u32) -> Place {
        let low = |bits: u32| apic_id & !u32::MAX.checked_shl(bits).unwrap_or(0);
        Place {
            thread: low(self.thread),
            core: low(self.package).checked_shr(self.thread).unwrap_or(0),
            package: apic_id.checked_shr(self.package).unwrap_or(0),
        }
    }
}

/// The number of bits that distinguish `count` things.
const fn bits(count: u32) -> u32 {
    if count <= 1 { 0 } else { count.next_power_of_two().trailing_zeros() }
}

const fn family(signature: u32) -> u32 {
    let family = signature >> 8 & 0xf;
    if family == 0xf { family + (signature >> 20 & 0xff) } else { family }
}

/// The layout of this machine's APIC IDs.
#[cfg(target_os = "none")]
fn layout() -> Layout {
    static LAYOUT: crate::once::Once<Layout> = crate::once::Once::new();
    *LAYOUT.get_or_set(|| Layout::of(&crate::processor::cpuid))
}

/// The layout of the simulated machine's APIC IDs, which are the numbers of its CPUs.
#[cfg(not(target_os = "none"))]
fn layout() -> Layout {
    Layout { thread: simulated::THREAD_BITS.load(Ordering::Relaxed), ..Layout::CORES_ONLY }
}

/// The place of a CPU that has been started.
pub fn place(cpu: CpuId) -> Place {
    layout().place(per_cpu::apic_id(cpu))
}

/// The place of the CPU with this APIC ID.
#[cfg(target_os = "none")]
pub(crate) fn place_of(apic_id: u32) -> Place {
    layout().place(apic_id)
}

/// The online CPUs that share each CPU's core, without itself.
static OTHERS: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);
/// Whether any of these sets is not empty, or will not be.
static SHARED: AtomicBool = AtomicBool::new(false);

/// Whether several threads of a core are used. Known before the first guest runs.
#[inline]
pub fn cores_are_shared() -> bool {
    SHARED.load(Ordering::Relaxed)
}

/// Records that several threads of a core will be used.
#[cfg(target_os = "none")]
pub(crate) fn note_shared_cores() {
    SHARED.store(true, Ordering::Relaxed);
}

/// The online CPUs of a CPU's core, itself included.
#[inline]
pub fn siblings(cpu: CpuId) -> CpuSet {
    let mut set = CpuSet::from_bits(OTHERS[cpu].load(Ordering::Relaxed));
    set.insert(cpu);
    set
}

/// A name for a CPU's core: the lowest of its CPUs, which is online before the others.
#[inline]
pub fn core(cpu: CpuId) -> CpuId {
    siblings(cpu).iter().next().unwrap_or(cpu)
}

/// Makes a CPU that is about to be online a sibling of those that share its core.
#[cfg(target_os = "none")]
pub(crate) fn join(cpu: CpuId) {
    for other in per_cpu::all_online().filter(|other| *other != cpu && place(*other).shares_core(place(cpu))) {
        for (one, two) in [(cpu, other), (other, cpu)] {
            let mut set = CpuSet::EMPTY;
            set.insert(two);
            OTHERS[one].fetch_or(set.bits(), Ordering::Relaxed);
        }
    }
}

/// The topology of the simulated machine.
#[cfg(not(target_os = "none"))]
pub(crate) mod simulated {
    use core::sync::atomic::AtomicU32;

    use super::{CpuId, CpuSet, MAX_CPUS, OTHERS, Ordering, SHARED, layout};

    pub(super) static THREAD_BITS: AtomicU32 = AtomicU32::new(0);

    /// Gives each core `1 << bits` threads: CPUs with subsequent numbers share a core.
    pub fn set_thread_bits(bits: u32) {
        THREAD_BITS.store(bits, Ordering::Relaxed);
        let all = || (0..).map_while(CpuId::new).take(MAX_CPUS);
        let place = |cpu: CpuId| layout().place(cpu.number());
        for cpu in all() {
            let mut others = CpuSet::EMPTY;
            for other in all().filter(|other| *other != cpu && place(*other).shares_core(place(cpu))) {
                others.insert(other);
            }
            OTHERS[cpu].store(others.bits(), Ordering::Relaxed);
        }
        SHARED.store(bits != 0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A processor of AMD with this number of bits for a package, and of threads per core.
    const fn amd(leaf: u32, package: u32, threads: u32) -> [u32; 4] {
        match leaf {
            0 => [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
            // Family 0x17.
            1 => [0x0080_0f12, 0, 0, 1 << 28],
            0x8000_0000 => [0x8000_001f, 0, 0, 0],
            0x8000_0008 => [0, 0, package << 12 | 63, 0],
            0x8000_001e => [0, (threads - 1) << 8, 0, 0],
            _ => [0; 4],
        }
    }

    /// The subleaves of leaf 0xb or 0x1f: kind, shift and CPUs of each level.
    fn level(levels: &[[u32; 3]], subleaf: u32) -> [u32; 4] {
        levels
            .get(subleaf as usize)
            .map_or([0, 0, subleaf, 0], |[kind, shift, cpus]| [*shift, *cpus, kind << 8 | subleaf, 0])
    }

    fn places(layout: Layout, apic_ids: &[u32]) -> std::vec::Vec<(u32, u32, u32)> {
        let place = |id: &u32| layout.place(*id);
        apic_ids.iter().map(place).map(|place| (place.thread, place.core, place.package)).collect()
    }

    #[test]
    fn threads_of_intels_processors() {
        // Two packages of 28 cores with two threads (Skylake-SP).
        let server = Layout::of(&|leaf, subleaf| match leaf {
            0 => [0x16, 0, 0, 0],
            0xb => level(&[[1, 1, 2], [2, 6, 56]], subleaf),
            _ => [0; 4],
        });
        assert_eq!(
            places(server, &[0, 1, 2, 0x37, 0x40, 0x41]),
            [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 27, 0), (0, 0, 1), (1, 0, 1)]
        );
        // Before leaf 0xb: four cores with two threads.
        let older = Layout::of(&|leaf, _| match leaf {
            0 => [4, 0, 0, 0],
            1 => [0, 8 << 16, 0, 1 << 28],
            4 => [3 << 26 | 1, 0, 0, 0],
            _ => [0; 4],
        });
        assert_eq!(places(older, &[0, 1, 6, 7, 8]), [(0, 0, 0), (1, 0, 0), (0, 3, 0), (1, 3, 0), (0, 0, 1)]);
        // Threads disabled by the firmware: the bit is still there, and no CPU has it.
        let disabled = Layout::of(&|leaf, subleaf| match leaf {
            0 => [0x16, 0, 0, 0],
            0xb => level(&[[1, 1, 1], [2, 4, 4]], subleaf),
            _ => [0; 4],
        });
        let [one, two] = [0, 2].map(|id| disabled.place(id));
        assert!(!one.shares_core(two));
    }

    #[test]
    fn modules_and_dies_are_parts_of_a_package() {
        // A hybrid processor (Alder Lake): eight cores with two threads, then modules of four cores
        // with one. Leaf 0x1f describes modules, leaf 0xb does not.
        let hybrid = Layout::of(&|leaf, subleaf| match leaf {
            0 => [0x20, 0, 0, 0],
            0xb => level(&[[1, 1, 2], [2, 7, 24]], subleaf),
            0x1f => level(&[[1, 1, 2], [2, 3, 16], [3, 7, 24]], subleaf),
            _ => [0; 4],
        });
        assert_eq!(places(hybrid, &[0, 1, 8, 9]), [(0, 0, 0), (1, 0, 0), (0, 4, 0), (1, 4, 0)]);
        assert_eq!(places(hybrid, &[0x40, 0x42, 0x44]), [(0, 32, 0), (0, 33, 0), (0, 34, 0)]);
        assert_eq!(hybrid, Layout { thread: 1, package: 7 });
    }

    #[test]
    fn threads_of_amds_processors() {
        // Zen has no leaf 0xb.
        let zen = Layout::of(&|leaf, _| amd(leaf, 6, 2));
        assert_eq!(places(zen, &[0, 1, 2, 0x41]), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 1)]);
        let one_thread = Layout::of(&|leaf, _| amd(leaf, 6, 1));
        assert_eq!(places(one_thread, &[0, 1]), [(0, 0, 0), (0, 1, 0)]);
        // Zen 2 and 3 have it, with a core complex of 8 cores or less per 16 numbers.
        let zen2 = Layout::of(&|leaf, subleaf| match leaf {
            0 => [0x10, 0, 0, 0],
            0xb => level(&[[1, 1, 2], [2, 7, 128]], subleaf),
            _ => amd(leaf, 7, 2),
        });
        assert_eq!(places(zen2, &[6, 7, 16, 0x80]), [(0, 3, 0), (1, 3, 0), (0, 8, 0), (0, 0, 1)]);
        // Compute units of family 0x15.
        let bulldozer = Layout::of(&|leaf, _| if leaf == 1 { [0x0060_0f12, 0, 0, 0] } else { amd(leaf, 4, 2) });
        assert_eq!(places(bulldozer, &[0, 1]), [(0, 0, 0), (0, 1, 0)]);
    }

    #[test]
    fn a_processor_that_describes_nothing_has_one_core_per_package() {
        let single = Layout::of(&|_, _| [0; 4]);
        assert_eq!(places(single, &[0, 3]), [(0, 0, 0), (0, 0, 3)]);
    }

    #[test]
    fn cpuid_with_random_contents_is_harmless() {
        for seed in 0..10_000u32 {
            let word = |leaf: u32, subleaf: u32, register: u32| {
                let mut word = seed ^ leaf.rotate_left(9) ^ subleaf.rotate_left(17) ^ register.rotate_left(25);
                for _ in 0..4 {
                    word = word.wrapping_mul(0x9e37_79b1) ^ word >> 15;
                }
                word
            };
            let layout = Layout::of(&|leaf, subleaf| [0, 1, 2, 3].map(|register| word(leaf, subleaf, register)));
            let [place, next] = [seed, seed ^ 1 << 31].map(|apic_id| layout.place(apic_id));
            assert!(place == next || place.package != next.package || layout.package == 32, "{layout:?}");
        }
    }

    #[test]
    fn cpus_of_a_simulated_core_are_siblings() {
        simulated::set_thread_bits(1);
        let cpu = |number| CpuId::new(number).unwrap();
        assert_eq!(siblings(cpu(2)).bits(), 0b1100);
        assert_eq!((core(cpu(2)), core(cpu(3)), core(cpu(4))), (cpu(2), cpu(2), cpu(4)));
        assert!(cores_are_shared());
        simulated::set_thread_bits(0);
        assert_eq!(siblings(cpu(3)).bits(), 0b1000);
        assert!(!cores_are_shared());
    }
}
