//! The terminal of an interactive run: raw while the guest has it, as it was afterwards.

use std::io::{IsTerminal, Read, Write, stdin};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::stdio;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The key that ends the machine, as on other consoles: Ctrl-].
const END_KEY: u8 = 0x1d;

/// What a terminal sends for the end of input.
const END_OF_INPUT: u8 = 0x04;

/// The terminal as it was, for whoever has to restore it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal in raw mode; restored on drop.
#[derive(Debug)]
pub(crate) struct Raw;

impl Raw {
    /// Takes the terminal; `None` if standard input is not one.
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

/// Gives the terminal back as it was.
pub(crate) fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // There is nothing to be done about a terminal that has gone.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &before);
    }
}

/// Copies what is typed to `machine`, in a thread of its own; `end` is called when the end key is
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
