//! Addresses and memory of the guest: P2M and M2P, start info, shared info, a pool of pages for the
//! checks.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use core::mem::offset_of;

use abi::arch_x86_64::address;
use abi::xen::{SharedInfo, StartInfo, sif};
use zerocopy::FromZeros;

use crate::call::number;
use crate::start::{MAX_VCPUS, VIRT_BASE, start_info_address};

/// Size of a page in bytes.
pub const PAGE: u64 = 4096;
/// Virtual address of the machine-to-physical table.
pub const M2P: u64 = address::MACH2PHYS_START;
/// First address of the hypervisor's range, and the first address after it.
pub const HYPERVISOR: core::ops::Range<u64> = address::HYPERVISOR_START..address::HYPERVISOR_END;
const POOL_PAGES: usize = 512;

/// One page of memory.
#[repr(C, align(4096))]
pub struct Page(core::cell::UnsafeCell<[u64; 512]>);

// SAFETY: pages are accessed only with `peek` and `poke`, which are volatile.
unsafe impl Sync for Page {}

impl Page {
    /// A page of zeros, for statics.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "const")]
    pub const fn new() -> Self {
        Self(core::cell::UnsafeCell::new([0; 512]))
    }

    /// The page's virtual address.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }
}

static POOL: [Page; POOL_PAGES] = [const { Page::new() }; POOL_PAGES];
static POOL_NEXT: AtomicUsize = AtomicUsize::new(0);
static SHARED_INFO: Page = Page::new();
static VCPU_INFO: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

/// Reads a value at a virtual address.
#[must_use]
pub fn peek<T: Copy>(address: u64) -> T {
    // SAFETY: by convention (crate documentation): the check knows the memory at the address, and a
    // wrong address traps.
    unsafe { core::ptr::read_volatile(address as *const T) }
}

/// Writes a value at a virtual address.
pub fn poke<T: Copy>(address: u64, value: T) {
    // SAFETY: as in `peek`.
    unsafe { core::ptr::write_volatile(address as *mut T, value) }
}

/// Takes a zeroed page out of the pool, mapped writable at the returned address. It is never
/// returned.
#[must_use]
pub fn page() -> u64 {
    pages(1)
}

/// Takes `count` contiguous pages out of the pool.
#[must_use]
pub fn pages(count: usize) -> u64 {
    let first = POOL_NEXT.fetch_add(count, Relaxed);
    assert!(first + count <= POOL_PAGES, "the pool of pages is used up");
    POOL[first].address()
}

/// The start info.
#[must_use]
pub fn start_info() -> StartInfo {
    peek(start_info_address())
}

/// A structure of the interface with all bytes zero.
#[must_use]
pub fn zeroed<T: FromZeros>() -> T {
    T::new_zeroed()
}

/// Whether the guest is the initial domain.
#[must_use]
pub fn initial_domain() -> bool {
    start_info().flags & sif::INITDOMAIN != 0
}

/// Number of frames that the domain has at start.
#[must_use]
pub fn total_pages() -> u64 {
    start_info().page_count
}

/// The kernel's command line.
#[must_use]
pub fn command_line() -> &'static [u8] {
    let start = start_info_address() + offset_of!(StartInfo, command_line) as u64;
    let length = (0..1023).find(|&at| peek::<u8>(start + at) == 0).unwrap_or(1023);
    // SAFETY: these bytes belong to the start info, which nothing writes after start.
    unsafe { core::slice::from_raw_parts(start as *const u8, length as usize) }
}

/// The value after `key=` on the command line, as a number.
#[must_use]
pub fn argument(key: &str) -> Option<u64> {
    command_line().split(|&byte| byte == b' ').find_map(|word| {
        let value = word.strip_prefix(key.as_bytes())?.strip_prefix(b"=")?;
        core::str::from_utf8(value).ok()?.parse().ok()
    })
}

/// Machine frame of pseudo-physical frame `pfn`.
#[must_use]
pub fn p2m(pfn: u64) -> u64 {
    peek(peek::<u64>(start_info_address() + offset_of!(StartInfo, mfn_list) as u64) + pfn * 8)
}

/// Pseudo-physical frame of machine frame `mfn`, according to the M2P.
#[must_use]
pub fn m2p(mfn: u64) -> u64 {
    peek(M2P + mfn * 8)
}

/// Pseudo-physical frame at an address of the initial mapping.
#[must_use]
pub fn pfn_of(address: u64) -> u64 {
    (address - VIRT_BASE) / PAGE
}

/// Machine frame at an address of the initial mapping.
#[must_use]
pub fn mfn_of(address: u64) -> u64 {
    p2m(pfn_of(address))
}

/// Machine address of an address of the initial mapping.
#[must_use]
pub fn machine_of(address: u64) -> u64 {
    mfn_of(address) * PAGE + address % PAGE
}

/// Address in the initial mapping of machine frame `mfn`.
#[must_use]
pub fn address_of(mfn: u64) -> u64 {
    VIRT_BASE + m2p(mfn) * PAGE
}

/// Maps the shared info in place of a page of the kernel.
pub(crate) fn map_shared_info() {
    let machine = start_info().shared_info;
    let entry = machine | 0x67;
    let result = crate::call!(number::UPDATE_VA_MAPPING, SHARED_INFO.address(), entry, 2u32);
    assert_eq!(result, 0, "mapping the shared info");
    for vcpu in 0..MAX_VCPUS {
        set_vcpu_info(vcpu, SHARED_INFO.address() + vcpu as u64 * 64);
    }
}

/// Masks all event channels, so that events of the console and the store do not interfere with the
/// checks.
pub(crate) fn mask_events() {
    for word in 0..64 {
        poke(SHARED_INFO.address() + offset_of!(SharedInfo, event_mask) as u64 + word * 8, u64::MAX);
    }
}

/// Address of the shared info.
#[must_use]
pub fn shared_info() -> u64 {
    SHARED_INFO.address()
}

/// Sets the address of a vCPU's `vcpu_info` after it has been moved.
pub fn set_vcpu_info(vcpu: usize, address: u64) {
    VCPU_INFO[vcpu].store(address, Relaxed);
}

/// The `vcpu_info` of a vCPU.
#[must_use]
pub fn vcpu_info(vcpu: usize) -> Info {
    Info(VCPU_INFO[vcpu].load(Relaxed))
}

/// A vCPU's `vcpu_info`, by address.
#[derive(Clone, Copy)]
pub struct Info(pub u64);

impl Info {
    /// `evtchn_upcall_pending`.
    #[must_use]
    pub fn pending(self) -> u8 {
        peek(self.0)
    }
    /// Writes `evtchn_upcall_pending`.
    pub fn set_pending(self, value: u8) {
        poke(self.0, value);
    }
    /// `evtchn_upcall_mask`.
    #[must_use]
    pub fn mask(self) -> u8 {
        peek(self.0 + 1)
    }
    /// Writes `evtchn_upcall_mask`.
    pub fn set_mask(self, value: u8) {
        poke(self.0 + 1, value);
    }
    /// `evtchn_pending_sel`.
    #[must_use]
    pub fn selector(self) -> u64 {
        peek(self.0 + 8)
    }
    /// Writes `evtchn_pending_sel`.
    pub fn set_selector(self, value: u64) {
        poke(self.0 + 8, value);
    }
    /// `arch.cr2`.
    #[must_use]
    pub fn cr2(self) -> u64 {
        peek(self.0 + 16)
    }
    /// Address of `time`.
    #[must_use]
    pub fn time(self) -> u64 {
        self.0 + 32
    }
}
