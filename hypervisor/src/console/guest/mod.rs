//! One guest's console: the ring that it shares, and the input that it has not fetched yet.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use abi::console::{ConsoleInterface, INPUT_SIZE, OUTPUT_SIZE};
use machine::frames::SharedPage;
use machine::integers::saturating_u32;
use machine::sync::{Level, SpinLock};

use super::multiplexer::{self, Mode, Source};
use super::ring::{ByteRing, Corrupt};
use crate::event_channel::Port;

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

/// Bytes on the serial line that one notification of a guest may cost; the rest waits for [`super::serve_deferred`].
const OUTPUT_AT_ONCE: usize = 2048;
/// Input that is kept for a guest that does not fetch it.
const INPUT_KEPT: usize = 64 * 1024;
/// How long after the last input a guest's console counts as used by a person, in nanoseconds.
const INTERACTIVE: u64 = 30_000_000_000;
const LONGEST_NAME: usize = 32;

/// A guest's console.
pub struct GuestConsole {
    source: Source,
    prefix: Vec<u8>,
    raw: bool,
    state: SpinLock<State>,
    /// Until when its unfinished lines are shown.
    interactive_until: AtomicU64,
    /// Output was left in the ring.
    deferred: AtomicBool,
}

struct State {
    shared: Option<(SharedPage, Port)>,
    input: VecDeque<u8>,
}

/// What a round with a guest's ring came to.
#[derive(Default)]
pub(super) struct Served {
    /// The port on which the guest waits for what happened.
    pub(super) notify: Option<Port>,
    /// There is more output in the ring.
    pub(super) more: bool,
    /// There may be, and there is no room for it on the serial line.
    pub(super) waits: bool,
    /// The guest's indices make no sense.
    pub(super) corrupt: bool,
}

impl GuestConsole {
    /// The console of the guest `name`, not attached to a ring yet.
    pub fn new(name: &str) -> Self {
        let shown: String =
            name.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).take(LONGEST_NAME).collect();
        Self {
            source: Source::new(),
            prefix: format!("[{shown}] ").into_bytes(),
            raw: super::options::is_raw(name),
            state: SpinLock::new(Level::Console, State { shared: None, input: VecDeque::new() }),
            interactive_until: AtomicU64::new(0),
            deferred: AtomicBool::new(false),
        }
    }

    /// Connects the console with the page that holds its rings and the guest's port.
    pub fn attach(&self, page: SharedPage, port: Port) {
        self.state.lock().shared = Some((page, port));
    }

    /// Passes on the rest of what the guest has printed, now that it has ended, and lets its page go.
    pub fn flush(&self) {
        // in pieces that are small enough for one notification each: at most one for each byte of the ring
        for _ in 0..OUTPUT_SIZE {
            if !self.move_both().more {
                break;
            }
        }
        let shared = self.state.lock().shared.take();
        drop(shared);
        multiplexer::close(self.source);
    }

    /// The guest's port of the console, if it has been attached.
    pub fn port(&self) -> Option<Port> {
        self.state.lock().shared.as_ref().map(|&(_, port)| port)
    }

    /// Whether the bytes pass as they are.
    pub(super) const fn is_raw(&self) -> bool {
        self.raw
    }

    /// Whether output was left in the ring by the last round; forgets it.
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

    /// Moves output from the ring to the serial line, a bounded amount, and waiting input to the ring.
    pub(super) fn serve(&self) -> Served {
        if !machine::console::has_room() {
            // A guest that writes faster than the line waits itself, and no pCPU for it.
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
        // a guest that found the ring full waits for room
        let awaited = moved >= OUTPUT_SIZE / 2 || more;
        let delivered = state.deliver();
        Served { notify: (awaited || delivered).then_some(port), more, ..Served::default() }
    }

    fn move_output(&self, page: &SharedPage) -> Result<(usize, bool), Corrupt> {
        let now = machine::time::now();
        let mode = self.mode(now);
        // what comes in from now on is announced by the guest once more
        let mut left = OUTPUT.used(page)? as usize;
        let (mut moved, mut cost) = (0, 0);
        let mut bytes = [0; 128];
        while left > 0 && cost < OUTPUT_AT_ONCE {
            let wanted = left.min(bytes.len());
            let length = OUTPUT.take(page, bytes.get_mut(..wanted).unwrap_or_default())?;
            if length == 0 {
                return Ok((moved, false));
            }
            let taken = bytes.get(..length).unwrap_or_default();
            cost += multiplexer::write(self.source, &self.prefix, mode, taken, now).max(length);
            left -= length;
            moved += length;
        }
        Ok((moved, left > 0))
    }

    /// Output that does not come through a ring: the initial domain's, as it is.
    pub(super) fn write_plain(&self, bytes: &[u8]) {
        multiplexer::write(self.source, &self.prefix, Mode::Raw, bytes, machine::time::now());
    }

    /// Input that does not go through a ring: the next bytes for the initial domain.
    pub(super) fn read_plain(&self, to: &mut [u8]) -> usize {
        let input = &mut self.state.lock().input;
        let length = to.len().min(input.len());
        for (to, from) in to.iter_mut().zip(input.drain(..length)) {
            *to = from;
        }
        length
    }

    /// Takes input for the guest; the port to tell it on.
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
    /// Moves waiting input into the ring; whether there was any and room for it.
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
