//! Serial ports on PCI cards: finds the one that an option selects.

use super::serial::NoPort;
use crate::boot::options::PciSerial;
use crate::ports::Width;
use crate::ports::pci::{self, Function};

const IDENTITY: u8 = 0;
const COMMAND: u8 = 4;
const CLASS: u8 = 8;
const HEADER_TYPE: u8 = 14;
const FIRST_REGION: u8 = 16;
const REGIONS: u8 = 6;

const INTEL: u32 = 0x8086;
const MULTIFUNCTION: u32 = 1 << 7;
/// The command register's bit that enables I/O port decoding.
const ANSWERS_AT_PORTS: u32 = 1;

/// The first I/O port of the card's registers.
pub(super) fn find(which: PciSerial) -> Result<u16, NoPort> {
    let function = match which {
        PciSerial::At { bus, device_function } => {
            Some(Function { bus, device_function }).filter(|&function| is_serial(function))
        }
        PciSerial::Card => functions().find(|&function| is_serial(function) && !is_amt(function)),
        PciSerial::Amt => functions().find(|&function| is_serial(function) && is_amt(function)),
    };
    let function = function.ok_or(NoPort::NoCard)?;
    let base = regions(function).find_map(port_of).ok_or(NoPort::NotInPorts)?;
    let command = pci::read(function, COMMAND, Width::Word);
    pci::write(function, COMMAND, Width::Word, command | ANSWERS_AT_PORTS);
    Ok(base)
}

/// All functions that respond.
fn functions() -> impl Iterator<Item = Function> {
    let devices = (0..=255).flat_map(|bus| (0..32).map(move |device| Function { bus, device_function: device << 3 }));
    devices.filter(|&first| is_there(first)).flat_map(|first| {
        let several = pci::read(first, HEADER_TYPE, Width::Byte) & MULTIFUNCTION != 0;
        let functions = if several { 8 } else { 1 };
        let at = move |number| Function { device_function: first.device_function | number, ..first };
        (0..functions).map(at).filter(|&function| is_there(function))
    })
}

fn is_there(function: Function) -> bool {
    pci::read(function, IDENTITY, Width::Word) != 0xffff
}

/// A simple communication controller (base class 7): serial or multiport serial.
fn is_serial(function: Function) -> bool {
    matches!(pci::read(function, CLASS, Width::Double) >> 16, 0x0700 | 0x0702)
}

/// Whether it is the serial port of Intel's management engine, which is part of the chipset.
fn is_amt(function: Function) -> bool {
    function.bus == 0 && pci::read(function, IDENTITY, Width::Word) == INTEL
}

fn regions(function: Function) -> impl Iterator<Item = u32> {
    (0..REGIONS).map(move |number| pci::read(function, FIRST_REGION + number * 4, Width::Double))
}

/// The I/O port in a base address register.
fn port_of(region: u32) -> Option<u16> {
    let port = u16::try_from(region & !3).ok().filter(|port| (1..=0xfff8).contains(port))?;
    (region & 3 == 1).then_some(port)
}
