//! Output: the console ring of an unprivileged guest, `console_io` for the initial domain.

use core::fmt::{self, Write};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed, compiler_fence, fence};

use abi::console::{ConsoleInterface, OUTPUT_SIZE};

use crate::call::number;
use crate::memory::{self, peek, poke};

/// Address of the ring's page; 0 selects `console_io`.
static RING: AtomicU64 = AtomicU64::new(0);
static PORT: AtomicU64 = AtomicU64::new(0);

const OUT: u64 = offset_of!(ConsoleInterface, output) as u64;
const OUT_SIZE: u32 = OUTPUT_SIZE as u32;
const OUT_CONS: u64 = offset_of!(ConsoleInterface, output_consumer) as u64;
const OUT_PROD: u64 = offset_of!(ConsoleInterface, output_producer) as u64;

pub(crate) fn start() {
    if !memory::initial_domain() {
        let mfn = memory::start_info().console_mfn;
        let port = memory::start_info().console_event_channel;
        PORT.store(u64::from(port), Relaxed);
        RING.store(memory::address_of(mfn), Relaxed);
    }
}

fn notify() {
    let port = PORT.load(Relaxed) as u32;
    let _ = crate::call!(number::EVENT_CHANNEL_OP, abi::event_channel::op::SEND, &port);
}

/// Writes bytes to the guest's console; waits while the ring is full.
pub fn write(bytes: &[u8]) {
    let ring = RING.load(Relaxed);
    if ring == 0 {
        let _ = crate::call!(number::CONSOLE_IO, 0u32, bytes.len(), bytes.as_ptr() as u64);
        return;
    }
    for &byte in bytes {
        let producer: u32 = peek(ring + OUT_PROD);
        while producer.wrapping_sub(peek::<u32>(ring + OUT_CONS)) >= OUT_SIZE {
            notify();
            crate::call::yield_now();
        }
        poke(ring + OUT + u64::from(producer % OUT_SIZE), byte);
        compiler_fence(core::sync::atomic::Ordering::Release);
        poke(ring + OUT_PROD, producer.wrapping_add(1));
    }
    fence(core::sync::atomic::Ordering::SeqCst);
    notify();
}

/// Waits for a bounded time until the other side has read all output.
pub fn flush() {
    let ring = RING.load(Relaxed);
    if ring == 0 {
        return;
    }
    for _ in 0..10_000_000 {
        if peek::<u32>(ring + OUT_PROD) == peek::<u32>(ring + OUT_CONS) {
            return;
        }
        crate::call::yield_now();
    }
}

/// A line under construction, which is written as a whole.
struct Line {
    bytes: [u8; 256],
    used: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == self.bytes.len() {
                write(&self.bytes);
                self.used = 0;
            }
            self.bytes[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Prints one line.
pub fn line(arguments: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 256], used: 0 };
    let _ = line.write_fmt(arguments);
    let _ = line.write_str("\n");
    write(&line.bytes[..line.used]);
}

/// Prints one line on the guest's console.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => { $crate::console::line(format_args!($($part)*)) };
}
