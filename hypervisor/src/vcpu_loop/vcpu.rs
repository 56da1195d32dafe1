//! The vCPU loop: enters the guest and handles its exits until the scheduler needs the pCPU.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use machine::context::{Active, Exit, GuestContext};
use machine::frames::{self, Budget};

use crate::domain::{Domain, EndReason, KernelEntry, KillReason, Vcpu};
use crate::latency::{self, Cause, Phase};
use crate::lifecycle;
use crate::trap::upcall_storm::{UpcallStorm, Verdict};
use crate::{hypercall, scheduler, time, timers, trap};
use abi::xen::{hypercall as numbers, vm_assist};

/// Runs the vCPU until it has to leave the pCPU. Takes and returns its parked state.
// Inlining it into its only caller saves 4 % of an empty hypercall.
#[inline]
pub(super) fn run_vcpu(vcpu: &Arc<Vcpu>, domain: &Arc<Domain>, context: Box<GuestContext>) -> Box<GuestContext> {
    let mut cpu = match context.activate() {
        Ok(cpu) => cpu,
        Err(context) => {
            lifecycle::end(domain, EndReason::Killed(KillReason::NoRootTable));
            return context;
        }
    };
    time::refresh(vcpu, &mut cpu);
    cpu.allow_fast_path(!domain.has_assist(vm_assist::ARCHITECTURAL_IOPL));
    let meter = latency::own();
    let mut storm = UpcallStorm::default();
    let mut returned = false;
    // Tables that this pCPU has queued before are not this vCPU's.
    frames::note_torn_down();
    let mut left_tables = vcpu.left_tables.swap(false, Ordering::Relaxed);
    loop {
        super::poll();
        left_tables |= frames::left_tables();
        if left_tables {
            left_tables = !advance_teardown(domain);
        }
        if frames::owner_emptied() {
            lifecycle::reap_zombies();
        }
        if scheduler::must_stop(vcpu) {
            if !left_tables && super::may_idle_lazily(vcpu, domain) {
                time::before_park(vcpu, &mut cpu);
                cpu.leave_for(|| super::idle_lazily(vcpu, domain));
                time::refresh(vcpu, &mut cpu);
                storm = UpcallStorm::default();
                continue;
            }
            break;
        }
        if left_tables {
            // An interrupt ends the slice, and other pCPUs may wait for this one to flush its TLB.
            latency::window();
            continue;
        }
        let mut step = deliver(&mut cpu, domain, vcpu, &mut storm, returned);
        // No `and_then`: with a closure, this loop may become a separate function.
        if step.is_ok() {
            meter.end();
            let exit = loop {
                let exit = cpu.run();
                if !fast_path(&mut cpu, domain, exit) {
                    break Some(exit);
                }
                if frames::left_tables() || frames::owner_emptied() || trap::bounce::upcall_due(&cpu) {
                    break None;
                }
            };
            let number = cpu.registers().rax;
            meter.begin(exit.map_or(Cause::Interrupt, |exit| cause(exit, number)));
            returned = exit == Some(Exit::Hypercall) && number == u64::from(numbers::IRET);
            if let Some(exit) = exit {
                step = act(&mut cpu, domain, vcpu, exit);
            }
        }
        if let Err(why) = step {
            lifecycle::end(domain, EndReason::Killed(why));
        }
    }
    vcpu.left_tables.store(left_tables, Ordering::Relaxed);
    time::before_park(vcpu, &mut cpu);
    cpu.deactivate()
}

/// Does part of the teardown that the vCPU has to wait for (TD-2). Returns `true` if it is
/// complete.
fn advance_teardown(domain: &Domain) -> bool {
    // The exit may have exhausted a budget of its own.
    latency::window();
    latency::note(Phase::Teardown);
    let mut budget = Budget::new(Budget::HYPERCALL);
    // The vCPU may have left tables of a destroyed domain. Only vCPUs of the control domain can do
    // so.
    let done = domain.teardown.advance(&mut budget)
        && (!domain.is_privileged() || lifecycle::tear_down_zombie_tables(&mut budget));
    if done {
        frames::note_torn_down();
    }
    done
}

#[inline]
fn cause(exit: Exit, number: u64) -> Cause {
    match exit {
        Exit::Interrupt => Cause::Interrupt,
        Exit::Hypercall => Cause::Hypercall(number),
        Exit::Syscall | Exit::Syscall32 | Exit::Sysenter => Cause::SystemCall,
        Exit::Trap { vector, .. } => Cause::Trap(vector),
        Exit::BadSelectors => Cause::Trap(13),
    }
}

/// Enters the guest's callback if an NMI or an unmasked event is pending. `returned` is set if the
/// guest has executed nothing since it returned from a handler.
fn deliver(
    cpu: &mut Active,
    domain: &Domain,
    vcpu: &Vcpu,
    storm: &mut UpcallStorm,
    returned: bool,
) -> Result<(), KillReason> {
    if vcpu.nmi_pending.load(Ordering::Relaxed) && cpu.context().handlers().nmi.is_set() {
        vcpu.nmi_pending.store(false, Ordering::SeqCst);
        let handler = cpu.context().handlers().nmi;
        return trap::callback(cpu, domain, handler, KernelEntry::Nmi);
    }
    let handler = cpu.context().handlers().event;
    if trap::bounce::upcall_due(cpu) && handler.is_set() {
        let registers = cpu.registers();
        match storm.due((registers.rip, registers.rsp), returned, machine::time::now) {
            Verdict::Now => return trap::callback(cpu, domain, handler, KernelEntry::Event),
            Verdict::Until(moment) => timers::interrupt_at(moment),
            Verdict::Held => {}
        }
    }
    Ok(())
}

/// Fast path for the most frequent exits, which only affect the guest's own memory. Returns `false`
/// without any effect for all others. The caller checks afterwards for work that such an exit can
/// cause. All other work arrives with an interrupt, which ends the guest's execution, so the guest
/// can resume at once.
#[inline]
fn fast_path(cpu: &mut Active, domain: &Domain, exit: Exit) -> bool {
    match exit {
        Exit::Hypercall => hypercall::fast_path(cpu, domain),
        Exit::Trap { vector, error_code, address } => trap::fast_path(cpu, domain, vector, error_code, address),
        _ => false,
    }
}

fn act(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>, exit: Exit) -> Result<(), KillReason> {
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
    use crate::domain::VcpuId;
    use crate::testing::Guest;
    use alloc::vec::Vec;
    use machine::context::Handler;
    use machine::frames::{L4, TypedRef};
    use machine::paging::NoEntries;
    use std::thread;
    use std::time::{Duration, Instant};

    /// Leaves more root tables to tear down than one budget suffices for.
    fn leave_tables(domain: &Domain) {
        let tables: Vec<TypedRef<L4>> = (0..1000)
            .map(|_| {
                let frame = frames::allocate(domain.id()).expect("a free frame").into_reference();
                TypedRef::acquire(frame, &mut NoEntries, &mut Budget::new(1000)).expect("an empty table")
            })
            .collect();
        drop(tables);
    }

    /// Runs vCPU 0 of the guest on a separate thread with an NMI pending, until the NMI has been
    /// delivered.
    fn run_until_nmi(mut guest: Guest, and_then: impl FnOnce()) {
        let stack = guest.address(1).offset(2048).get();
        let context = guest.park();
        let domain = Arc::clone(&guest.domain);
        let vcpu = Arc::clone(domain.vcpu(VcpuId::BOOT).expect("a vCPU"));
        lifecycle::start(&domain);
        vcpu.set_up(true);
        vcpu.nmi_pending.store(true, Ordering::SeqCst);
        let other = thread::spawn({
            let (vcpu, domain) = (Arc::clone(&vcpu), Arc::clone(&domain));
            move || {
                let mut active = context.activate().ok().expect("a context with a root table");
                active.handlers_mut().nmi = Handler::new(0x5000, 0, false, 0);
                active.set_kernel_stack(stack);
                active.registers_mut().rsp = stack;
                drop(run_vcpu(&vcpu, &domain, active.deactivate()));
            }
        });
        let start = Instant::now();
        while vcpu.nmi_pending.load(Ordering::SeqCst) {
            assert!(start.elapsed() < Duration::from_secs(60), "the guest did not run");
            thread::yield_now();
        }
        and_then();
        vcpu.set_up(false);
        scheduler::kick(&vcpu);
        other.join().expect("the thread of the other pCPU did not panic");
    }

    #[test]
    fn a_vcpu_waits_for_the_tables_that_it_left_on_another_pcpu() {
        let guest = Guest::new(1, 3);
        let domain = Arc::clone(&guest.domain);
        leave_tables(&domain);
        domain.vcpu(VcpuId::BOOT).expect("a vCPU").left_tables.store(true, Ordering::Relaxed);
        assert!(!domain.teardown.is_finished(), "there are tables to tear down");
        run_until_nmi(guest, || {
            assert!(domain.teardown.is_finished(), "the guest ran before the teardown was complete")
        });
    }

    #[test]
    fn a_vcpu_does_not_wait_for_the_tables_of_another_domain() {
        let guest = Guest::new(1, 3);
        let neighbour = Guest::new(2, 3);
        leave_tables(&neighbour.domain);
        run_until_nmi(guest, || {
            assert!(!neighbour.domain.teardown.is_finished(), "it tore down tables of another domain")
        });
    }
}
