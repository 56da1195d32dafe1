//! The paravirtualised clock and the wall clock.

use alloc::sync::Arc;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use abi::xen::{SharedInfo, VcpuInfo, VcpuTimeInfo, pvclock};
use machine::frames::SharedPage;
use machine::integers::low_u32;
use machine::sync::{Level, SpinLock};
use machine::time::{self, Scale};
use machine::{cpu, sync};

use crate::domain::{self, Domain};

/// A counter value and the corresponding time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Base {
    counter: u64,
    nanoseconds: u64,
}

static BASE: sync::SpinLock<Option<Base>> = SpinLock::new(Level::Timer, None);

/// The base of all guests' clocks. Time computed from it is never less than `time::now()`, so that
/// a guest whose timer has fired finds that its deadline has passed.
fn base() -> Base {
    *BASE.lock().get_or_insert_with(|| {
        // Use the reading that took the least time. The counter is read first.
        let reading = || {
            let counter = time::tsc();
            let nanoseconds = time::now();
            (time::tsc().wrapping_sub(counter), Base { counter, nanoseconds })
        };
        core::iter::repeat_with(reading)
            .take(16)
            .min_by_key(|(took, _)| *took)
            .map_or(Base { counter: time::tsc(), nanoseconds: time::now() }, |(_, base)| base)
    })
}

fn time_info(base: Base, scale: Scale, stable: bool, version: u32) -> VcpuTimeInfo {
    VcpuTimeInfo {
        version,
        _pad0: 0,
        tsc_timestamp: base.counter,
        system_time: base.nanoseconds,
        tsc_to_system_mul: scale.mul,
        tsc_shift: scale.shift,
        flags: if stable { pvclock::TSC_STABLE_BIT } else { 0 },
        _pad1: 0,
    }
}

/// The current contents of the time information.
pub(super) fn present_info(version: u32) -> VcpuTimeInfo {
    // A single pCPU's counter is consistent. Those of several pCPUs are if they are invariant.
    let stable = cpu::features().invariant_tsc || cpu::online() == 1;
    time_info(base(), time::scale(), stable, version)
}

/// Writes the time information in the `vcpu_info` at `offset`. The version is odd during the
/// update.
pub(super) fn write_info(page: &SharedPage, offset: usize, info: &VcpuTimeInfo) {
    let at = |field: usize| offset + offset_of!(VcpuInfo, time) + field;
    let version = page.atomic_u32(at(offset_of!(VcpuTimeInfo, version)));
    version.store(info.version | 1, Ordering::Relaxed);
    fence(Ordering::Release);
    page.atomic_u64(at(offset_of!(VcpuTimeInfo, tsc_timestamp))).store(info.tsc_timestamp, Ordering::Relaxed);
    page.atomic_u64(at(offset_of!(VcpuTimeInfo, system_time))).store(info.system_time, Ordering::Relaxed);
    page.atomic_u32(at(offset_of!(VcpuTimeInfo, tsc_to_system_mul))).store(info.tsc_to_system_mul, Ordering::Relaxed);
    page.atomic_u8(at(offset_of!(VcpuTimeInfo, tsc_shift))).store(info.tsc_shift.cast_unsigned(), Ordering::Relaxed);
    page.atomic_u8(at(offset_of!(VcpuTimeInfo, flags))).store(info.flags, Ordering::Relaxed);
    version.store(info.version, Ordering::Release);
}

/// Initialises a new domain's wall clock and the time information of its vCPUs, and starts their
/// runstate accounts.
pub(crate) fn init_domain(domain: &Arc<Domain>) {
    show_wall_clock(domain);
    for vcpu in domain.vcpus() {
        vcpu.scheduling.open_account();
        let version = vcpu.time.next_version();
        let info = vcpu.info();
        write_info(&info.page, info.offset, &present_info(version));
    }
}

/// The wall clock at system time zero, in nanoseconds since 1970. `None` until it is set: then the
/// machine's clock at boot applies. The lock also serialises updates of a domain's page.
static WALL_CLOCK: SpinLock<Option<u64>> = SpinLock::new(Level::Timer, None);

/// The wall clock at system time zero, in nanoseconds since 1970.
#[cfg(test)]
pub(crate) fn wall_clock() -> u64 {
    WALL_CLOCK.lock().unwrap_or_else(time::wall_clock_at_boot)
}

/// Sets the wall clock of all present and future domains. Returns the number of present domains.
pub(crate) fn set_wall_clock(nanoseconds: u64) -> u32 {
    *WALL_CLOCK.lock() = Some(nanoseconds);
    let mut domains = 0;
    domain::for_each(|domain| {
        show_wall_clock(domain);
        domains += 1;
    });
    domains
}

/// Writes the domain's wall clock into its shared info page.
pub(crate) fn show_wall_clock(domain: &Domain) {
    let offset = domain.control.time_offset.load(Ordering::Relaxed).saturating_mul(1_000_000_000);
    let wall_clock = WALL_CLOCK.lock();
    let machine = wall_clock.unwrap_or_else(time::wall_clock_at_boot);
    write_wall_clock(domain.shared_info(), machine.saturating_add_signed(offset));
}

/// Writes the wall clock at system time zero, in nanoseconds since 1970.
fn write_wall_clock(page: &SharedPage, nanoseconds: u64) {
    let seconds = nanoseconds / 1_000_000_000;
    let rest = u32::try_from(nanoseconds % 1_000_000_000).unwrap_or(0);
    let version = page.atomic_u32(offset_of!(SharedInfo, wall_clock_version));
    let next = (version.load(Ordering::Relaxed) | 1).wrapping_add(1);
    version.store(next | 1, Ordering::Relaxed);
    fence(Ordering::Release);
    page.atomic_u32(offset_of!(SharedInfo, wall_clock_seconds)).store(low_u32(seconds), Ordering::Relaxed);
    page.atomic_u32(offset_of!(SharedInfo, wall_clock_seconds_high)).store(low_u32(seconds >> 32), Ordering::Relaxed);
    page.atomic_u32(offset_of!(SharedInfo, wall_clock_nanoseconds)).store(rest, Ordering::Relaxed);
    version.store(next.wrapping_add(2) & !1, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::{Base, time_info};
    use abi::xen::VcpuTimeInfo;
    use machine::time::Scale;

    /// A guest's computation, as defined in the public header.
    fn guest_time(info: &VcpuTimeInfo, counter: u64) -> u64 {
        let delta = counter - info.tsc_timestamp;
        let delta = if info.tsc_shift < 0 { delta >> -info.tsc_shift } else { delta << info.tsc_shift };
        info.system_time + ((u128::from(delta) * u128::from(info.tsc_to_system_mul)) >> 32) as u64
    }

    #[test]
    fn a_guest_computes_the_time_that_has_passed() {
        for hertz in [25_000_000, 999_999_999, 1_000_000_000, 2_400_000_123, 4_700_000_000] {
            let base = Base { counter: 123_456_789_012, nanoseconds: 5_000_000_000 };
            let info = time_info(base, Scale::of_frequency(hertz), true, 2);
            for seconds in [0, 1, 3600, 86_400 * 365] {
                let time = guest_time(&info, base.counter + hertz * seconds);
                let right = base.nanoseconds + seconds * 1_000_000_000;
                assert!(time.abs_diff(right) <= seconds + 2, "{hertz} Hz, {seconds} s: {time}");
            }
        }
    }

    #[test]
    fn a_guests_clock_never_decreases() {
        let info = time_info(Base { counter: 0, nanoseconds: 0 }, Scale::of_frequency(3_000_000_001), true, 2);
        let mut last = 0;
        for step in 0..100_000 {
            let time = guest_time(&info, step * 7);
            assert!(time >= last);
            last = time;
        }
    }
}
