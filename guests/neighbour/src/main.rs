//! A well-behaved guest beside hostile ones; see README.md.
#![no_std]
#![no_main]

use kernel::abi::event_channel::{BindVirq, op};
use kernel::abi::sched::{self, Poll};
use kernel::abi::vcpu::{self, RunstateInfo};
use kernel::abi::xen::virq;
use kernel::call::number;
use kernel::memory::{page, pages, peek, poke, shared_info, zeroed};
use kernel::{call, check, check_eq, say, time};

kernel::guest!(main);

const MILLISECOND: u64 = 1_000_000;

fn main() {
    let mut bind = BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 };
    check_eq!(call!(number::EVENT_CHANNEL_OP, op::BIND_VIRQ, &mut bind), 0, "bind the timer");
    let memory = pages(64);
    for at in 0..64 * 512u64 {
        poke(memory + at * 8, at);
    }
    let word = shared_info() + 2048 + u64::from(bind.port / 64) * 8;
    let (mut latest, mut late, mut prompt) = (0, 0, 0);
    for _ in 0..200 {
        poke(word, 0u64);
        let at = time::now() + 10 * MILLISECOND;
        check_eq!(call!(number::SET_TIMER_OP, at), 0, "set_timer_op");
        let poll =
            Poll { ports: &raw const bind.port as u64, port_count: 1, timeout: at + 10_000 * MILLISECOND, ..zeroed() };
        while peek::<u64>(word) >> (bind.port % 64) & 1 == 0 && time::now() < at + 10_000 * MILLISECOND {
            let _ = call!(number::SCHED_OP, sched::op::POLL, &poll);
        }
        let lateness = time::now().saturating_sub(at);
        latest = latest.max(lateness);
        late += u64::from(lateness > 100 * MILLISECOND);
        prompt += u64::from(lateness < 10 * MILLISECOND);
    }
    say!("of 200 timers {prompt} came less than 10 ms late, {late} more than 100 ms, the latest {latest} ns");
    check!(late < 50, "{late} of 200 timers came more than 100 ms late");
    // A second of work takes no longer than its share of the CPU allows: three guests, with
    // tolerance for an emulator.
    let runstate = || {
        let place = page();
        check_eq!(call!(number::VCPU_OP, vcpu::op::GET_RUNSTATE_INFO, 0u32, place), 0, "runstate");
        peek::<RunstateInfo>(place)
    };
    let before = runstate();
    let start = time::now();
    let mut sum = 0u64;
    while runstate_time(&before) + 1000 * MILLISECOND > runstate_time(&runstate_of())
        && time::now() < start + 30_000 * MILLISECOND
    {
        for at in 0..64 * 512u64 {
            sum = sum.wrapping_add(peek::<u64>(memory + at * 8));
        }
    }
    let took = time::now() - start;
    say!("a second of work took {took} ns");
    check!(took < 10_000 * MILLISECOND, "a second of work took {took} ns");
    check!(sum > 0 && (0..64 * 512u64).all(|at| peek::<u64>(memory + at * 8) == at), "the memory is unchanged");
}

fn runstate_time(info: &RunstateInfo) -> u64 {
    info.time[vcpu::runstate::RUNNING as usize]
}

fn runstate_of() -> RunstateInfo {
    let info: RunstateInfo = zeroed();
    let _ = call!(number::VCPU_OP, vcpu::op::GET_RUNSTATE_INFO, 0u32, &info);
    peek(&raw const info as u64)
}
