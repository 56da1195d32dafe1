//! The end of the initial domain ends the host: it is switched off or restarted, as the domain
//! requested. After a crash the registers of its vCPUs are printed, since no other component can
//! report them.

use alloc::format;

use machine::addr::PAGE_SIZE;
use machine::boot;
use machine::context::{GuestContext, Registers};
use machine::{console, power, time};

use crate::domain::{Domain, EndReason, Vcpu};

/// Seconds for which a crash is visible before the restart.
const CRASH_SECONDS: u64 = 5;

/// Whether all vCPUs are parked, so that their registers can be read.
pub(super) fn are_vcpus_parked(domain: &Domain) -> bool {
    domain.vcpus().iter().all(|vcpu| vcpu.parked().is_some())
}

/// Ends the host.
pub(super) fn end_host(domain: &Domain, reason: &EndReason) -> ! {
    if !matches!(reason, EndReason::Poweroff | EndReason::Reboot) {
        // The screen may be the only console.
        console::take_screen_back();
    }
    console::print_line(format_args!("initial domain ended: {reason}"));
    match reason {
        EndReason::Poweroff => power::off(),
        EndReason::Reboot => power::reboot(),
        _ => {}
    }
    for vcpu in domain.vcpus().iter().filter(|vcpu| vcpu.is_up()) {
        if let Some(context) = vcpu.parked().as_ref() {
            show(vcpu, context);
        }
    }
    if boot::options().no_reboot {
        console::print_line(format_args!("halted"));
        power::halt();
    }
    console::print_line(format_args!("restarting in {CRASH_SECONDS} seconds"));
    let end = time::now() + CRASH_SECONDS * 1_000_000_000;
    while time::now() < end {
        core::hint::spin_loop();
    }
    power::reboot()
}

fn show(vcpu: &Vcpu, context: &GuestContext) {
    let mode = if context.is_in_kernel() { "kernel" } else { "user" };
    let Registers { rip, rsp, rflags, cs, ss, .. } = *context.registers();
    let name = format!("d0v{}", vcpu.id().get());
    console::print_line(format_args!(
        "{name} in {mode} mode at {cs:#x}:{rip:#x}, stack {ss:#x}:{rsp:#x}, flags {rflags:#x}"
    ));
    let registers = context.registers();
    let rows = [
        [("rax", registers.rax), ("rbx", registers.rbx), ("rcx", registers.rcx), ("rdx", registers.rdx)],
        [("rsi", registers.rsi), ("rdi", registers.rdi), ("rbp", registers.rbp), ("r8 ", registers.r8)],
        [("r9 ", registers.r9), ("r10", registers.r10), ("r11", registers.r11), ("r12", registers.r12)],
        [("r13", registers.r13), ("r14", registers.r14), ("r15", registers.r15), ("err", registers.error_code)],
    ];
    for [a, b, c, d] in rows {
        console::print_line(format_args!(
            "{name} {} {:016x} {} {:016x} {} {:016x} {} {:016x}",
            a.0, a.1, b.0, b.1, c.0, c.1, d.0, d.1
        ));
    }
    if let Some(root) = context.kernel_root() {
        console::print_line(format_args!("{name} root table {:#x}", root.mfn().get() * PAGE_SIZE as u64));
    }
}
