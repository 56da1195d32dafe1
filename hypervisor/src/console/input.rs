//! Serial input: whose it is. Ctrl-A pressed three times hands it on: to the next guest, and after the last to Paravane's own keys.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::xen::DomainId;
use machine::sync::{Level, SpinLock};

use super::multiplexer;
use crate::domain::{self, Domain, Life};

const CTRL_A: u8 = 1;
const SWITCH_COUNT: u8 = 3;
/// Bytes that are read in one go.
const AT_ONCE: usize = 512;

static INPUT: SpinLock<Input> = SpinLock::new(Level::Console, Input { focus: Focus::Unset, control_a: 0 });

struct Input {
    focus: Focus,
    /// Ctrl-A in a row that nobody has got yet.
    control_a: u8,
}

/// Who gets the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Focus {
    /// The guest whose console is raw, else the first.
    Unset,
    Guest(DomainId),
    /// Paravane's debug keys.
    Keys,
}

/// What a byte of input comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Byte(u8),
    Switch,
}

impl Input {
    /// Tells the switch from ordinary input; a Ctrl-A is held back until the next byte.
    fn interpret(&mut self, byte: u8, mut act: impl FnMut(Action)) {
        if byte == CTRL_A {
            self.control_a += 1;
            if self.control_a == SWITCH_COUNT {
                self.control_a = 0;
                act(Action::Switch);
            }
            return;
        }
        for _ in 0..core::mem::take(&mut self.control_a) {
            act(Action::Byte(CTRL_A));
        }
        act(Action::Byte(byte));
    }
}

/// Hands on what has come in on the serial line: to the guest that has the
/// input, or to `press`, which acts on debug keys.
pub(crate) fn serial_input(press: fn(u8)) {
    let guests = guests();
    let mut bytes = Vec::new();
    let mut count = 0;
    while count < AT_ONCE
        && let Some(byte) = machine::console::read_byte()
    {
        count += 1;
        let mut actions = Vec::new();
        INPUT.lock().interpret(byte, |action| actions.push(action));
        for action in actions {
            match action {
                Action::Byte(byte) => bytes.push(byte),
                Action::Switch => {
                    deliver(&guests, &bytes, press);
                    bytes.clear();
                    switch(&guests);
                }
            }
        }
    }
    deliver(&guests, &bytes, press);
}

/// The guests that can have input.
fn guests() -> Vec<Arc<Domain>> {
    let mut guests = Vec::new();
    domain::for_each(|domain| {
        let can = domain.is_privileged() || domain.console.port().is_some();
        if can && matches!(domain.life(), Life::Building | Life::Running) {
            guests.push(Arc::clone(domain));
        }
    });
    guests
}

/// Who has the input, given the guests that there are.
fn focus(guests: &[Arc<Domain>]) -> Focus {
    let current = INPUT.lock().focus;
    let alive = match current {
        Focus::Unset => false,
        Focus::Keys => true,
        Focus::Guest(id) => guests.iter().any(|guest| guest.id() == id),
    };
    if alive {
        return current;
    }
    let first = guests.iter().find(|guest| guest.console.is_raw()).or(guests.first());
    first.map_or(Focus::Keys, |guest| Focus::Guest(guest.id()))
}

fn deliver(guests: &[Arc<Domain>], bytes: &[u8], press: fn(u8)) {
    if bytes.is_empty() {
        return;
    }
    match focus(guests) {
        Focus::Guest(id) => {
            if let Some(guest) = guests.iter().find(|guest| guest.id() == id) {
                super::give_input(guest, bytes);
            }
        }
        Focus::Keys | Focus::Unset => bytes.iter().for_each(|&key| press(key)),
    }
}

fn switch(guests: &[Arc<Domain>]) {
    let ids: Vec<_> = guests.iter().map(|guest| guest.id()).collect();
    let next = next_focus(focus(guests), &ids);
    INPUT.lock().focus = next;
    match guests.iter().find(|guest| Focus::Guest(guest.id()) == next) {
        Some(guest) => multiplexer::say(format_args!("serial input goes to guest {}", guest.settings().name)),
        None => multiplexer::say(format_args!("serial input goes to paravane's keys; h lists them")),
    }
}

fn next_focus(current: Focus, guests: &[DomainId]) -> Focus {
    let next = match current {
        Focus::Guest(current) => guests.iter().find(|&&guest| guest > current),
        Focus::Keys | Focus::Unset => guests.first(),
    };
    next.map_or(Focus::Keys, |&guest| Focus::Guest(guest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpret(bytes: &[u8]) -> Vec<Action> {
        let mut input = Input { focus: Focus::Unset, control_a: 0 };
        let mut actions = Vec::new();
        for &byte in bytes {
            input.interpret(byte, |action| actions.push(action));
        }
        actions
    }

    #[test]
    fn three_times_ctrl_a_switches_and_fewer_pass() {
        assert_eq!(interpret(b"\x01\x01\x01x"), [Action::Switch, Action::Byte(b'x')]);
        assert_eq!(interpret(b"\x01\x01y"), [Action::Byte(1), Action::Byte(1), Action::Byte(b'y')]);
        assert_eq!(interpret(b"\x01\x01\x01\x01\x01\x01"), [Action::Switch, Action::Switch]);
    }

    #[test]
    fn the_focus_goes_round() {
        let guests = [DomainId(1), DomainId(3)];
        assert_eq!(next_focus(Focus::Guest(DomainId(1)), &guests), Focus::Guest(DomainId(3)));
        assert_eq!(next_focus(Focus::Guest(DomainId(3)), &guests), Focus::Keys);
        assert_eq!(next_focus(Focus::Keys, &guests), Focus::Guest(DomainId(1)));
        assert_eq!(next_focus(Focus::Keys, &[]), Focus::Keys);
        // the guest that had it is gone
        assert_eq!(next_focus(Focus::Guest(DomainId(2)), &guests), Focus::Guest(DomainId(3)));
    }
}
