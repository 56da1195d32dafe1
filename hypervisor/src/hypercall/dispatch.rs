//! Dispatch of hypercalls: decodes the guest's registers, calls the handler and stores the result.

use abi::errno::Errno;
use abi::xen::hypercall;
use alloc::sync::Arc;
use machine::context::Active;
use machine::frames::Budget;

use super::table::{self, Row};
use crate::call::{CallError, CallResult, Caller, Continuation, note_call};
use crate::domain::{Attempt, Domain, KillReason, Vcpu};
use crate::memory::mmu_update;
use crate::trap;

/// Size of the `syscall` instruction, which a restarted call executes again.
const SYSCALL_LENGTH: u64 = 2;

/// Fast path for the most frequent hypercall, a `mmu_update` of one entry of the caller's own
/// tables. Returns `false` without any effect for all other calls, and for those that must be
/// refused; [`dispatch`] performs them.
#[inline]
pub(crate) fn fast_path(cpu: &mut Active, domain: &Domain) -> bool {
    let number = cpu.registers().rax;
    let done = number == u64::from(hypercall::MMU_UPDATE) && mmu_update::single(cpu, domain, &arguments(cpu));
    if done {
        note_call(number, false);
        cpu.registers_mut().rax = 0;
    }
    done
}

/// Performs the hypercall that the guest's registers describe.
///
/// # Errors
/// The reason for killing the domain.
pub(crate) fn dispatch(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) -> Result<(), KillReason> {
    let number = cpu.registers().rax;
    if number == u64::from(hypercall::IRET) {
        return trap::iret(cpu, domain);
    }
    let arguments = arguments(cpu);
    let mut caller = Caller { domain, vcpu, cpu, budget: Budget::new(Budget::HYPERCALL) };
    let result = call(&mut caller, number, &arguments, 0);
    note_call(number, matches!(result, Err(CallError::Continue(_))));
    let attempt = |arguments: &[u64; 6]| {
        let [first, second, third, fourth, ..] = *arguments;
        Attempt::Hypercall(number, [first, second, third, fourth])
    };
    let this = || attempt(&arguments);
    let value = match result {
        Ok(value) => value,
        Err(CallError::Errno(errno)) => error_value(errno),
        Err(CallError::Continue(Continuation { arguments, promotion })) => {
            repeat(cpu, arguments);
            let next = attempt(&self::arguments(cpu));
            match promotion {
                Some(promotion) => vcpu.keep_promotion(next, promotion),
                // The call has not reached its pending validation yet.
                None if next == this() => {}
                None => vcpu.end_attempt(this),
            }
            return Ok(());
        }
        Err(CallError::Kill(why)) => return Err(why),
    };
    // If this call had a pending validation, it has been continued, or is dropped now.
    vcpu.end_attempt(this);
    cpu.registers_mut().rax = value;
    Ok(())
}

/// Reads the arguments of a hypercall from the guest's registers.
fn arguments(cpu: &Active) -> [u64; 6] {
    let registers = cpu.registers();
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9]
}

/// Calls the handler for `number`. `overhead` is the cost of the call itself, in units of the
/// budget.
pub(super) fn call(caller: &mut Caller<'_>, number: u64, arguments: &[u64; 6], overhead: u32) -> CallResult {
    let Some(Row { handler, cost, .. }) = table::row(number) else {
        caller.budget.spend(overhead);
        return Err(Errno::ENOSYS.into());
    };
    caller.budget.spend(overhead + *cost);
    handler(caller, arguments)
}

/// Encodes an error as the guest's RAX.
pub(super) fn error_value(errno: Errno) -> u64 {
    i64::from(-errno.number()).cast_unsigned()
}

/// Makes the guest execute the hypercall again, with the given arguments replaced.
fn repeat(cpu: &mut Active, arguments: [Option<u64>; 4]) {
    let registers = cpu.registers_mut();
    registers.rip = registers.rip.wrapping_sub(SYSCALL_LENGTH);
    let slots = [&mut registers.rdi, &mut registers.rsi, &mut registers.rdx, &mut registers.r10];
    for (slot, argument) in slots.into_iter().zip(arguments) {
        if let Some(value) = argument {
            *slot = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;
    use abi::xen::{MmuextOp, mmuext};
    use alloc::vec::Vec;
    use machine::frames::{self, AcquireError, L1, L4, TypedRef, Writable};
    use machine::paging::NoEntries;
    use zerocopy::FromZeros;

    #[test]
    fn the_hypercall_number_is_the_full_64_bits_of_rax() {
        let mut guest = Guest::new(1, 2);
        let Caller { domain, vcpu, cpu, .. } = guest.caller();
        for number in [1u64 << 32, 1 << 32 | u64::from(hypercall::XEN_VERSION), u64::MAX] {
            cpu.registers_mut().rax = number;
            assert!(dispatch(cpu, domain, vcpu).is_ok());
            assert_eq!(cpu.registers().rax, error_value(Errno::ENOSYS), "{number:#x}");
        }
    }

    #[test]
    fn pending_validation_survives_an_attempt_that_does_not_reach_it() {
        let mut guest = Guest::privileged(0, 2);
        let other = Guest::new(1, 2);
        let frame = || frames::allocate(guest.domain.id()).expect("a free frame").into_reference();
        let half = frame();
        drop(TypedRef::<L4>::acquire(half.again(), &mut NoEntries, &mut Budget::new(1000)));
        let attempt = TypedRef::<Writable>::acquire(half, &mut NoEntries, &mut Budget::new(1));
        let Err(AcquireError::Preempted(promotion)) = attempt else { panic!("not preempted: {attempt:?}") };
        let empty = || TypedRef::<L1>::acquire(frame(), &mut NoEntries, &mut Budget::new(1000));
        let tables: Vec<TypedRef<L1>> = (0..1000).map(|_| empty().expect("an empty table")).collect();
        let operation = MmuextOp { command: mmuext::UNPIN_TABLE, ..MmuextOp::new_zeroed() };
        let list = guest.put(&[operation]).get();
        // A restarted operation on another domain's tables.
        let continued = 1 | 1 << 31;
        let number = u64::from(hypercall::MMUEXT_OP);
        let Caller { domain, vcpu, cpu, .. } = guest.caller();
        vcpu.keep_promotion(Attempt::Hypercall(number, [list, continued, 0, 1]), promotion);
        // Their teardown comes first and takes more than one budget.
        drop(tables);
        let mut attempts = 0;
        while attempts == 0 || cpu.registers().rax == number {
            let registers = cpu.registers_mut();
            (registers.rax, registers.rdi, registers.rsi, registers.rdx, registers.r10) =
                (number, list, continued, 0, 1);
            assert!(dispatch(cpu, domain, vcpu).is_ok());
            attempts += 1;
            assert_eq!(vcpu.promotion.lock().is_some(), cpu.registers().rax == number, "{attempts}");
        }
        assert!(attempts > 1, "the test needs several attempts");
        drop(other);
    }
}
