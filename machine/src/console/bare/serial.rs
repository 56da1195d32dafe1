//! 8250 serial ports. Output is synchronous during boot. Afterwards the port's interrupt serves
//! both directions, or the hypervisor's timer through [`poll`] if there is no interrupt. A panic
//! bypasses buffers and locks.

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

/// Polling intervals of a port without an interrupt, in nanoseconds: while it sends, and while only
/// input is possible.
const SENDING_POLL_INTERVAL: u64 = 1_000_000;
const IDLE_POLL_INTERVAL: u64 = 10_000_000;

/// Number of status reads after which output that waits for the transmitter is dropped. A working
/// port is ready within a few hundred.
const MAX_STATUS_READS: u32 = 1_000_000;

/// Only one of these locks is held at a time.
static PORTS: [SpinLock<Port>; SERIAL_PORTS] = [const { SpinLock::new(Level::Serial, Port::new()) }; SERIAL_PORTS];
/// Copies of the ports' addresses, readable without a lock; zero if there is no port.
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

/// The code that transfers bytes between the buffers and the port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// The writer, synchronously: boot.
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
    /// The last byte written, to insert a carriage return before a bare line feed.
    last: u8,
    /// Minimum free space of the transmitter's FIFO in bytes.
    room: usize,
    /// A writer waits for room in the buffer.
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

    /// Sends until at most `rest` bytes are buffered. If the port accepts nothing, the buffered
    /// output is dropped.
    fn drain(&mut self, rest: usize) {
        let mut reads_left = MAX_STATUS_READS;
        while self.output.length > rest {
            let before = self.output.length;
            self.send();
            reads_left = if self.output.length < before { MAX_STATUS_READS } else { reads_left - 1 };
            if reads_left == 0 {
                self.output.length = 0;
            }
            crate::tlb::serve();
            core::hint::spin_loop();
        }
    }

    /// Sends as much as the transmitter accepts now.
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
        // At most a full FIFO: an absent port reads as ones forever.
        for _ in 0..FIFO_SIZE * 2 {
            if port_read8(self.base + LINE_STATUS) & RECEIVED == 0 {
                break;
            }
            // Input is dropped if the buffer is full.
            any |= self.input.push(port_read8(self.base + DATA));
        }
        any
    }

    /// Whether there is room that a writer waits for. Reported once.
    fn take_room(&mut self) -> bool {
        let room = self.awaited && self.has_room();
        self.awaited &= !room;
        room
    }

    /// Enables the interrupt for transmitter space if output is buffered.
    fn arm(&self) {
        if self.service == Service::Interrupt {
            let sent = if self.output.length > 0 { ENABLE_SENT } else { 0 };
            port_write8(self.base + INTERRUPT_ENABLE, ENABLE_RECEIVED | sent);
        }
    }
}

/// The reason why a port is not a console.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoPort {
    /// No port responds at its address.
    Silent(u16),
    /// There is no such PCI card.
    NoCard,
    /// The card's registers are in memory.
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

/// Sets up port `index` as a console.
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

/// Ends synchronous output: from now on a port is served by its interrupt if that can be routed,
/// otherwise by [`poll`].
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

/// Serves the ports' interrupts. Returns whether there is new input, or room that a writer waits
/// for.
pub(crate) fn service() -> bool {
    let serve = |port: &SpinLock<Port>| {
        let mut port = port.lock();
        if port.base == 0 || port.service != Service::Interrupt {
            return false;
        }
        // Reading the cause clears a pending transmitter interrupt.
        port_read8(port.base + INTERRUPT_IDENTIFICATION);
        let any = port.receive();
        port.send();
        port.arm();
        any | port.take_room()
    };
    PORTS.iter().fold(false, |any, port| any | serve(port))
}

/// Serves the ports without an interrupt. Returns the nanoseconds until the next call, if there is
/// such a port.
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
        Some(if port.output.length > 0 { SENDING_POLL_INTERVAL } else { IDLE_POLL_INTERVAL })
    };
    PORTS.iter().filter_map(serve).min()
}

/// See `console::has_room`.
pub(crate) fn has_room() -> bool {
    let check = |port: &SpinLock<Port>| {
        let mut port = port.lock();
        // During boot output is synchronous, and nothing would report free space.
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

/// The next received byte of any port.
pub(crate) fn read_byte() -> Option<u8> {
    PORTS.iter().find_map(|port| port.lock().input.pop())
}

/// Writes without lock, buffer or interrupt, for a panic. Buffered output is lost.
pub(crate) fn write_emergency(bytes: &[u8]) {
    for base in bases() {
        for &byte in bytes {
            for byte in (byte == b'\n').then_some(b'\r').into_iter().chain([byte]) {
                // A port that is never ready must not hang the panic.
                let mut reads_left = MAX_STATUS_READS;
                while port_read8(base + LINE_STATUS) & ROOM_TO_SEND == 0 && reads_left > 0 {
                    reads_left -= 1;
                }
                port_write8(base + DATA, byte);
            }
        }
    }
}

/// Sends buffered output, unless another CPU holds the lock: the first step of a panic.
pub(crate) fn flush_emergency() {
    for mut port in PORTS.iter().filter_map(SpinLock::try_lock) {
        for _ in 0..MAX_STATUS_READS * 10 {
            if port.base == 0 || port.output.length == 0 {
                break;
            }
            port.send();
        }
    }
}
