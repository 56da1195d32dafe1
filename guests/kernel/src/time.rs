//! The PV clock of a vCPU.

use abi::xen::VcpuTimeInfo;

use crate::memory::{peek, vcpu_info};
use crate::start::vcpu;

/// The time-stamp counter, read after all earlier instructions.
#[must_use]
pub fn tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads the counter.
    unsafe { core::arch::asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// System time in nanoseconds according to `info` at counter value `tsc`.
#[must_use]
pub fn convert(info: &VcpuTimeInfo, tsc: u64) -> u64 {
    let delta = tsc.wrapping_sub(info.tsc_timestamp);
    let shifted = if info.tsc_shift >= 0 { delta << info.tsc_shift } else { delta >> -info.tsc_shift };
    let scaled = (u128::from(shifted) * u128::from(info.tsc_to_system_mul)) >> 32;
    info.system_time.wrapping_add(scaled as u64)
}

/// A consistent copy of the time information at `address`, with a counter value read in between.
#[must_use]
pub fn snapshot(address: u64) -> (VcpuTimeInfo, u64) {
    loop {
        let before: u32 = peek(address);
        let info: VcpuTimeInfo = peek(address);
        let tsc = tsc();
        let after: u32 = peek(address);
        if before == after && before.is_multiple_of(2) {
            return (info, tsc);
        }
        core::hint::spin_loop();
    }
}

/// System time in nanoseconds.
#[must_use]
pub fn now() -> u64 {
    let (info, tsc) = snapshot(vcpu_info(vcpu()).time());
    convert(&info, tsc)
}
