//! The terminal of an interactive run: in raw mode while it is connected to the guest, restored
//! afterwards.

use std::io::{IsTerminal, Read, Write, stdin};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::stdio;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Key that ends the machine: Ctrl-], as for other consoles.
const END_KEY: u8 = 0x1d;

/// What a terminal sends at end of input.
const END_OF_INPUT: u8 = 0x04;

/// The terminal's settings before raw mode, for restoring them.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal in raw mode; restored on drop.
#[derive(Debug)]
pub(crate) struct Raw;

impl Raw {
    /// Sets raw mode; `None` if standard input is not a terminal.
    pub(crate) fn take() -> Option<Self> {
        if !stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(stdio::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(stdio::stdin(), OptionalActions::Flush, &raw).ok()?;
        Some(Self)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Restores the terminal's settings.
pub(crate) fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // If the terminal is gone, there is nothing to restore.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &before);
    }
}

/// Starts a thread that copies standard input to `machine`; `end` is called when the end key is
/// pressed.
pub(crate) fn forward_input(mut machine: impl Write + Send + 'static, end: impl Fn() + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = [0; 256];
        loop {
            let length = stdin().lock().read(&mut buffer).unwrap_or(0);
            let bytes = if length == 0 { &[END_OF_INPUT][..] } else { &buffer[..length] };
            if stdin().is_terminal() && bytes.contains(&END_KEY) {
                return end();
            }
            if machine.write_all(bytes).and_then(|()| machine.flush()).is_err() || length == 0 {
                return;
            }
        }
    });
}
