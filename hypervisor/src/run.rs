//! A vCPU's time on a pCPU: enter the guest, act on why it came back, until the scheduler wants the pCPU.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use machine::context::{Active, Exit, GuestContext};
use machine::frames::{self, Backlog, Budget};

use crate::domain::{self, Domain, EndReason, Vcpu};
use crate::trap::upcall_storm::{UpcallStorm, Verdict};
use crate::{hypercall, scheduler, time, trap};
use abi::xen::{hypercall as number, vm_assist};

/// Runs the vCPU until it has to give the pCPU up; takes and returns its state at rest.
pub fn run_vcpu(vcpu: &Arc<Vcpu>, domain: &Arc<Domain>, context: Box<GuestContext>) -> Box<GuestContext> {
    let mut cpu = match context.activate() {
        Ok(cpu) => cpu,
        Err(context) => {
            domain.end(EndReason::Killed(String::from("a vCPU without root table was started")));
            return context;
        }
    };
    time::refresh(vcpu, &mut cpu);
    cpu.allow_short_ways(!domain.has_assist(vm_assist::ARCHITECTURAL_IOPL));
    let mut storm = UpcallStorm::default();
    let mut returned = false;
    let mut elsewhere = vcpu.backlog.lock().take();
    loop {
        scheduler::poll();
        // What the last exit has left to tear down is done before the guest goes on, a budget at a time; if that was on another pCPU, by that.
        elsewhere = elsewhere.filter(|backlog| !backlog.is_worked_off());
        let torn_down = !frames::reaping_due() || frames::reap(&mut Budget::new(Budget::HYPERCALL));
        if frames::owner_emptied() {
            domain::destroy_some(&mut Budget::new(Budget::HYPERCALL));
        }
        let settled = torn_down && elsewhere.is_none();
        if scheduler::must_stop(vcpu) {
            if settled && scheduler::may_doze(vcpu, domain) {
                time::before_park(vcpu, &mut cpu);
                cpu.leave_for(|| scheduler::doze(vcpu, domain));
                time::refresh(vcpu, &mut cpu);
                storm = UpcallStorm::default();
                continue;
            }
            break;
        }
        if !settled {
            continue;
        }
        let step = deliver(&mut cpu, domain, vcpu, &mut storm, returned).and_then(|()| {
            let exit = loop {
                let exit = cpu.run();
                if !short(&mut cpu, domain, exit) {
                    break Some(exit);
                }
                if frames::reaping_due() || frames::owner_emptied() || trap::bounce::upcall_due(&cpu) {
                    break None;
                }
            };
            returned = exit == Some(Exit::Hypercall) && cpu.registers().rax == u64::from(number::IRET);
            exit.map_or(Ok(()), |exit| act(&mut cpu, domain, vcpu, exit))
        });
        if let Err(why) = step {
            domain.end(EndReason::Killed(why));
        }
    }
    *vcpu.backlog.lock() = elsewhere.or_else(Backlog::of_this_cpu);
    time::before_park(vcpu, &mut cpu);
    cpu.deactivate()
}

/// Enters the guest's callback if an NMI or an event waits that it lets in. `returned`: the guest has done nothing yet since it returned
/// from a handler.
fn deliver(
    cpu: &mut Active,
    domain: &Domain,
    vcpu: &Vcpu,
    storm: &mut UpcallStorm,
    returned: bool,
) -> Result<(), String> {
    if vcpu.nmi_pending.load(Ordering::Relaxed) && cpu.context().handlers().nmi.is_set() {
        vcpu.nmi_pending.store(false, Ordering::SeqCst);
        let handler = cpu.context().handlers().nmi;
        return trap::callback(cpu, domain, handler, "NMI");
    }
    let handler = cpu.context().handlers().event;
    if trap::bounce::upcall_due(cpu) && handler.is_set() {
        let registers = cpu.registers();
        match storm.due((registers.rip, registers.rsp), returned, machine::time::now) {
            Verdict::Now => return trap::callback(cpu, domain, handler, "event"),
            Verdict::Until(moment) => time::timers::interrupt_at(moment),
            Verdict::Held => {}
        }
    }
    Ok(())
}

/// Acts on the most frequent exits, which concern nobody but the guest's memory: `false`, with nothing done, for others. What the guest itself can make due by one
/// of these is looked for after each; whatever else comes in ends the guest's run by an interrupt. So it may go on at once.
#[inline]
fn short(cpu: &mut Active, domain: &Domain, exit: Exit) -> bool {
    match exit {
        Exit::Hypercall => hypercall::short(cpu, domain),
        Exit::Trap { vector, error_code, address } => trap::short(cpu, domain, vector, error_code, address),
        _ => false,
    }
}

fn act(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>, exit: Exit) -> Result<(), String> {
    match exit {
        Exit::Interrupt => Ok(()),
        Exit::Hypercall => hypercall::dispatch(cpu, domain, vcpu),
        Exit::Syscall => trap::system_call(cpu, domain),
        Exit::Syscall32 => trap::compat_system_call(cpu, domain, false),
        Exit::Sysenter => trap::compat_system_call(cpu, domain, true),
        Exit::Trap { vector, error_code, address } => trap::trap(cpu, domain, vcpu, vector, error_code, address),
        Exit::BadSelectors => trap::bad_selectors(cpu, domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;
    use alloc::vec::Vec;
    use machine::context::Handler;
    use machine::frames::{L4, TypedRef};
    use machine::paging::NoEntries;
    use std::time::{Duration, Instant};
    use std::{sync::mpsc, thread};

    /// Leaves more root tables to tear down on this pCPU than one budget is good for.
    fn leave_tables(domain: &Domain) {
        let tables: Vec<TypedRef<L4>> = (0..1000)
            .map(|_| {
                let frame = frames::allocate(domain.id()).expect("a free frame").into_reference();
                TypedRef::acquire(frame, &mut NoEntries, &mut Budget::new(1000)).expect("an empty table")
            })
            .collect();
        drop(tables);
    }

    #[test]
    fn a_vcpu_goes_on_when_what_it_left_on_another_pcpu_is_torn_down() {
        let mut guest = Guest::new(1, 3);
        let stack = guest.address(1).offset(2048).get();
        let mut context = guest.park();
        let domain = Arc::clone(&guest.domain);
        let vcpu = Arc::clone(domain.vcpu(0).expect("a vCPU"));
        domain.start();
        // Down, so it leaves this pCPU at once.
        vcpu.kick();
        leave_tables(&domain);
        context = run_vcpu(&vcpu, &domain, context);
        assert!(frames::reaping_due(), "it left nothing to tear down");

        vcpu.set_up(true);
        vcpu.nmi_pending.store(true, Ordering::SeqCst);
        let (send, receive) = mpsc::channel();
        let other = thread::spawn({
            let (vcpu, domain) = (Arc::clone(&vcpu), Arc::clone(&domain));
            move || {
                let mut active = context.activate().ok().expect("a context with a root table");
                active.handlers_mut().nmi = Handler::new(0x5000, 0, false, 0);
                active.set_kernel_stack(stack);
                active.registers_mut().rsp = stack;
                send.send(()).expect("the test waits");
                drop(run_vcpu(&vcpu, &domain, active.deactivate()));
            }
        });
        receive.recv().expect("the other pCPU has started");
        thread::sleep(Duration::from_millis(50));
        assert!(vcpu.nmi_pending.load(Ordering::SeqCst), "the guest ran before its tables were torn down");
        while !frames::reap(&mut Budget::new(Budget::HYPERCALL)) {}
        let start = Instant::now();
        while vcpu.nmi_pending.load(Ordering::SeqCst) {
            assert!(start.elapsed() < Duration::from_secs(60), "the guest did not go on");
            thread::yield_now();
        }
        vcpu.set_up(false);
        vcpu.kick();
        other.join().expect("the other pCPU fails no test");
    }
}
