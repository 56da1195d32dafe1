//! A console that a test reads and writes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use crate::addr::CpuId;
use crate::per_cpu::{self, Pending};

/// Maximum size of the output that is kept, in bytes.
const SIZE: usize = 1 << 20;

/// The output that no test has taken yet. It is outside the heap, because `heap::most_allocated`
/// measures the code that writes it.
struct Output {
    bytes: [u8; SIZE],
    length: usize,
}

static OUTPUT: Mutex<Output> = Mutex::new(Output { bytes: [0; SIZE], length: 0 });
static INPUT: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to the console. If no test takes the output, the kept output is dropped at 1 MiB.
pub fn write(bytes: &[u8]) {
    let mut output = locked(&OUTPUT);
    if bytes.len() > SIZE - output.length {
        output.length = 0;
    }
    let start = output.length;
    output.length = SIZE.min(start + bytes.len());
    output.bytes.iter_mut().skip(start).zip(bytes).for_each(|(to, from)| *to = *from);
}

static FULL: AtomicBool = AtomicBool::new(false);

/// See `console::has_room`.
pub fn has_room() -> bool {
    !FULL.load(Ordering::SeqCst)
}

/// Simulates a serial line without room, or with room again; for tests.
pub fn set_full(full: bool) {
    FULL.store(full, Ordering::SeqCst);
    if !full {
        per_cpu::record(CpuId::BOOT, Pending::SERIAL);
    }
}

/// First registers of the serial ports that are consoles.
pub(crate) fn serial_bases() -> impl Iterator<Item = u16> {
    core::iter::once(0x3f8)
}

/// See `console::poll`. This console needs no polling.
pub(crate) fn poll() -> Option<u64> {
    None
}

/// See `console::screen_cursor`.
pub(crate) fn screen_cursor() -> (u16, u16) {
    (0, 0)
}

/// See `console::release_screen`. There is no screen.
pub(crate) const fn release_screen() {}

/// See `console::take_screen_back`.
pub(crate) const fn take_screen_back() {}

/// The next received byte.
pub fn read_byte() -> Option<u8> {
    locked(&INPUT).pop_front()
}

/// Takes the output written so far; for tests.
pub fn take_output() -> Vec<u8> {
    let mut output = locked(&OUTPUT);
    let length = std::mem::take(&mut output.length);
    output.bytes.iter().take(length).copied().collect()
}

/// Simulates input on the console; for tests.
pub fn type_in(bytes: &[u8]) {
    locked(&INPUT).extend(bytes);
    per_cpu::record(CpuId::BOOT, Pending::SERIAL);
}
