//! A vCPU in the test process. Its address space is walked in software by the hardware's rules.
//! What it "executes" is a script of exits supplied by the test.

pub(crate) mod mmu;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::extended_state::xcr0_is_legal;
use super::{Exit, GuestContext, Selectors, roots, speculation_control};
use crate::addr::GuestVirt;
use crate::counters::{self, Counter};
use crate::defences::bits::spec_ctrl;
use crate::defences::{self, GuestSpecCtrl};
use crate::frames::{Descriptor, TypedRef};
use crate::tlb::clock as tlb_clock;
use mmu::Access;

pub(crate) use super::extended_state::ExtendedState;

/// The hosted back end's state of a vCPU.
#[derive(Default)]
pub(crate) struct BackendState {
    /// The exits that `run` returns, in order.
    pub(crate) script: VecDeque<Exit>,
}

/// The simulated processor has x87, SSE and AVX.
pub(crate) const fn supported_states() -> u64 {
    7
}

/// There is no entry code.
pub(crate) const fn show_vcpu_info(_: &mut GuestContext) {}

pub(crate) fn load_root(context: &GuestContext) {
    if !mmu::is_context_loaded(context) {
        return show(context);
    }
    tlb_clock::around_flush(|| mmu::load(context, "loading another root"));
}

pub(crate) fn swap_mode(context: &mut GuestContext) {
    load_root(context);
}

pub(crate) fn enter_root(context: &GuestContext) {
    tlb_clock::around_entry(context.owner(), || mmu::load(context, "loading the guest's root"));
}

pub(crate) fn leave_root() {
    tlb_clock::around_leaving(mmu::unload);
}

/// Loads the context's root if that of another context is loaded. A test may have several active
/// vCPUs on one thread; the one that is used is loaded.
fn show(context: &GuestContext) {
    if !mmu::is_loaded(context) {
        leave_root();
        enter_root(context);
    }
}

pub(crate) fn activate(context: &mut GuestContext) {
    enter_root(context);
    speculation_control::load(context);
}

pub(crate) fn deactivate(_: &mut GuestContext) {
    leave_root();
}

/// Runs the guest for a moment. Returns the next exit of the script, or an interrupt when the
/// script is empty.
pub(crate) fn run(context: &mut GuestContext) -> Exit {
    show(context);
    roots::check(context);
    if context.split_roots {
        mmu::load_restricted(context);
    }
    mmu::run_guest();
    if context.split_roots {
        mmu::load(context, "an exit of the guest");
    }
    context.backend.script.pop_front().unwrap_or(Exit::Interrupt)
}

pub(crate) fn load_descriptor_tables(_: &mut GuestContext) {}

pub(crate) fn map_ldt_page(_: &mut GuestContext, _: usize, page: TypedRef<Descriptor>) {
    drop(page);
}

pub(crate) fn ldt_page_of_fault(_: GuestVirt) -> Option<usize> {
    None
}

pub(crate) fn set_fs_base(context: &mut GuestContext, base: u64) {
    context.fs_base = base;
}

pub(crate) fn set_gs_base(context: &mut GuestContext, kernel: bool, base: u64) {
    if kernel {
        context.gs_base_kernel = base;
    } else {
        context.gs_base_user = base;
    }
}

pub(crate) fn load_user_gs_selector(context: &mut GuestContext, selector: u16) -> bool {
    context.selectors.gs = selector;
    true
}

pub(crate) fn live_selectors(context: &GuestContext) -> Selectors {
    context.selectors
}

pub(crate) fn load_data_segments(_: &mut GuestContext) -> bool {
    true
}

pub(crate) fn live_user_gs_base(context: &GuestContext) -> u64 {
    context.gs_base_user
}

pub(crate) fn live_segment_bases(context: &GuestContext) -> (u64, u64, u64) {
    (context.fs_base, context.gs_base_kernel, context.gs_base_user)
}

pub(crate) fn load_task_switched(_: &GuestContext) {}

pub(crate) fn load_control4(_: &GuestContext) {}

/// The simulated processor has three controls, one of which the plan sets as well.
pub(crate) const fn guest_spec_ctrl() -> GuestSpecCtrl {
    GuestSpecCtrl {
        offered: spec_ctrl::IBRS | spec_ctrl::STIBP | spec_ctrl::SSBD,
        required: spec_ctrl::STIBP,
        at_entry: false,
    }
}

pub(crate) fn write_spec_ctrl(value: u64) {
    defences::write_spec_ctrl(value);
}

/// There are no predictions.
pub(crate) fn discard_predictions() {
    counters::count(Counter::PredictionBarriers);
}

pub(crate) fn load_breakpoints(_: &GuestContext) {}

pub(crate) fn clear_breakpoints() {}

pub(crate) fn latch_debug_status(_: &mut GuestContext) {}

pub(crate) fn set_xcr0(context: &mut GuestContext, value: u64) -> bool {
    let legal = xcr0_is_legal(value);
    if legal {
        context.extended.xcr0 = value;
    }
    legal
}

pub(crate) fn flush_page(context: &mut GuestContext, address: GuestVirt) {
    show(context);
    mmu::flush_page(address);
}

/// Splits `[address, address + length)` at page boundaries and passes each part to `act` until it
/// returns `false`.
fn by_page(address: GuestVirt, length: usize, mut act: impl FnMut(GuestVirt, usize, usize) -> bool) -> usize {
    let mut done = 0;
    while done < length {
        let at = address.offset(done as u64);
        let piece = (4096 - at.page_offset()).min(length - done);
        if !act(at, done, piece) {
            break;
        }
        done += piece;
    }
    done
}

pub(crate) fn copy_from_guest(context: &GuestContext, from: GuestVirt, to: &mut [u8]) -> usize {
    if !from.is_guest_range(to.len() as u64) {
        return 0;
    }
    show(context);
    by_page(from, to.len(), |at, done, piece| {
        mmu::access(at, Access::Read, |frame| mmu::read(frame, at.page_offset(), &mut to[done..done + piece]))
    })
}

pub(crate) fn copy_to_guest(context: &GuestContext, to: GuestVirt, from: &[u8]) -> usize {
    if !to.is_guest_range(from.len() as u64) {
        return 0;
    }
    show(context);
    by_page(to, from.len(), |at, done, piece| {
        mmu::access(at, Access::Write, |frame| mmu::write(frame, at.page_offset(), &from[done..done + piece]))
    })
}
