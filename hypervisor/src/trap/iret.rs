//! The `iret` hypercall: return from a handler, to kernel or user mode.

use abi::arch_x86_64::{IretContext, vgcf};
use abi::xen::vm_assist;
use machine::addr::GuestVirt;
use machine::context::Active;

use super::bounce;
use crate::domain::{Domain, KillReason};

const FLAG_INTERRUPT: u64 = 1 << 9;

/// Resumes the guest at the frame on its kernel's stack.
///
/// # Errors
/// If the frame cannot be read, or returns to user mode without a user root table.
pub(crate) fn iret(cpu: &mut Active, domain: &Domain) -> Result<(), KillReason> {
    let stack = cpu.registers().rsp;
    let frame: IretContext = cpu.read(GuestVirt::new(stack)).map_err(|_| KillReason::UnreadableIretFrame)?;
    // The privilege level in CS selects the mode: 3 is user mode.
    if frame.cs & 3 == 3 && !cpu.enter_user() {
        return Err(KillReason::NoUserRoot);
    }
    if domain.has_assist(vm_assist::ARCHITECTURAL_IOPL) {
        cpu.set_iopl((frame.rflags >> 12 & 3) as u8);
    }
    let registers = cpu.registers_mut();
    registers.rip = frame.rip;
    registers.cs = frame.cs;
    registers.rflags = frame.rflags;
    registers.rsp = frame.rsp;
    registers.ss = frame.ss;
    if frame.flags & vgcf::IN_SYSCALL == 0 {
        registers.r11 = frame.r11;
        registers.rcx = frame.rcx;
    }
    registers.rax = frame.rax;
    bounce::set_upcall_mask(cpu, u8::from(frame.rflags & FLAG_INTERRUPT == 0));
    Ok(())
}
