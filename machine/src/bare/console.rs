//! The 8250 serial port: polled until its interrupt is routed, then by interrupt both ways. A panic writes past all this.

use core::sync::atomic::{AtomicU16, Ordering};

use super::registers::{port_read8, port_write8};
use crate::boot::options::SerialSettings;
use crate::sync::{Level, SpinLock};

/// Register offsets.
const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const INTERRUPT_IDENTIFICATION: u16 = 2;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

const ENABLE_RECEIVED: u8 = 1 << 0;
const ENABLE_SENT: u8 = 1 << 1;
const RECEIVED: u8 = 1 << 0;
const ROOM_TO_SEND: u8 = 1 << 5;
const FIFO_SIZE: usize = 16;

const OUTPUT: usize = 16384;
const INPUT: usize = 1024;

static PORT: SpinLock<Port> = SpinLock::new(
    Level::Serial,
    Port { base: 0, by_interrupt: false, last: 0, room: 0, awaited: false, output: Ring::new(), input: Ring::new() },
);
/// The port once more, for panics; zero if there is none.
static EMERGENCY: AtomicU16 = AtomicU16::new(0);

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

struct Port {
    base: u16,
    by_interrupt: bool,
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
    fn has_room(&self) -> bool {
        OUTPUT - self.output.length >= crate::console::ROOM
    }

    fn put(&mut self, byte: u8) {
        while !self.output.push(byte) {
            self.send();
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

    /// Asks for an interrupt when there is room again, if something waits for it.
    fn arm(&self) {
        if self.by_interrupt {
            let sent = if self.output.length > 0 { ENABLE_SENT } else { 0 };
            port_write8(self.base + INTERRUPT_ENABLE, ENABLE_RECEIVED | sent);
        }
    }
}

/// Sets the port up; `false` if there is none.
pub(crate) fn init(settings: &SerialSettings) -> bool {
    let base = settings.port;
    port_write8(base + SCRATCH, 0x5a);
    if port_read8(base + SCRATCH) != 0x5a {
        return false;
    }
    port_write8(base + INTERRUPT_ENABLE, 0);
    if let Some(baud) = settings.baud {
        let divisor = (115_200 / baud).clamp(1, 0xffff) as u16;
        let [low, high] = divisor.to_le_bytes();
        port_write8(base + LINE_CONTROL, 0x83);
        port_write8(base + DATA, low);
        port_write8(base + INTERRUPT_ENABLE, high);
    }
    port_write8(base + LINE_CONTROL, 3);
    port_write8(base + FIFO_CONTROL, 7);
    port_write8(base + MODEM_CONTROL, 0xb);
    PORT.lock().base = base;
    EMERGENCY.store(base, Ordering::Relaxed);
    true
}

/// From here on the port's interrupt works.
pub(crate) fn use_interrupt() {
    let mut port = PORT.lock();
    port.by_interrupt = true;
    port.receive();
    port.arm();
}

/// Serves the port's interrupt; whether there is new input, or room that somebody waits for.
pub(crate) fn service() -> bool {
    let mut port = PORT.lock();
    if port.base == 0 {
        return false;
    }
    // reading the cause takes back a request for more output
    port_read8(port.base + INTERRUPT_IDENTIFICATION);
    let any = port.receive();
    port.send();
    port.arm();
    let room = port.awaited && port.has_room();
    port.awaited &= !room;
    any || room
}

/// See `console::has_room`.
pub(crate) fn has_room() -> bool {
    let mut port = PORT.lock();
    // a port that is polled is as slow as it is, and nobody would tell when there is room
    let room = port.base == 0 || !port.by_interrupt || port.has_room();
    port.awaited |= !room;
    room
}

/// Writes to the console; does nothing without one. A line feed is preceded by a carriage return.
pub(crate) fn write(bytes: &[u8]) {
    let mut port = PORT.lock();
    if port.base == 0 {
        return;
    }
    for &byte in bytes {
        if byte == b'\n' && port.last != b'\r' {
            port.put(b'\r');
        }
        port.put(byte);
        port.last = byte;
    }
    port.send();
    if port.by_interrupt {
        port.arm();
    } else {
        while port.output.length > 0 {
            port.send();
        }
    }
}

/// The next byte that has come in.
pub fn read_byte() -> Option<u8> {
    let mut port = PORT.lock();
    if port.base != 0 && !port.by_interrupt {
        port.receive();
    }
    port.input.pop()
}

/// Writes without lock, buffer or interrupt, for a panic. What was buffered is lost.
pub(crate) fn write_emergency(bytes: &[u8]) {
    let base = EMERGENCY.load(Ordering::Relaxed);
    for &byte in bytes.iter().filter(|_| base != 0) {
        for byte in (byte == b'\n').then_some(b'\r').into_iter().chain([byte]) {
            // a port that never gets ready must not hang the panic
            let mut patience = 1_000_000;
            while port_read8(base + LINE_STATUS) & ROOM_TO_SEND == 0 && patience > 0 {
                patience -= 1;
            }
            port_write8(base + DATA, byte);
        }
    }
}

/// Sends what is buffered, if no other CPU is at it: the first step of a panic.
pub(crate) fn flush_emergency() {
    if let Some(mut port) = PORT.try_lock() {
        for _ in 0..10_000_000 {
            if port.base == 0 || port.output.length == 0 {
                break;
            }
            port.send();
        }
    }
}
