#![expect(unsafe_code, reason = "copies the start-up code to low memory and runs other CPUs")]
//! Start-up of the other CPUs, one at a time.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arrayvec::ArrayVec;

use crate::addr::{CpuId, MAX_CPUS};
use crate::address_space::{tables, windows};
use crate::integers::{low_u8, to_usize};
use crate::once::Once;
use crate::topology::{self, Place};
use crate::{apic, boot, defences, idle, layout, microcode_update, per_cpu, processor, time, traps};

/// The page below 1 MiB in which the start-up code runs.
static TRAMPOLINE: AtomicU64 = AtomicU64::new(0);
/// The root table and stack for the next CPU.
pub(super) static AP_ROOT: AtomicU64 = AtomicU64::new(0);
pub(super) static AP_STACK: AtomicU64 = AtomicU64::new(0);
static STARTING: AtomicUsize = AtomicUsize::new(0);
/// CPUs that start are parked.
static PARK: AtomicBool = AtomicBool::new(false);
static MAIN: Once<fn() -> !> = Once::new();

/// Copies the start-up code to a free page below 1 MiB.
pub(crate) fn place_trampoline(page: u64) {
    unsafe extern "C" {
        static trampoline_start: u8;
        static trampoline_efer: u8;
        static trampoline_end: u8;
    }
    let (first, last) = ((&raw const trampoline_start) as u64, (&raw const trampoline_end) as u64);
    let target = layout::direct(page) as *mut u8;
    // SAFETY: the page is free and mapped, and the code is shorter than a page.
    unsafe { target.copy_from(first as *const u8, to_usize(last - first)) };
    let efer: u32 = if processor::features().no_execute { 0x900 } else { 0x100 };
    let field = target.wrapping_add(to_usize((&raw const trampoline_efer) as u64 - first));
    // SAFETY: the field is inside the copy.
    unsafe { field.cast::<u32>().write_unaligned(efer) };
    TRAMPOLINE.store(page, Ordering::Relaxed);
}

/// Whether only one thread of each core is used.
fn one_thread_per_core() -> bool {
    defences::report().plan.smt_off
}

/// The maximum number of CPUs that run.
fn limit() -> usize {
    boot::options().max_cpus.map_or(MAX_CPUS, |max| max as usize).clamp(1, MAX_CPUS)
}

/// The places of the boot CPU and the others.
fn places() -> impl Iterator<Item = Place> {
    [apic::id()].into_iter().chain(boot::other_cpus().iter().copied()).map(topology::place_of)
}

/// Whether a CPU of `earlier` shares the core of `place`.
fn is_sibling(place: Place, mut earlier: impl Iterator<Item = Place>) -> bool {
    earlier.any(|other| other.shares_core(place))
}

/// The number of CPUs that run if all of them start.
pub(crate) fn expected() -> usize {
    let runs = |(index, place): (usize, Place)| !(one_thread_per_core() && is_sibling(place, places().take(index)));
    places().enumerate().filter(|found| runs(*found)).count().min(limit())
}

/// See `cpu::start_others`.
pub(crate) fn start_others(main: fn() -> !) {
    MAIN.set(main);
    let page = TRAMPOLINE.load(Ordering::Relaxed);
    if page == 0 {
        return log::warn!("no free page below 1 MiB: the other CPUs stay off");
    }
    AP_ROOT.store(tables::idle_root(), Ordering::Relaxed);
    if !one_thread_per_core() && (0..).zip(places()).any(|(index, place)| is_sibling(place, places().take(index))) {
        topology::note_shared_cores();
    }
    let mut siblings: ArrayVec<u32, MAX_CPUS> = ArrayVec::new();
    for &apic_id in boot::other_cpus() {
        let online = per_cpu::all_online().map(topology::place);
        if one_thread_per_core() && is_sibling(topology::place_of(apic_id), online) {
            siblings.push(apic_id);
        } else if per_cpu::online() < limit() {
            start_one(apic_id, low_u8(page >> 12));
        }
    }
    PARK.store(true, Ordering::SeqCst);
    for &apic_id in &siblings {
        start_one(apic_id, low_u8(page >> 12));
    }
    microcode_update::report();
    log::info!("{} of {} CPUs are running", per_cpu::online(), boot::other_cpus().len() + 1);
    if !siblings.is_empty() {
        log::info!("{} threads of these cores are parked (smt=0)", per_cpu::parked());
    }
}

/// The number of CPUs that have been started.
fn started() -> usize {
    per_cpu::online() + per_cpu::parked()
}

/// Starts a CPU under the next number.
fn start_one(apic_id: u32, page: u8) {
    if let Some(cpu) = u32::try_from(started()).ok().and_then(CpuId::new)
        && !start_as(cpu, apic_id, page)
    {
        log::error!("the CPU with APIC number {apic_id} does not start");
    }
}

fn start_as(cpu: CpuId, apic_id: u32, page: u8) -> bool {
    // SAFETY: the window was built at boot and its CPU is not running yet.
    unsafe { (*per_cpu::info(cpu)).apic_id = apic_id };
    AP_STACK.store(windows::main_stack_top(cpu), Ordering::Relaxed);
    STARTING.store(cpu.index(), Ordering::SeqCst);
    apic::send_init(apic_id);
    time::delay(10_000);
    for wait in [1_000, 2_000_000] {
        apic::send_startup(apic_id, page);
        let end = time::now() + wait * 1000;
        while time::now() < end {
            if started() > cpu.index() {
                return true;
            }
            core::hint::spin_loop();
        }
    }
    // Resets it to wait-for-SIPI. Otherwise it could start late, on a stack that another CPU uses
    // by then.
    apic::send_init(apic_id);
    false
}

/// Rust entry point of an application processor: on its main stack, with Paravane's root table. A
/// CPU that is not used is started as well, as far as is needed for machine checks, which all CPUs
/// get, and so that it is as safe for its sibling as any idle CPU.
pub(super) extern "C" fn start_ap() -> ! {
    let cpu = u32::try_from(STARTING.load(Ordering::SeqCst)).ok().and_then(CpuId::new);
    let cpu = cpu.expect("only CPUs with a valid number are started");
    assert!(cpu.index() < MAX_CPUS, "CPU numbers are below the limit");
    processor::enable();
    traps::load(cpu);
    microcode_update::load_at_start();
    defences::start_cpu();
    if PARK.load(Ordering::SeqCst) {
        per_cpu::note_parked();
        idle::park();
    }
    topology::join(cpu);
    apic::init();
    time::init_timer();
    per_cpu::note_online();
    (MAIN.get())()
}
