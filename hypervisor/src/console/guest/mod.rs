//! The console of one guest: its shared ring, and the input that the guest has not read yet.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::console::{ConsoleInterface, INPUT_SIZE, OUTPUT_SIZE};
use machine::frames::SharedPage;
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;
use machine::sync::{Level, SpinLock};

use super::multiplexer::{self, Mode, Source};
use super::ring::{ByteRing, Corrupt};
use crate::domain::Port;

const OUTPUT: ByteRing = ByteRing {
    data: offset_of!(ConsoleInterface, output),
    size: saturating_u32(OUTPUT_SIZE),
    consumer: offset_of!(ConsoleInterface, output_consumer),
    producer: offset_of!(ConsoleInterface, output_producer),
};
const INPUT: ByteRing = ByteRing {
    data: offset_of!(ConsoleInterface, input),
    size: saturating_u32(INPUT_SIZE),
    consumer: offset_of!(ConsoleInterface, input_consumer),
    producer: offset_of!(ConsoleInterface, input_producer),
};

/// Upper bound on the bytes sent on the serial line for one notification of a guest. The rest is
/// left to [`super::serve_deferred`].
const OUTPUT_AT_ONCE: usize = 2048;
/// Upper bound on the input kept for a guest that does not read it.
const INPUT_KEPT: usize = 64 * 1024;
/// How long after the last input a person is assumed to use a guest's console, in nanoseconds.
const INTERACTIVE: u64 = 30_000_000_000;
const MAX_NAME: usize = 32;

/// A guest's console.
pub struct GuestConsole {
    source: Source,
    prefix: Vec<u8>,
    raw: bool,
    state: SpinLock<State>,
    /// Until this time, incomplete lines are shown.
    interactive_until: AtomicU64,
    /// Output was left in the ring.
    deferred: AtomicBool,
}

struct State {
    shared: Option<(SharedPage, Port)>,
    input: VecDeque<u8>,
}

/// The result of serving a guest's ring.
#[derive(Default)]
pub(super) struct Served {
    /// The port on which to notify the guest.
    pub(super) notify: Option<Port>,
    /// There is more output in the ring.
    pub(super) more: bool,
    /// Output was left because the serial line has no room.
    pub(super) waits: bool,
    /// The guest's indices are invalid.
    pub(super) corrupt: bool,
}

impl GuestConsole {
    /// The console of the guest `name`, without a ring.
    pub fn new(name: &str) -> Self {
        let shown: String = name.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).take(MAX_NAME).collect();
        Self {
            source: Source::new(),
            prefix: format!("[{shown}] ").into_bytes(),
            raw: super::options::is_raw(name),
            state: SpinLock::new(Level::Console, State { shared: None, input: VecDeque::new() }),
            interactive_until: AtomicU64::new(0),
            deferred: AtomicBool::new(false),
        }
    }

    /// Connects the console to the page of its rings and to the guest's port.
    pub fn attach(&self, page: SharedPage, port: Port) {
        self.state.lock().shared = Some((page, port));
    }

    /// Outputs the rest of what a guest that has ended has printed, and releases its page.
    pub fn flush(&self) {
        // Each piece is bounded like a notification. There are at most as many as the ring has
        // bytes.
        for _ in 0..OUTPUT_SIZE {
            if !self.move_both().more {
                break;
            }
        }
        let shared = self.state.lock().shared.take();
        drop(shared);
        multiplexer::close(self.source);
    }

    /// The guest's port of the console, if it is attached.
    pub fn port(&self) -> Option<Port> {
        self.state.lock().shared.as_ref().map(|&(_, port)| port)
    }

    /// Whether the bytes pass unchanged.
    pub(super) const fn is_raw(&self) -> bool {
        self.raw
    }

    /// Returns and clears whether the last call has left output in the ring.
    pub(super) fn take_deferred(&self) -> bool {
        self.deferred.swap(false, Ordering::SeqCst)
    }

    fn mode(&self, now: u64) -> Mode {
        if self.raw {
            Mode::Raw
        } else if now < self.interactive_until.load(Ordering::Relaxed) {
            Mode::Interactive
        } else {
            Mode::Lines
        }
    }

    /// Moves a bounded amount of output from the ring to the serial line, and waiting input to the
    /// ring.
    pub(super) fn serve(&self) -> Served {
        if !machine::console::has_room() {
            // The guest waits for the line. No pCPU does.
            self.deferred.store(true, Ordering::SeqCst);
            return Served { waits: true, ..Served::default() };
        }
        self.move_both()
    }

    fn move_both(&self) -> Served {
        let mut state = self.state.lock();
        let Some((page, port)) = &state.shared else { return Served::default() };
        let port = *port;
        let Ok((moved, more)) = self.move_output(page) else {
            return Served { corrupt: true, ..Served::default() };
        };
        if more {
            self.deferred.store(true, Ordering::SeqCst);
        }
        // the guest may have found the ring full and be waiting for room
        let awaited = moved >= OUTPUT_SIZE / 2 || more;
        let delivered = state.deliver();
        Served { notify: (awaited || delivered).then_some(port), more, ..Served::default() }
    }

    fn move_output(&self, page: &SharedPage) -> Result<(usize, bool), Corrupt> {
        let now = machine::time::now();
        let mode = self.mode(now);
        // the guest sends another event for later output
        let mut left = OUTPUT.used(page)? as usize;
        let (mut moved, mut cost) = (0, 0);
        let mut bytes = [0; 128];
        while left > 0 && cost < OUTPUT_AT_ONCE {
            let wanted = left.min(bytes.len());
            let length = OUTPUT.take(page, bytes.part_mut(..wanted).unwrap_or_default())?;
            if length == 0 {
                return Ok((moved, false));
            }
            let taken = bytes.part(..length).unwrap_or_default();
            cost += multiplexer::write(self.source, &self.prefix, mode, taken, now).max(length);
            left -= length;
            moved += length;
        }
        Ok((moved, left > 0))
    }

    /// Writes output of the initial domain, which uses no ring, unchanged.
    pub(super) fn write_plain(&self, bytes: &[u8]) {
        multiplexer::write(self.source, &self.prefix, Mode::Raw, bytes, machine::time::now());
    }

    /// Reads input of the initial domain, which uses no ring.
    pub(super) fn read_plain(&self, to: &mut [u8]) -> usize {
        let input = &mut self.state.lock().input;
        let length = to.len().min(input.len());
        for (to, from) in to.iter_mut().zip(input.drain(..length)) {
            *to = from;
        }
        length
    }

    /// Queues input for the guest. Returns the port on which to notify it.
    pub(super) fn add_input(&self, bytes: &[u8]) -> Option<Port> {
        self.interactive_until.store(machine::time::now() + INTERACTIVE, Ordering::Relaxed);
        if !self.raw {
            multiplexer::show_open_line(self.source);
        }
        let mut state = self.state.lock();
        let room = INPUT_KEPT.saturating_sub(state.input.len());
        state.input.extend(bytes.iter().take(room));
        let delivered = state.deliver();
        state.shared.as_ref().filter(|_| delivered).map(|&(_, port)| port)
    }
}

impl State {
    /// Moves waiting input into the ring. Returns whether any was moved.
    fn deliver(&mut self) -> bool {
        let Some((page, _)) = &self.shared else { return false };
        let mut delivered = false;
        while !self.input.is_empty() {
            let (bytes, _) = self.input.as_slices();
            match INPUT.put(page, bytes) {
                Ok(0) | Err(Corrupt) => break,
                Ok(length) => {
                    self.input.drain(..length);
                    delivered = true;
                }
            }
        }
        delivered
    }
}

#[cfg(test)]
mod tests;
