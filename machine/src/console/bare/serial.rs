//! 8250 serial ports. A port is written synchronously during boot; after that its interrupt serves
//! both directions, or, where it has none, the hypervisor's timer by way of [`poll`]. A panic
//! writes past all this.

use core::fmt;
use core::sync::atomic::{AtomicU16, Ordering};

use super::pci_serial;
use crate::addr::CpuId;
use crate::boot::options::{SERIAL_PORTS, SerialAddress, SerialSettings};
use crate::integers::low_u16;
use crate::per_cpu::Pending;
use crate::processor::registers::{port_read8, port_write8};
use crate::sync::{Level, SpinLock};
use crate::{boot, interrupts, per_cpu, vectors};

/// Register offsets.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const INTERRUPT_IDENTIFICATION: u16 = 2;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const DIVISOR_ACCESS: u8 = 1 << 7;
const ENABLE_RECEIVED: u8 = 1 << 0;
const ENABLE_SENT: u8 = 1 << 1;
const RECEIVED: u8 = 1 << 0;
const ROOM_TO_SEND: u8 = 1 << 5;
const FIFO_SIZE: usize = 16;

const OUTPUT: usize = 16384;
const INPUT: usize = 1024;

/// Nanoseconds until a port without an interrupt is polled again: while it sends, and when only
/// input can come.
const SENDING: u64 = 1_000_000;
const LISTENING: u64 = 10_000_000;

/// How often a transmitter is asked for room before what waits for it is given up. A port that
/// works answers within some hundred.
const PATIENCE: u32 = 1_000_000;

/// Only one of these locks is held at a time.
static PORTS: [SpinLock<Port>; SERIAL_PORTS] = [const { SpinLock::new(Level::Serial, Port::new()) }; SERIAL_PORTS];
/// The ports' addresses once more, readable without a lock; zero where there is none.
static BASES: [AtomicU16; SERIAL_PORTS] = [const { AtomicU16::new(0) }; SERIAL_PORTS];

struct Ring<const N: usize> {
    bytes: [u8; N],
    first: usize,
    length: usize,
}

impl<const N: usize> Ring<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], first: 0, length: 0 }
    }

    fn push(&mut self, byte: u8) -> bool {
        let fits = self.length < N;
        if fits {
            self.bytes[(self.first + self.length) % N] = byte;
            self.length += 1;
        }
        fits
    }

    fn pop(&mut self) -> Option<u8> {
        let byte = (self.length > 0).then(|| self.bytes[self.first])?;
        self.first = (self.first + 1) % N;
        self.length -= 1;
        Some(byte)
    }
}

/// Who moves bytes between the buffers and the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// The writer, who waits for it: boot.
    Writer,
    /// The port's interrupt.
    Interrupt,
    /// [`poll`].
    Timer,
}

struct Port {
    /// First register; zero if there is no port.
    base: u16,
    service: Service,
    /// The byte written last, to put a carriage return before a bare line feed.
    last: u8,
    /// Bytes that the transmitter's FIFO surely has room for.
    room: usize,
    /// Somebody waits for room in the buffer.
    awaited: bool,
    output: Ring<OUTPUT>,
    input: Ring<INPUT>,
}

impl Port {
    const fn new() -> Self {
        Self {
            base: 0,
            service: Service::Writer,
            last: 0,
            room: 0,
            awaited: false,
            output: Ring::new(),
            input: Ring::new(),
        }
    }

    fn has_room(&self) -> bool {
        OUTPUT - self.output.length >= crate::console::ROOM
    }

    fn put(&mut self, byte: u8) {
        if !self.output.push(byte) {
            self.drain(OUTPUT - 1);
            self.output.push(byte);
        }
    }

    /// Sends until no more than `rest` bytes wait. A port that takes nothing loses what waits.
    fn drain(&mut self, rest: usize) {
        let mut patience = PATIENCE;
        while self.output.length > rest {
            let before = self.output.length;
            self.send();
            patience = if self.output.length < before { PATIENCE } else { patience - 1 };
            if patience == 0 {
                self.output.length = 0;
            }
            crate::tlb::serve();
            core::hint::spin_loop();
        }
    }

    /// Hands on what the transmitter takes now.
    fn send(&mut self) {
        while self.output.length > 0 {
            if self.room == 0 {
                if port_read8(self.base + LINE_STATUS) & ROOM_TO_SEND == 0 {
                    return;
                }
                self.room = FIFO_SIZE;
            }
            if let Some(byte) = self.output.pop() {
                port_write8(self.base + DATA, byte);
                self.room -= 1;
            }
        }
    }

    fn receive(&mut self) -> bool {
        let mut any = false;
        // no more than a full FIFO: a port that is not there answers with ones for ever
        for _ in 0..FIFO_SIZE * 2 {
            if port_read8(self.base + LINE_STATUS) & RECEIVED == 0 {
                break;
            }
            // input that nobody fetches is lost
            any |= self.input.push(port_read8(self.base + DATA));
        }
        any
    }

    /// Whether there is room that somebody waits for; it is told of once.
    fn take_room(&mut self) -> bool {
        let room = self.awaited && self.has_room();
        self.awaited &= !room;
        room
    }

    /// Asks for an interrupt when there is room again, if something waits for it.
    fn arm(&self) {
        if self.service == Service::Interrupt {
            let sent = if self.output.length > 0 { ENABLE_SENT } else { 0 };
            port_write8(self.base + INTERRUPT_ENABLE, ENABLE_RECEIVED | sent);
        }
    }
}

/// Why a port is no console.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoPort {
    /// Nothing answers at its address.
    Silent(u16),
    /// There is no such PCI card.
    NoCard,
    /// The card has its registers in memory.
    NotInPorts,
}

impl fmt::Display for NoPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(base) => write!(f, "there is no serial port at {base:#x}"),
            Self::NoCard => f.write_str("there is no such PCI serial card"),
            Self::NotInPorts => f.write_str("the PCI serial card has no I/O ports"),
        }
    }
}

/// Sets up the port of this number, and makes it a console.
pub(crate) fn init(index: usize, settings: &SerialSettings) -> Result<(), NoPort> {
    let base = match settings.address {
        SerialAddress::Port(port) => port,
        SerialAddress::Pci(card) => pci_serial::find(card)?,
    };
    port_write8(base + SCRATCH, 0x5a);
    if port_read8(base + SCRATCH) != 0x5a {
        return Err(NoPort::Silent(base));
    }
    port_write8(base + INTERRUPT_ENABLE, 0);
    if let Some(baud) = settings.baud {
        let divisor = low_u16((settings.clock / baud).clamp(1, 0xffff).into());
        let [low, high] = divisor.to_le_bytes();
        port_write8(base + LINE_CONTROL, DIVISOR_ACCESS | settings.framing);
        port_write8(base + DATA, low);
        port_write8(base + INTERRUPT_ENABLE, high);
    }
    port_write8(base + LINE_CONTROL, settings.framing);
    port_write8(base + FIFO_CONTROL, 7);
    port_write8(base + MODEM_CONTROL, 0xb);
    PORTS[index].lock().base = base;
    BASES[index].store(base, Ordering::Relaxed);
    Ok(())
}

/// The first registers of the ports that are consoles.
pub(crate) fn bases() -> impl Iterator<Item = u16> {
    BASES.iter().map(|base| base.load(Ordering::Relaxed)).filter(|&base| base != 0)
}

/// From here on nobody waits for a port: its interrupt serves it if it can be routed, else
/// [`poll`].
pub(crate) fn end_of_boot(settings: &[SerialSettings; SERIAL_PORTS]) {
    for (port, settings) in PORTS.iter().zip(settings).filter(|(port, _)| port.lock().base != 0) {
        let by_interrupt = settings.irq != 0
            && boot::acpi().is_some_and(|acpi| interrupts::route_isa(acpi, settings.irq, vectors::SERIAL, CpuId::BOOT));
        let mut port = port.lock();
        port.service = if by_interrupt { Service::Interrupt } else { Service::Timer };
        port.receive();
        port.arm();
    }
}

/// Serves the ports' interrupts; whether there is new input, or room that somebody waits for.
pub(crate) fn service() -> bool {
    let serve = |port: &SpinLock<Port>| {
        let mut port = port.lock();
        if port.base == 0 || port.service != Service::Interrupt {
            return false;
        }
        // reading the cause takes back a request for more output
        port_read8(port.base + INTERRUPT_IDENTIFICATION);
        let any = port.receive();
        port.send();
        port.arm();
        any | port.take_room()
    };
    PORTS.iter().fold(false, |any, port| any | serve(port))
}

/// Serves the ports without an interrupt; after how many nanoseconds to do so again, if there are
/// any.
pub(crate) fn poll() -> Option<u64> {
    let serve = |port: &SpinLock<Port>| {
        let mut port = port.lock();
        if port.base == 0 || port.service != Service::Timer {
            return None;
        }
        let any = port.receive();
        port.send();
        if any | port.take_room() {
            per_cpu::record(Pending::SERIAL);
        }
        Some(if port.output.length > 0 { SENDING } else { LISTENING })
    };
    PORTS.iter().filter_map(serve).min()
}

/// See `console::has_room`.
pub(crate) fn has_room() -> bool {
    let check = |port: &SpinLock<Port>| {
        let mut port = port.lock();
        // during boot a port is as slow as it is, and nobody would tell when there is room
        let room = port.base == 0 || port.service == Service::Writer || port.has_room();
        port.awaited |= !room;
        room
    };
    PORTS.iter().fold(true, |room, port| room & check(port))
}

/// Writes to each port that is a console. A line feed is preceded by a carriage return.
pub(crate) fn write(bytes: &[u8]) {
    for port in &PORTS {
        let mut port = port.lock();
        if port.base == 0 {
            continue;
        }
        for &byte in bytes {
            if byte == b'\n' && port.last != b'\r' {
                port.put(b'\r');
            }
            port.put(byte);
            port.last = byte;
        }
        port.send();
        match port.service {
            Service::Writer => port.drain(0),
            Service::Interrupt => port.arm(),
            Service::Timer => {}
        }
    }
}

/// The next byte that has come in on any port.
pub(crate) fn read_byte() -> Option<u8> {
    PORTS.iter().find_map(|port| port.lock().input.pop())
}

/// Writes without lock, buffer or interrupt, for a panic. What was buffered is lost.
pub(crate) fn write_emergency(bytes: &[u8]) {
    for base in bases() {
        for &byte in bytes {
            for byte in (byte == b'\n').then_some(b'\r').into_iter().chain([byte]) {
                // a port that never gets ready must not hang the panic
                let mut patience = PATIENCE;
                while port_read8(base + LINE_STATUS) & ROOM_TO_SEND == 0 && patience > 0 {
                    patience -= 1;
                }
                port_write8(base + DATA, byte);
            }
        }
    }
}

/// Sends what is buffered, if no other CPU is at it: the first step of a panic.
pub(crate) fn flush_emergency() {
    for mut port in PORTS.iter().filter_map(SpinLock::try_lock) {
        for _ in 0..PATIENCE * 10 {
            if port.base == 0 || port.output.length == 0 {
                break;
            }
            port.send();
        }
    }
}
