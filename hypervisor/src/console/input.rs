//! Serial input and its recipient. Pressing Ctrl-A three times switches to the next guest, and
//! after the last guest to Paravane's debug keys.

use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::xen::DomainId;
use machine::sync::{Level, SpinLock};

use super::multiplexer;
use crate::domain::{self, Domain, Life};

const CTRL_A: u8 = 1;
const SWITCH_COUNT: u8 = 3;
/// Maximum number of bytes that one call reads.
const AT_ONCE: usize = 512;

static INPUT: SpinLock<Input> = SpinLock::new(Level::Console, Input { focus: Focus::Unset, control_a: 0 });

struct Input {
    focus: Focus,
    /// Consecutive Ctrl-A bytes that have not been delivered.
    control_a: u8,
}

/// The recipient of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Focus {
    /// The guest whose console is raw, otherwise the first guest.
    Unset,
    Guest(DomainId),
    /// Paravane's debug keys.
    Keys,
}

/// The effect of a byte of input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Byte(u8),
    Switch,
}

impl Input {
    /// Recognises the switch sequence. A Ctrl-A is held back until the next byte.
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

/// Delivers serial input to the guest that has the focus, or to `press`, which handles debug keys.
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

/// The guests that can receive input.
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

/// The recipient of the input, out of `guests`.
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
        Some(guest) => multiplexer::print(format_args!("serial input goes to guest {}", guest.settings().name)),
        None => multiplexer::print(format_args!("serial input goes to paravane's keys; h lists them")),
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
    fn the_focus_cycles_through_guests_and_keys() {
        let guests = [DomainId(1), DomainId(3)];
        assert_eq!(next_focus(Focus::Guest(DomainId(1)), &guests), Focus::Guest(DomainId(3)));
        assert_eq!(next_focus(Focus::Guest(DomainId(3)), &guests), Focus::Keys);
        assert_eq!(next_focus(Focus::Keys, &guests), Focus::Guest(DomainId(1)));
        assert_eq!(next_focus(Focus::Keys, &[]), Focus::Keys);
        // the guest with the focus is gone
        assert_eq!(next_focus(Focus::Guest(DomainId(2)), &guests), Focus::Guest(DomainId(3)));
    }
}
