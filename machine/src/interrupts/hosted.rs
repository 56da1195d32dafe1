//! A simulated I/O APIC with 24 lines, which a test asserts. A level-triggered line that stays
//! asserted interrupts again when it is unmasked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Redirection, Trigger, Wiring, vector_table};
use crate::addr::MachineAddr;
use crate::per_cpu::{self, Pending};

const LINES: usize = 24;
/// The line of the serial port, which Paravane uses.
const SERIAL: u32 = 4;
const BASE: u64 = 0xfec0_0000;

#[derive(Clone, Copy)]
struct Line {
    redirection: Option<Redirection>,
    masked: bool,
    asserted: bool,
}

static STATE: Mutex<[Line; LINES]> = Mutex::new([Line { redirection: None, masked: true, asserted: false }; LINES]);

fn lock() -> MutexGuard<'static, [Line; LINES]> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) const fn line_count() -> u32 {
    LINES as u32
}

pub(crate) const fn is_free(line: u32) -> bool {
    line < LINES as u32 && line != SERIAL
}

pub(crate) const fn default_wiring(line: u32) -> Wiring {
    let trigger = if line < 16 { Trigger::Edge } else { Trigger::Level };
    Wiring { trigger, active_low: line >= 16 }
}

pub(crate) fn connect(line: u32, redirection: Redirection) {
    let line = &mut lock()[line as usize];
    line.redirection = Some(redirection);
    line.masked = true;
}

pub(crate) fn set_masked(line: u32, masked: bool) {
    lock()[line as usize].masked = masked;
    service(line);
}

pub(crate) fn first_line(base: MachineAddr) -> Option<u32> {
    (base.get() == BASE).then_some(0)
}

/// The identification and version registers.
pub(crate) fn read_register(base: MachineAddr, register: u32) -> Option<u32> {
    (base.get() == BASE).then_some(if register == 1 { 0x0017_0020 } else { 0 })
}

/// Asserts or deasserts a line; for tests.
pub fn assert_line(line: u32, asserted: bool) {
    lock()[line as usize].asserted = asserted;
    service(line);
}

/// Whether a line is masked; for tests.
pub fn is_masked(line: u32) -> bool {
    lock()[line as usize].masked
}

fn service(line: u32) {
    let mut state = lock();
    let here = &mut state[line as usize];
    let Some(redirection) = here.redirection.filter(|_| here.asserted && !here.masked) else { return };
    if redirection.wiring.trigger == Trigger::Edge {
        here.asserted = false;
    }
    drop(state);
    if vector_table::arrived(redirection.cpu, redirection.vector) {
        per_cpu::record(redirection.cpu, Pending::DEVICE);
    }
}
