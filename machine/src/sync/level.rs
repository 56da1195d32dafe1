//! The order of locks. A CPU that holds a lock may take only locks of higher levels; debug builds
//! check this for every acquisition.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::addr::{MAX_CPUS, PerCpu};

/// All locks in their only permitted order, outermost first, with the data that each protects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Level {
    /// The list of domains.
    Domains,
    /// The list of domains that await teardown.
    Ended,
    /// One domain's life cycle: pauses, destruction and end.
    DomainLife,
    /// The control domain's settings of one domain.
    DomainRecord,
    /// The frames that are claimed for domains.
    Claims,
    /// One domain's grant table. No operation needs two of them at a time.
    Grant,
    /// One domain's record of the grants that it has mapped.
    GrantPeer,
    /// The hardware domain's interrupts.
    Hardware,
    /// One domain's event ports; of two, the lower domain number first (see `EventPeer`).
    Event,
    /// The second of two domains' event ports.
    EventPeer,
    /// A FIFO event queue of one vCPU and priority.
    EventQueue,
    /// One vCPU's parked context and registered areas.
    Vcpu,
    /// The location of one vCPU's `vcpu_info`.
    VcpuInfo,
    /// One domain's CPUID content.
    CpuPolicy,
    /// One domain's console ring and line buffer, and the built-in xenstore's state.
    Console,
    /// The owner of the unfinished line on the serial port, and the lines that wait for its end.
    SerialLine,
    /// A pCPU's run queue and the scheduler's shared state.
    Scheduler,
    /// The turn of a core, for core scheduling.
    Core,
    /// Time accounting of one vCPU or domain.
    Accounting,
    /// A pCPU's timer queue.
    Timer,
    /// The frames of one domain.
    FrameList,
    /// One domain's queue of page tables that await teardown.
    Teardown,
    /// One domain's log of dirty pages, with its mirror tables.
    DirtyLog,
    /// The frame allocator's free lists.
    FrameAllocator,
    /// The heap.
    Heap,
    /// The ports of PCI configuration space.
    PciConfiguration,
    /// The history of console output.
    History,
    /// The window in which device memory is mapped.
    DeviceWindow,
    /// The I/O APICs.
    IoApic,
    /// A serial port.
    Serial,
    /// The screen.
    Screen,
}

static HELD: PerCpu<AtomicU32> = PerCpu::new([const { AtomicU32::new(0) }; MAX_CPUS]);

fn held() -> &'static AtomicU32 {
    &HELD[crate::per_cpu::current()]
}

/// Records that this CPU takes a lock of `level`.
///
/// # Panics
/// In debug builds, if a lock of this level or an inner one is held already: the order is wrong and
/// could deadlock.
pub(super) fn acquire(level: Level) {
    if cfg!(debug_assertions) {
        let before = held().fetch_or(1 << level as u8, Ordering::Relaxed);
        assert!(before >> (level as u8) == 0, "lock order: {level:?} taken while holding levels {before:#b}");
    }
}

/// Records that this CPU has released its lock of `level`.
pub(super) fn release(level: Level) {
    if cfg!(debug_assertions) {
        held().fetch_and(!(1 << level as u8), Ordering::Relaxed);
    }
}
