//! Housekeeping of a pCPU: timers, kicks, device interrupts, console input.

use machine::cpu::{self, Pending};

use crate::latency::{self, Phase};
use crate::{console, debug_keys, event_channel, hardware, lifecycle, scheduler, timers};

/// Handles the events that are pending on this pCPU.
#[inline]
pub(crate) fn poll() {
    let pending = cpu::take_pending();
    if !pending.is_empty() || console::has_news() {
        serve(pending);
    }
}

#[inline(never)]
fn serve(pending: Pending) {
    let cpu = cpu::current();
    latency::note(Phase::Service);
    if pending.contains(Pending::TIMER) {
        timers::run_due();
        scheduler::deadline(cpu, lifecycle::destruction_due());
    } else if pending.contains(Pending::KICK) {
        scheduler::arrange_slice(cpu);
    }
    if pending.contains(Pending::DEVICE) {
        hardware::interrupts::deliver(cpu, event_channel::raise_interrupt);
    }
    if pending.contains(Pending::SERIAL) {
        console::serial_input(debug_keys::press);
    }
    console::serve_deferred();
    console::tell_news();
}
