#![expect(unsafe_code, reason = "finds this CPU's page by the stack pointer")]
//! The data page in each CPU's window. The entry code addresses it RIP-relative, Rust code by the
//! stack pointer.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::Pending;
use crate::addr::{CpuId, CpuSet, MAX_CPUS, PerCpu};
use crate::integers::{low_u16, low_u32};
use crate::layout;

/// The task-state segment (Intel SDM volume 3, 8.7).
#[repr(C, packed(4))]
pub(crate) struct TaskState {
    pub(crate) _reserved0: u32,
    /// Stack for entries from ring 3: the end of the registers in the active `GuestContext`.
    pub(crate) rsp0: u64,
    pub(crate) rsp1: u64,
    pub(crate) rsp2: u64,
    pub(crate) _reserved1: u64,
    /// Stacks of NMI (1), machine check (2) and double fault (3).
    pub(crate) interrupt_stacks: [u64; 7],
    pub(crate) _reserved2: u64,
    pub(crate) _reserved3: u16,
    /// Beyond the segment's limit: ring 3 has access to no port.
    pub(crate) io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// A CPU's own page. The entry code gets the offsets by `offset_of!`.
#[repr(C)]
pub(crate) struct CpuInfo {
    /// The guest's stack pointer during a system-call entry.
    pub(crate) scratch: u64,
    /// The end of the registers in the active context (as `rsp0`).
    pub(crate) registers_end: u64,
    /// The active `GuestContext`; null if there is none. Only the entry code dereferences it.
    pub(crate) context: *mut (),
    /// Paravane's SPEC_CTRL with IBRS at each entry, once that has been decided; zero otherwise.
    pub(crate) own_spec_ctrl: u32,
    /// 1 if traps clear the history of branches, once that has been decided; zero otherwise.
    pub(crate) clear_history: u32,
    /// Physical address of this CPU's two restricted roots, aligned to [`RESTRICTED_ROOTS_SIZE`].
    pub(crate) restricted_roots: u64,
    /// Paravane's own root table.
    pub(crate) own_root: u64,
    /// This CPU's local APIC ID.
    pub(crate) apic_id: u32,
    /// Events recorded by interrupts ([`Pending`]).
    pub(crate) pending: AtomicU32,
    /// The last fault in ring 0 with an exception table entry: the vector, and the error code above
    /// it.
    pub(crate) fault: u64,
    pub(crate) task_state: TaskState,
}

const _: () = assert!(size_of::<CpuInfo>() <= 4096);

/// Size of a CPU's pair of restricted roots, for user mode and for kernel mode, in bytes.
pub(crate) const RESTRICTED_ROOTS_SIZE: u64 = 2 << 12;

/// Offset of `CpuInfo` in a CPU's window. The entry code is below.
pub(crate) const OFFSET: u64 = 0x8000;

/// This CPU's window. On the boot stack, which is in no window, an address below the first one.
#[inline]
pub(crate) fn window() -> u64 {
    let window: u64;
    // SAFETY: reads a register. The result is the same anywhere on a CPU's stacks, so it may be
    // treated as a constant (`pure`).
    unsafe {
        asm!("mov {window}, rsp", "and {window}, {mask}", window = out(reg) window,
             mask = const -layout::PER_CPU_SIZE.cast_signed(), options(pure, nomem, nostack));
    }
    window
}

/// This CPU's page, for fields that only this CPU writes, with interrupts off.
#[inline]
pub(crate) fn own_info() -> *mut CpuInfo {
    (window() + OFFSET) as *mut CpuInfo
}

/// Sets the address at which the next entry from ring 3 pushes its frame.
pub(crate) fn set_context(context: *mut (), registers_end: u64) {
    let info = own_info();
    // SAFETY: the page is mapped since this CPU was started, and only this CPU writes these fields.
    unsafe { (*info).context = context };
    // SAFETY: as above.
    unsafe { (*info).registers_end = registers_end };
    let stack = info.cast::<u8>().wrapping_add(offset_of!(CpuInfo, task_state.rsp0)).cast::<u64>();
    // SAFETY: as above; the field may be unaligned for its type.
    unsafe { stack.write_unaligned(registers_end) };
}

/// Records a fault in ring 0 with an exception table entry.
pub(crate) fn note_host_fault(vector: u64, error_code: u64) {
    // SAFETY: the page is mapped since this CPU was started, and only this CPU writes the field.
    unsafe { (*own_info()).fault = vector & 0xff | error_code << 32 };
}

/// Vector and error code of the last fault in ring 0 with an exception table entry.
pub(crate) fn host_fault() -> (u8, u32) {
    // SAFETY: the page is mapped since this CPU was started, and only this CPU writes the field.
    let fault = unsafe { (*own_info()).fault };
    ((fault & 0xff) as u8, (fault >> 32) as u32)
}

/// The page of a CPU that has a window.
pub(crate) const fn info(cpu: CpuId) -> *mut CpuInfo {
    (layout::PER_CPU_BASE + cpu.index() as u64 * layout::PER_CPU_SIZE + OFFSET) as *mut CpuInfo
}

static ONLINE: AtomicUsize = AtomicUsize::new(1);

/// The number of this CPU.
#[inline]
pub fn current() -> CpuId {
    // The windows are contiguous and in the order of their CPUs. On the boot stack, which is
    // elsewhere, there is only one CPU.
    let number = window().wrapping_sub(layout::PER_CPU_BASE) / layout::PER_CPU_SIZE;
    u32::try_from(number).ok().and_then(CpuId::new).unwrap_or(CpuId::BOOT)
}

/// The number of running CPUs, which are numbered from zero.
pub fn online() -> usize {
    ONLINE.load(Ordering::Acquire)
}

/// The running CPUs.
pub(crate) fn online_set() -> CpuSet {
    CpuSet::from_bits(u64::MAX >> (64 - online()))
}

/// Sets what the entry code of this CPU does about predictions: what it writes to SPEC_CTRL, or
/// zero, and whether traps clear the history of branches.
pub(crate) fn set_entry_defences(own_spec_ctrl: u32, clear_history: bool) {
    let info = own_info();
    // SAFETY: the page is mapped since this CPU was started, and only this CPU writes the field.
    unsafe { (*info).own_spec_ctrl = own_spec_ctrl };
    // SAFETY: as above.
    unsafe { (*info).clear_history = clear_history.into() };
}

/// What the entry code of this CPU writes to SPEC_CTRL for Paravane; zero if it does not write it.
pub(crate) fn own_spec_ctrl() -> u32 {
    // SAFETY: the page is mapped since this CPU was started, and only this CPU writes the field.
    unsafe { (*own_info()).own_spec_ctrl }
}

/// Counts this CPU as running.
pub(crate) fn note_online() {
    ONLINE.fetch_add(1, Ordering::AcqRel);
}

static PARKED: AtomicUsize = AtomicUsize::new(0);

/// The number of CPUs that have been started but do nothing. Their numbers follow those of the
/// running ones.
pub fn parked() -> usize {
    PARKED.load(Ordering::Acquire)
}

/// Counts this CPU as parked. All CPUs that are to run have been started before.
pub(crate) fn note_parked() {
    PARKED.fetch_add(1, Ordering::AcqRel);
}

/// The local APIC ID of a CPU that has a window.
pub fn apic_id(cpu: CpuId) -> u32 {
    // SAFETY: boot builds windows for all CPUs that can run, and the ID changes only before its CPU
    // runs.
    unsafe { (*info(cpu)).apic_id }
}

/// Adds to this CPU's pending set.
pub(crate) fn record(event: Pending) {
    // SAFETY: this CPU's page is mapped as long as the CPU runs; the field is atomic.
    unsafe { (*own_info()).pending.fetch_or(event.bits(), Ordering::Relaxed) };
}

/// Returns this CPU's pending set and clears it.
#[inline]
pub(crate) fn take() -> Pending {
    if !any() {
        return Pending::empty();
    }
    // SAFETY: as in `record`.
    Pending::from_bits_retain(unsafe { (*own_info()).pending.swap(0, Ordering::Relaxed) })
}

/// Whether this CPU's pending set is not empty.
#[inline]
pub(crate) fn any() -> bool {
    // SAFETY: as in `record`.
    unsafe { (*own_info()).pending.load(Ordering::Relaxed) != 0 }
}

/// The vCPU that each CPU runs: domain, vCPU and bit 63; zero for none.
static RUNNING: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

/// Records the vCPU (domain and number) that this CPU runs, for crash messages.
pub fn note_running(domain_and_vcpu: Option<(u16, u32)>) {
    let value = domain_and_vcpu.map_or(0, |(domain, vcpu)| u64::from(domain) << 32 | u64::from(vcpu) | 1 << 63);
    RUNNING[current()].store(value, Ordering::Relaxed);
}

/// The recorded vCPU of a CPU, as domain and number.
pub(crate) fn running(cpu: CpuId) -> Option<(u16, u32)> {
    let running = RUNNING[cpu].load(Ordering::Relaxed);
    (running != 0).then_some((low_u16(running >> 32), low_u32(running)))
}
