//! `perfc_op`: how often each pCPU has done what costs time.

use abi::errno::Errno;
use abi::sysctl::{PerformanceCounter, PerformanceCounterOp, performance_counter};
use machine::addr::GuestVirt;
use machine::counters::{self, Counter};
use machine::guest_memory::Fault;

use super::{Request, host};
use crate::hypercall::{CallResult, Caller};

/// What it costs to name a counter, or to copy a value.
const COST: u32 = 4;

/// Names the counters and copies out their values, one for each pCPU; or has them count from zero again.
pub(super) fn counters(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: PerformanceCounterOp = request.argument();
    match argument.command {
        performance_counter::RESET => counters::reset(),
        performance_counter::QUERY => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    argument.counter_count = Counter::ALL.len() as u32;
    let cpus = host::cpus().count() as u32;
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
    for (index, counter) in (0..).zip(Counter::ALL) {
        let mut name = [0; 80];
        name.iter_mut().zip(counter.name().bytes()).for_each(|(to, byte)| *to = byte);
        caller.cpu.write_element(list, index, &PerformanceCounter { name, value_count })?;
    }
    Ok(())
}

fn copy_values(caller: &mut Caller<'_>, list: GuestVirt) -> Result<(), Fault> {
    let values = Counter::ALL.iter().flat_map(|&counter| host::cpus().map(move |cpu| counters::of(cpu, counter)));
    for (index, value) in (0..).zip(values) {
        // The interface has room for the low half.
        caller.cpu.write_element(list, index, &(value as u32))?;
    }
    Ok(())
}
