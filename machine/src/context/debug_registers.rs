//! The debug registers of a vCPU.
//!
//! The processor gets a guest's debug registers only while its vCPU is active, and only values that
//! cannot affect Paravane:
//! - Breakpoints watch guest addresses only. If none is enabled, the processor's DR0 to DR3 are
//!   zero and DR7 has its reset value, whatever the vCPU's values are; reads are emulated.
//! - I/O breakpoints are never loaded into the processor, because Paravane accesses ports on behalf
//!   of the guest.
//! - The processor's DR6 has its reset value, except between a debug exception and its recording.

use super::{Active, GuestContext, is_canonical, vcpu};
use crate::addr::GuestVirt;
use crate::speculation::MaskedIndex;

/// Reset values; some bits of DR6 and DR7 are always one.
pub(super) const DEBUG_REGISTERS_AT_REST: [u64; 8] = [0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400];
/// The enable bits of the four breakpoints in DR7.
const BREAKPOINTS: u64 = 0xff;
/// The general detect bit of DR7.
const GENERAL_DETECT: u64 = 1 << 13;
/// Breakpoint type in DR7: I/O access.
const TYPE_PORT: u64 = 2;

impl GuestContext {
    /// Sets the debug registers of an inactive vCPU. Returns `false` without a change if a value
    /// could watch Paravane itself or is illegal.
    #[expect(clippy::indexing_slicing, reason = "indices are of Paravane's own loops")]
    pub fn set_debug_registers(&mut self, values: &[u64; 8]) -> bool {
        const USED: [usize; 6] = [0, 1, 2, 3, 6, 7];
        if !USED.into_iter().all(|index| debug_register_is_legal(index, values[index])) {
            return false;
        }
        for index in USED {
            self.debug_registers[index] = fixed_debug_register(index, values[index]);
        }
        true
    }

    /// The debug registers as set by the guest; 4 and 5 are zero.
    pub const fn debug_registers(&self) -> &[u64; 8] {
        &self.debug_registers
    }

    /// DR7 for the processor, without I/O breakpoints; `None` if no other breakpoint is enabled.
    pub(crate) fn watching(&self) -> Option<u64> {
        let control = self.debug_registers[7];
        let ports: u64 = (0..4).filter(|&breakpoint| kind(control, breakpoint) == TYPE_PORT).map(enables).sum();
        let control = control & !ports;
        (control & BREAKPOINTS != 0).then_some(control)
    }
}

impl Active {
    /// Sets debug register `index`, 0 to 3, 6 or 7. Returns `false` if the value could watch
    /// Paravane itself or is illegal.
    pub fn set_debug_register(&mut self, index: usize, value: u64) -> bool {
        if !debug_register_is_legal(index, value) {
            return false;
        }
        let context = self.context_mut();
        let watched = context.watching().is_some();
        if let Some(register) = context.debug_registers.masked_mut(index) {
            *register = fixed_debug_register(index, value);
        }
        if context.watching().is_some() {
            vcpu::load_breakpoints(context);
        } else if watched {
            vcpu::clear_breakpoints();
        }
        true
    }

    /// Debug register `index` as the guest sees it.
    pub fn debug_register(&self, index: usize) -> u64 {
        self.context().debug_registers.masked(index).copied().unwrap_or_default()
    }

    /// The I/O breakpoints hit by an access to `length` ports from `port` on, as bits of DR6.
    #[expect(clippy::indexing_slicing, reason = "indices are of Paravane's own loop, or have two bits")]
    pub fn port_breakpoints(&self, port: u16, length: u16) -> u64 {
        let registers = &self.context().debug_registers;
        let control = registers[7];
        let accessed = u64::from(port)..u64::from(port) + u64::from(length);
        let is_hit = |&breakpoint: &usize| {
            // Lengths are 1, 2, 8 and 4; the port is aligned to its length (Intel SDM volume 3,
            // 17.2.5).
            let length = [1, 2, 8, 4][(control >> (18 + 4 * breakpoint) & 3) as usize];
            let start = registers[breakpoint] & !(length - 1);
            control & enables(breakpoint) != 0
                && kind(control, breakpoint) == TYPE_PORT
                && start < accessed.end
                && accessed.start < start.saturating_add(length)
        };
        (0..4).filter(is_hit).map(|breakpoint| 1 << breakpoint).sum()
    }

    /// Records DR6 after a debug exception, and resets the processor's.
    pub fn latch_debug_status(&mut self) {
        vcpu::latch_debug_status(self.context_mut());
    }
}

/// The type of a breakpoint in DR7.
const fn kind(control: u64, breakpoint: usize) -> u64 {
    control >> (16 + 4 * breakpoint) & 3
}

/// The bits in DR7 that enable a breakpoint.
const fn enables(breakpoint: usize) -> u64 {
    3 << (2 * breakpoint)
}

/// The value with the fixed bits set or cleared.
const fn fixed_debug_register(index: usize, value: u64) -> u64 {
    match index {
        6 => value & 0xe00f | DEBUG_REGISTERS_AT_REST[6],
        7 => value & 0xffff_27ff | DEBUG_REGISTERS_AT_REST[7],
        _ => value,
    }
}

/// Whether the value is legal: a breakpoint may watch guest addresses only, and DR7 may not enable
/// general detect.
const fn debug_register_is_legal(index: usize, value: u64) -> bool {
    match index {
        0..=3 => GuestVirt::new(value).is_guest() && is_canonical(value),
        6 => value >> 32 == 0,
        7 => value >> 32 == 0 && value & GENERAL_DETECT == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_gets_no_io_breakpoints() {
        let mut context = GuestContext::new();
        let mut watching = |control: u64| {
            assert!(context.set_debug_registers(&[0x60, 0x4000, 0, 0, 0, 0, 0xffff_0ff0, control]), "{control:#x}");
            context.watching()
        };
        assert_eq!(watching(0x400), None);
        assert_eq!(watching(0x000d_0400), None, "no breakpoint is enabled");
        assert_eq!(watching(0x0002_0403), None, "an I/O breakpoint alone");
        assert_eq!(watching(0x00d2_0407), Some(0x00d2_0404), "and one of memory");
        assert_eq!(watching(0x2222_04ff), None);
        assert_eq!(watching(0x0001_0401), Some(0x0001_0401));
    }

    #[test]
    fn values_that_watch_paravane_are_refused_whole() {
        let mut context = GuestContext::new();
        let at_rest = *context.debug_registers();
        for (index, value) in [(0, 0xffff_8300_0000_0000), (3, 1 << 47), (6, 1 << 32), (7, 1 << 13), (7, 1 << 32)] {
            let mut values = [0x1000, 0, 0, 0, 0, 0, 0, 0x401];
            values[index] = value;
            assert!(!context.set_debug_registers(&values));
            assert_eq!(context.debug_registers(), &at_rest);
        }
    }
}
