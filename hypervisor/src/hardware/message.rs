//! Message-signalled interrupts: finding a function's capability and writing messages to the
//! device. Paravane chooses the messages. The hardware domain enables and disables the capability.

use abi::errno::Errno;
use machine::addr::MachineAddr;
use machine::hardware::Hardware;
use machine::hardware::msix::Entry;
use machine::hardware::pci::Function;
use machine::hardware::ports::Width;
use machine::hardware::vector::Vector;
use machine::integers::low_u32;

/// Registers in configuration space, and their bits (PCI 3.0, chapter 6).
const VENDOR: u8 = 0x00;
const COMMAND: u8 = 0x04;
const COMMAND_MEMORY: u32 = 2;
const STATUS: u8 = 0x06;
const STATUS_CAPABILITIES: u32 = 1 << 4;
const BASE_ADDRESSES: u8 = 0x10;
const CAPABILITIES: u8 = 0x34;
/// Maximum number of capabilities that fit in configuration space.
const MAX_CAPABILITIES: usize = 48;

const MSI: u32 = 0x05;
const MSIX: u32 = 0x11;

const MSI_ENABLE: u32 = 1;
const MSI_COUNT_SHIFT: u32 = 4;
const MSI_COUNT: u32 = 7 << MSI_COUNT_SHIFT;
const MSI_CAPABLE_SHIFT: u32 = 1;
const MSI_WIDE: u32 = 1 << 7;
const MSI_MASKS: u32 = 1 << 8;
const MSIX_SIZE: u32 = 0x7ff;

/// The location of a function's messages.
#[derive(Debug)]
pub(super) enum Messages {
    /// The MSI capability at this offset, with `count` interrupts.
    Msi { capability: u8, count: u8 },
    /// An entry of the MSI-X table.
    Msix(Entry),
}

/// Whether the function exists.
pub(super) fn exists(hardware: &Hardware, function: Function) -> bool {
    hardware.config_read(function, VENDOR, Width::Word) != 0xffff
}

fn capability(hardware: &Hardware, function: Function, wanted: u32) -> Option<u8> {
    if hardware.config_read(function, STATUS, Width::Word) & STATUS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = CAPABILITIES;
    for _ in 0..MAX_CAPABILITIES {
        // A read of `Width::Byte` returns at most 255.
        at = (hardware.config_read(function, at, Width::Byte) & 0xfc) as u8;
        if at < 0x40 {
            return None;
        }
        if hardware.config_read(function, at, Width::Byte) == wanted {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Whether the function has MSI-X.
pub(super) fn has_msix(hardware: &Hardware, function: Function) -> bool {
    capability(hardware, function, MSIX).is_some()
}

/// Returns the MSI capability, with `count` interrupts, all masked.
///
/// # Errors
/// `ENODEV` if the function has no MSI, `EINVAL` if it does not support `count` interrupts.
pub(super) fn msi(hardware: &Hardware, function: Function, count: u8) -> Result<Messages, Errno> {
    let capability = capability(hardware, function, MSI).ok_or(Errno::ENODEV)?;
    let control = hardware.config_read(function, capability + 2, Width::Word);
    if count.trailing_zeros() > control >> MSI_CAPABLE_SHIFT & 7 {
        return Err(Errno::EINVAL);
    }
    let messages = Messages::Msi { capability, count };
    messages.mask(hardware, function, u32::MAX, true);
    Ok(messages)
}

/// Returns entry `index` of the MSI-X table, masked. `table_base` is the address of the memory BAR
/// with the table, used if the function's own BAR is zero.
///
/// # Errors
/// `ENODEV` if the function has no MSI-X, `EINVAL` for an entry outside the table, `ENXIO` if its
/// memory space is disabled or the table has no valid address.
pub(super) fn msix(hardware: &Hardware, function: Function, index: u16, table_base: u64) -> Result<Messages, Errno> {
    let capability = capability(hardware, function, MSIX).ok_or(Errno::ENODEV)?;
    let control = hardware.config_read(function, capability + 2, Width::Word);
    if u32::from(index) > control & MSIX_SIZE {
        return Err(Errno::EINVAL);
    }
    if hardware.config_read(function, COMMAND, Width::Word) & COMMAND_MEMORY == 0 {
        return Err(Errno::ENXIO);
    }
    let place = hardware.config_read(function, capability + 4, Width::Double);
    let base = match base_address(hardware, function, (place & 7) as u8) {
        // the BARs of a virtual function are in its physical function
        0 => table_base,
        base => base,
    };
    let table = base.checked_add(u64::from(place & !7)).ok_or(Errno::ENXIO)?;
    let entry = hardware.msix_entry(MachineAddr::new(table), index).ok_or(Errno::ENXIO)?;
    entry.mask(true);
    Ok(Messages::Msix(entry))
}

/// The address of memory BAR `number` of a function, or zero.
fn base_address(hardware: &Hardware, function: Function, number: u8) -> u64 {
    if number > 5 {
        return 0;
    }
    let register = BASE_ADDRESSES + number * 4;
    let low = hardware.config_read(function, register, Width::Double);
    let high = match low & 7 {
        4 if number < 5 => hardware.config_read(function, register + 4, Width::Double),
        0 => 0,
        // ports
        _ if low & 1 != 0 => return 0,
        _ => 0,
    };
    u64::from(high) << 32 | u64::from(low & !15)
}

impl Messages {
    /// Whether a message can be changed without the risk that the device sends a partial one.
    pub(super) fn can_change(&self, hardware: &Hardware, function: Function) -> bool {
        match self {
            Self::Msi { capability, .. } => {
                hardware.config_read(function, capability + 2, Width::Word) & MSI_MASKS != 0
            }
            Self::Msix(_) => true,
        }
    }

    /// Writes the message that raises `vector`.
    pub(super) fn set(&self, hardware: &Hardware, function: Function, vector: &Vector) {
        let message = vector.message();
        let &Self::Msi { capability, count } = self else {
            if let Self::Msix(entry) = self {
                entry.set_message(message);
            }
            return;
        };
        let (address, data) = message;
        let control = hardware.config_read(function, capability + 2, Width::Word);
        let write = |offset, width, value| hardware.config_write(function, capability + offset, width, value);
        write(4, Width::Double, low_u32(address));
        if control & MSI_WIDE != 0 {
            write(8, Width::Double, low_u32(address >> 32));
            write(12, Width::Word, data);
        } else {
            write(8, Width::Word, data);
        }
        write(2, Width::Word, control & !MSI_COUNT | count.trailing_zeros() << MSI_COUNT_SHIFT);
    }

    /// Masks or unmasks the interrupts of `set`, by bit. Has no effect on a device without mask
    /// bits.
    pub(super) fn mask(&self, hardware: &Hardware, function: Function, set: u32, masked: bool) {
        match self {
            &Self::Msi { capability, .. } => {
                let control = hardware.config_read(function, capability + 2, Width::Word);
                if control & MSI_MASKS != 0 {
                    let register = capability + if control & MSI_WIDE != 0 { 16 } else { 12 };
                    let old = hardware.config_read(function, register, Width::Double);
                    let new = if masked { old | set } else { old & !set };
                    hardware.config_write(function, register, Width::Double, new);
                }
            }
            Self::Msix(entry) => entry.mask(masked),
        }
    }

    /// Stops the function from sending these messages.
    pub(super) fn switch_off(&self, hardware: &Hardware, function: Function) {
        self.mask(hardware, function, u32::MAX, true);
        if let &Self::Msi { capability, .. } = self {
            let control = hardware.config_read(function, capability + 2, Width::Word);
            hardware.config_write(function, capability + 2, Width::Word, control & !MSI_ENABLE);
        }
    }
}
