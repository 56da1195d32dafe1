//! PCI configuration space through its two ports, which Paravane and the hardware domain share.
//! Each access sets the address first.

use super::Width;
use crate::sync::{Level, SpinLock};

pub(crate) const ADDRESS: u16 = 0xcf8;
pub(crate) const DATA: u16 = 0xcfc;
pub(crate) const DATA_END: u16 = 0xcff;
const ENABLE: u32 = 1 << 31;

static CYCLE: SpinLock<()> = SpinLock::new(Level::PciConfiguration, ());

/// Sets the address register and performs an access to the data register.
pub(crate) fn cycle<R>(address: u32, access: impl FnOnce(u16) -> R) -> R {
    let guard = CYCLE.lock();
    super::write(ADDRESS, Width::Double, address);
    let result = access(DATA);
    drop(guard);
    result
}

/// A function of a device on a PCI bus of segment 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Function {
    /// Bus.
    pub bus: u8,
    /// Device in the upper five bits, function in the lower three.
    pub device_function: u8,
}

impl Function {
    fn address(self, register: u8) -> u32 {
        ENABLE | u32::from(self.bus) << 16 | u32::from(self.device_function) << 8 | u32::from(register & 0xfc)
    }
}

/// Reads from the first 256 bytes of a function's configuration space; ones if there is none.
pub(crate) fn read(function: Function, register: u8, width: Width) -> u32 {
    cycle(function.address(register), |data| super::read(data + offset(register, width), width))
}

/// Writes to the first 256 bytes of a function's configuration space.
pub(crate) fn write(function: Function, register: u8, width: Width, value: u32) {
    cycle(function.address(register), |data| super::write(data + offset(register, width), width, value));
}

/// The offset in the data register at which an access of this width finds a register.
fn offset(register: u8, width: Width) -> u16 {
    u16::from(register & 3) & !(width.bytes() - 1)
}
