//! Clock, timers and runstate of one vCPU; see README.md.
#![no_std]
#![no_main]

use core::mem::offset_of;

use kernel::abi::event_channel::{BindVirq, op};
use kernel::abi::sched::{self, Poll};
use kernel::abi::vcpu::{self, RunstateInfo, SetPeriodicTimer, SetSingleshotTimer};
use kernel::abi::xen::{SharedInfo, VcpuTimeInfo, virq};
use kernel::call::number;
use kernel::memory::{page, peek, poke, shared_info, vcpu_info, zeroed};
use kernel::{call, check, check_eq, say, time};

kernel::guest!(main);

const MILLISECOND: u64 = 1_000_000;
/// Maximum delay on a busy emulated machine.
const LATE: u64 = 400 * MILLISECOND;

fn main() {
    vcpu_op(vcpu::op::STOP_PERIODIC_TIMER, 0);
    clock();
    wall_clock();
    let timer = Timer::new();
    timers(&timer);
    single_shot(&timer);
    periodic(&timer);
    runstate(&timer);
    area();
}

fn vcpu_op(op: u32, argument: u64) {
    check_eq!(call!(number::VCPU_OP, op, 0u32, argument), 0, "vcpu_op {op}");
}

fn clock() {
    let mut last = time::now();
    let (mut back, mut longest) = (0, 0);
    for _ in 0..100_000 {
        let now = time::now();
        if now < last {
            back += 1;
        } else {
            longest = longest.max(now - last);
        }
        last = now;
    }
    check_eq!(back, 0, "times the clock went back");
    say!("the longest step of 100000 was {longest} ns");
    // The clock is the scaled counter: over 50 ms both agree.
    let info: VcpuTimeInfo = peek(vcpu_info(0).time());
    let (start, counter) = (time::now(), time::tsc());
    while time::now() < start + 50 * MILLISECOND {}
    let (elapsed, counted) = (time::now() - start, time::tsc() - counter);
    let scaled = time::convert(&info, info.tsc_timestamp + counted) - info.system_time;
    let apart = scaled.abs_diff(elapsed);
    check!(apart < elapsed / 100, "clock {elapsed} ns, counter {scaled} ns");
    let frequency = counted as u128 * 1_000_000 / u128::from(elapsed.max(1));
    check!((100_000..10_000_000).contains(&frequency), "the counter runs at {frequency} kHz");
}

fn wall_clock() {
    let shared: SharedInfo = peek(shared_info());
    check!(shared.wall_clock_nanoseconds < 1_000_000_000, "nanoseconds of the wall clock");
    let boot = u64::from(shared.wall_clock_seconds_high) << 32 | u64::from(shared.wall_clock_seconds);
    let now = boot + time::now() / 1_000_000_000;
    // Between 2024 and 2100.
    check!((1_704_000_000..4_102_000_000).contains(&now), "seconds since 1970: {now}");
    check!(offset_of!(SharedInfo, wall_clock_version) == 3072, "layout");
}

struct Timer {
    port: u32,
}

impl Timer {
    fn new() -> Self {
        let mut bind = BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 };
        check_eq!(call!(number::EVENT_CHANNEL_OP, op::BIND_VIRQ, &mut bind), 0, "bind the timer");
        let timer = Self { port: bind.port };
        poke(timer.mask_word(), peek::<u64>(timer.mask_word()) | 1 << (timer.port % 64));
        timer.clear();
        timer
    }

    fn mask_word(&self) -> u64 {
        shared_info() + offset_of!(SharedInfo, event_mask) as u64 + u64::from(self.port / 64) * 8
    }

    fn word(&self) -> u64 {
        shared_info() + offset_of!(SharedInfo, event_pending) as u64 + u64::from(self.port / 64) * 8
    }

    fn pending(&self) -> bool {
        peek::<u64>(self.word()) >> (self.port % 64) & 1 == 1
    }

    fn clear(&self) {
        poke(self.word(), peek::<u64>(self.word()) & !(1 << (self.port % 64)));
    }

    /// Waits for the timer until `end`. Returns whether it fired.
    fn wait(&self, end: u64) -> bool {
        let poll = Poll { ports: &raw const self.port as u64, port_count: 1, timeout: end, ..zeroed() };
        check_eq!(call!(number::SCHED_OP, sched::op::POLL, &poll), 0, "poll");
        let came = self.pending();
        self.clear();
        came
    }
}

fn set_timer(at: u64) {
    check_eq!(call!(number::SET_TIMER_OP, at), 0, "set_timer_op");
}

/// Checks that the timer set for `at` by `set` fires neither too early nor too late.
fn on_time(timer: &Timer, delay: u64, what: &str, set: impl Fn(u64)) {
    let at = time::now() + delay;
    set(at);
    let came = timer.wait(at + 5000 * MILLISECOND);
    let now = time::now();
    check!(came, "{what} of {delay} ns fired");
    check!(now >= at, "{what} of {delay} ns fired {} ns early", at.saturating_sub(now));
    check!(now < at + LATE, "{what} of {delay} ns fired {} ns late", now.saturating_sub(at));
}

fn timers(timer: &Timer) {
    for delay in [0, 50_000, MILLISECOND, 5 * MILLISECOND, 20 * MILLISECOND, 100 * MILLISECOND] {
        on_time(timer, delay, "set_timer_op", set_timer);
    }
    // Short timers are as exact as long ones: none of a hundred fires early.
    let mut early = 0;
    for step in 0..100u64 {
        let at = time::now() + step * 10_000;
        set_timer(at);
        check!(timer.wait(at + 1000 * MILLISECOND), "timer {step} of a row");
        early += u64::from(time::now() < at);
    }
    check_eq!(early, 0, "timers that fired early");
    // A time in the past is due immediately.
    set_timer(1);
    check!(timer.wait(time::now() + 1000 * MILLISECOND), "a time that is past");
    // Replaced by a later and by an earlier time; stopped.
    let start = time::now();
    set_timer(start + 10 * MILLISECOND);
    set_timer(start + 60 * MILLISECOND);
    check!(timer.wait(start + 2000 * MILLISECOND) && time::now() >= start + 60 * MILLISECOND, "a later time replaces");
    check!(!timer.wait(time::now() + 20 * MILLISECOND), "it fires once");
    let start = time::now();
    set_timer(start + 4000 * MILLISECOND);
    set_timer(start + 10 * MILLISECOND);
    check!(timer.wait(start + 3000 * MILLISECOND), "an earlier time replaces");
    set_timer(time::now() + 10 * MILLISECOND);
    set_timer(0);
    check!(!timer.wait(time::now() + 50 * MILLISECOND), "a timer that was stopped");
}

fn single_shot(timer: &Timer) {
    let set = |at: u64| {
        let argument = SetSingleshotTimer { timeout_absolute_ns: at, flags: 0, _pad: 0 };
        vcpu_op(vcpu::op::SET_SINGLESHOT_TIMER, &raw const argument as u64);
    };
    for delay in [0, MILLISECOND, 20 * MILLISECOND] {
        on_time(timer, delay, "single-shot timer", set);
    }
    set(time::now() + 10 * MILLISECOND);
    vcpu_op(vcpu::op::STOP_SINGLESHOT_TIMER, 0);
    check!(!timer.wait(time::now() + 50 * MILLISECOND), "a single-shot timer that was stopped");
    // It is the timer that set_timer_op sets.
    set(time::now() + 10 * MILLISECOND);
    set_timer(0);
    check!(!timer.wait(time::now() + 50 * MILLISECOND), "a single-shot timer stopped by set_timer_op");
}

fn periodic(timer: &Timer) {
    let argument = SetPeriodicTimer { period_ns: 20 * MILLISECOND };
    vcpu_op(vcpu::op::SET_PERIODIC_TIMER, &raw const argument as u64);
    let start = time::now();
    let mut count = 0;
    // Periods occur only while the vCPU runs.
    while time::now() < start + 400 * MILLISECOND {
        count += u64::from(timer.pending());
        timer.clear();
    }
    check!((3..=21).contains(&count), "{count} periods of 20 ms in 400 ms");
    vcpu_op(vcpu::op::STOP_PERIODIC_TIMER, 0);
    timer.clear();
    check!(!timer.wait(time::now() + 60 * MILLISECOND), "a periodic timer that was stopped");
}

fn runstate(timer: &Timer) {
    let (place, argument) = (page(), page());
    poke(argument, place);
    vcpu_op(vcpu::op::REGISTER_RUNSTATE_MEMORY_AREA, argument);
    let asked = || {
        let at = page();
        vcpu_op(vcpu::op::GET_RUNSTATE_INFO, at);
        peek::<RunstateInfo>(at)
    };
    let before = asked();
    check_eq!(before.state, vcpu::runstate::RUNNING, "it runs");
    set_timer(time::now() + 50 * MILLISECOND);
    check!(timer.wait(time::now() + 5000 * MILLISECOND), "the timer");
    let start = time::now();
    while time::now() < start + 20 * MILLISECOND {}
    let (after, seen): (RunstateInfo, RunstateInfo) = (asked(), peek(place));
    let spent = |state: i32| after.time[state as usize] - before.time[state as usize];
    let blocked = spent(vcpu::runstate::BLOCKED);
    check!((45 * MILLISECOND..50 * MILLISECOND + LATE).contains(&blocked), "blocked for {blocked} ns");
    let running = spent(vcpu::runstate::RUNNING) + spent(vcpu::runstate::RUNNABLE);
    check!(running >= 20 * MILLISECOND, "running or runnable for {running} ns");
    check_eq!(spent(vcpu::runstate::OFFLINE), 0, "offline");
    // The area in memory is from the last change of state, which was to running.
    check_eq!(seen.state, vcpu::runstate::RUNNING, "the area's state is running");
    check_eq!(seen.state_entry_time & 1 << 63, 0, "the area is not being written");
    check_eq!(seen.time[2], after.time[2], "the area's time blocked");
    check!(seen.state_entry_time <= time::now(), "the area's time of entry");
    let total: u64 = after.time.iter().sum();
    check!(total <= time::now(), "all states together {total} ns are no more than the clock's {}", time::now());
    poke(argument, 0u64);
    vcpu_op(vcpu::op::REGISTER_RUNSTATE_MEMORY_AREA, argument);
}

fn area() {
    let (place, argument) = (page(), page());
    poke(argument, place);
    vcpu_op(vcpu::op::REGISTER_VCPU_TIME_MEMORY_AREA, argument);
    let (info, tsc) = time::snapshot(place);
    check!(info.tsc_to_system_mul != 0, "the area is filled");
    let apart = time::convert(&info, tsc).abs_diff(time::now());
    check!(apart < 100 * MILLISECOND, "the area's clock is {apart} ns apart");
    poke(argument, 0u64);
    vcpu_op(vcpu::op::REGISTER_VCPU_TIME_MEMORY_AREA, argument);
}
