//! `perfc_op`: per-pCPU performance counters.

use abi::errno::Errno;
use abi::sysctl::{PerformanceCounter, PerformanceCounterOp, performance_counter};
use machine::addr::{CpuId, GuestVirt};
use machine::counters::{self, Counter};
use machine::cpu;
use machine::guest_memory::Fault;
use machine::integers::{low_u32, saturating_u32};

use super::Request;
use crate::call::{CallResult, Caller};
use crate::latency;

/// A value of the latency meter: its name, and the function that reads it for a pCPU.
type Reading = (&'static str, fn(CpuId) -> u64);

/// The values of the latency meter, in nanoseconds.
const LATENCIES: [Reading; 2] = [
    ("longest stretch without interrupts (ns)", latency::longest_stretch),
    ("longest wait of a runnable vcpu (ns)", latency::longest_wait),
];

/// Cost of copying a counter's name or value, in units of the budget.
const COST: u32 = 4;

/// Returns the names of the counters and their values for each pCPU, or resets them.
pub(super) fn counters(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: PerformanceCounterOp = request.argument();
    match argument.command {
        performance_counter::RESET => {
            counters::reset();
            latency::reset();
        }
        performance_counter::QUERY => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    argument.counter_count = saturating_u32(Counter::ALL.len() + LATENCIES.len());
    let cpus = saturating_u32(cpu::online());
    argument.value_count = argument.counter_count * cpus;
    request.answer(caller, &argument)?;
    if argument.command == performance_counter::QUERY {
        caller.budget.spend((argument.counter_count + argument.value_count) * COST);
        if argument.counters != 0 {
            name(caller, GuestVirt::new(argument.counters), cpus)?;
        }
        if argument.values != 0 {
            copy_values(caller, GuestVirt::new(argument.values))?;
        }
    }
    Ok(0)
}

fn name(caller: &mut Caller<'_>, list: GuestVirt, value_count: u32) -> Result<(), Fault> {
    let names = Counter::ALL.iter().map(|counter| counter.name()).chain(LATENCIES.map(|(name, _)| name));
    for (index, text) in (0..).zip(names) {
        let mut name = [0; 80];
        name.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
        caller.cpu.write_element(list, index, &PerformanceCounter { name, value_count })?;
    }
    Ok(())
}

fn copy_values(caller: &mut Caller<'_>, list: GuestVirt) -> Result<(), Fault> {
    // The interface has 32 bits for a counter.
    let counters =
        Counter::ALL.iter().flat_map(|&counter| cpu::all_online().map(move |cpu| low_u32(counters::of(cpu, counter))));
    let largest = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let latencies = LATENCIES.iter().flat_map(|(_, of)| cpu::all_online().map(move |cpu| largest(of(cpu))));
    for (index, value) in (0..).zip(counters.chain(latencies)) {
        caller.cpu.write_element(list, index, &value)?;
    }
    Ok(())
}
