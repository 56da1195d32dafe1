//! Address and frame spaces, one newtype each, so that a number of one space cannot be used in
//! another.

use core::fmt;
use core::ops::Index;
use core::slice;

use crate::integers::to_usize;
use crate::speculation;

/// log2 of the page size.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page or frame.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// /// Wraps a number of this space. The number is not checked.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The plain number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

number! {
    /// A machine frame number: physical address divided by the page size.
    Mfn
}
number! {
    /// A guest's pseudo-physical frame number, as its P2M counts them.
    Pfn
}
number! {
    /// A physical address of the machine, in bytes.
    MachineAddr
}
number! {
    /// A virtual address from a guest. It is a claim until an access through it has succeeded.
    GuestVirt
}

impl Mfn {
    /// The frame that contains `address`.
    pub const fn containing(address: MachineAddr) -> Self {
        Self(address.0 >> PAGE_SHIFT)
    }

    /// The first byte of the frame. Frame numbers above 2^52 wrap; no frame table extends that far.
    pub const fn address(self) -> MachineAddr {
        MachineAddr(self.0 << PAGE_SHIFT)
    }
}

/// First address that belongs to Paravane (L4 slot 256).
pub const HYPERVISOR_START: u64 = 0xffff_8000_0000_0000;
/// First address above Paravane's (L4 slot 272).
pub const HYPERVISOR_END: u64 = 0xffff_8800_0000_0000;

/// The bits from this one on are equal in all of Paravane's addresses, and in no others.
pub(crate) const HYPERVISOR_SHIFT: u32 = 43;
const _: () = assert!(HYPERVISOR_END - HYPERVISOR_START == 1 << HYPERVISOR_SHIFT);
const _: () = assert!(HYPERVISOR_START.is_multiple_of(1 << HYPERVISOR_SHIFT));

/// The root-table slot of an address.
pub(crate) const fn root_slot(address: u64) -> u16 {
    ((address >> (PAGE_SHIFT + 27)) & 511) as u16
}

/// First root-table slot that belongs to Paravane.
pub(crate) const FIRST_HYPERVISOR_SLOT: u16 = root_slot(HYPERVISOR_START);
/// First root-table slot above Paravane's.
pub(crate) const END_HYPERVISOR_SLOTS: u16 = root_slot(HYPERVISOR_END);

const _: () = assert!(FIRST_HYPERVISOR_SLOT == 256 && END_HYPERVISOR_SLOTS == 272);

impl GuestVirt {
    /// Whether `length` bytes from here are in canonical space outside Paravane's slots.
    pub const fn is_guest_range(self, length: u64) -> bool {
        let Some(end) = self.0.checked_add(length) else { return false };
        end <= 0x0000_8000_0000_0000 || self.0 >= HYPERVISOR_END
    }

    /// Whether this single address is canonical and outside Paravane's slots.
    pub const fn is_guest(self) -> bool {
        self.0 < 0x0000_8000_0000_0000 || self.0 >= HYPERVISOR_END
    }

    /// This address for an access, after [`is_guest_range`](Self::is_guest_range). On a
    /// mispredicted path, on which it is Paravane's, it is zero.
    #[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "hosted accesses walk the guest's tables"))]
    pub(crate) fn masked(self) -> u64 {
        speculation::unless_upper_bits::<HYPERVISOR_SHIFT, { HYPERVISOR_START >> HYPERVISOR_SHIFT }>(self.0)
    }

    /// This address plus `bytes`, wrapping as address arithmetic in hardware does.
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Index into the page table of `level` (1 to 4) for this address.
    pub const fn index(self, level: u32) -> usize {
        ((self.0 >> (PAGE_SHIFT + 9 * (level - 1))) & 511) as usize
    }

    /// Offset inside the page.
    pub const fn page_offset(self) -> usize {
        to_usize(self.0) % PAGE_SIZE
    }
}

/// A physical CPU, counted from zero in the order of discovery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuId(u32);

/// The maximum number of physical CPUs that Paravane starts.
pub const MAX_CPUS: usize = 64;

impl CpuId {
    /// The CPU that booted.
    pub const BOOT: Self = Self(0);

    /// A CPU by number, if such a CPU can exist.
    pub const fn new(number: u32) -> Option<Self> {
        if (number as usize) < MAX_CPUS { Some(Self(number)) } else { None }
    }

    /// The CPU's number, below [`MAX_CPUS`].
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The CPU's number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One value for each physical CPU that can exist.
#[derive(Debug)]
pub struct PerCpu<T>([T; MAX_CPUS]);

impl<T> PerCpu<T> {
    /// The values, in the order of the CPUs.
    pub const fn new(values: [T; MAX_CPUS]) -> Self {
        Self(values)
    }

    /// The values in the order of the CPUs.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T> Index<CpuId> for PerCpu<T> {
    type Output = T;

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the remainder is an index; for a `CpuId` it is the number itself")]
    fn index(&self, cpu: CpuId) -> &T {
        &self.0[cpu.index() % MAX_CPUS]
    }
}

/// A set of physical CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuSet(u64);

impl CpuSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);
    /// Every CPU that can exist.
    pub const ALL: Self = Self(u64::MAX);

    /// A set from a bit mask, bit n for CPU n.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as a bit mask, bit n for CPU n.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Adds a CPU.
    pub const fn insert(&mut self, cpu: CpuId) {
        self.0 |= 1 << cpu.0;
    }

    /// Removes a CPU.
    pub const fn remove(&mut self, cpu: CpuId) {
        self.0 &= !(1 << cpu.0);
    }

    /// Whether the CPU is a member.
    pub const fn contains(self, cpu: CpuId) -> bool {
        self.0 & (1 << cpu.0) != 0
    }

    /// Whether there is no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = CpuId> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let number = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (number < 64).then_some(CpuId(number))
        })
    }
}
