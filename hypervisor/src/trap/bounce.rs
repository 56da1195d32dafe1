//! Bounces: entry of the guest kernel's handlers with a frame on its stack, as the hardware would
//! push one for a kernel in ring 0.

use abi::arch_x86_64::flat;
use abi::xen::vm_assist;
use core::sync::atomic::Ordering;
use machine::addr::GuestVirt;
use machine::context::{Active, FLAGS_CLEARED_ON_BOUNCE, Handler, Registers, Selectors};

use crate::domain::{Domain, EntryFailure};

const FLAG_INTERRUPT: u64 = 1 << 9;
const FLAGS_IOPL: u64 = 3 << 12;

/// Additional contents of the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extra {
    /// None.
    None,
    /// The processor's error code.
    ErrorCode(u32),
    /// The data segment selectors that could not be loaded, for the failsafe callback.
    Selectors(Selectors),
}

/// Builds a frame on the guest kernel's stack and continues the guest at `handler`.
///
/// The frame contains, from the lowest address: rcx, r11, [ds, es, fs, gs,] [error code,] rip, cs
/// (with the previous upcall mask in bits 32 to 39), rflags (IF is the inverse of the upcall mask),
/// rsp, ss.
/// bits 32-39), rflags (IF is the upcall mask's opposite), rsp, ss.
///
/// # Errors
/// If there is no handler, or the stack cannot be written.
pub(crate) fn bounce(cpu: &mut Active, domain: &Domain, handler: Handler, extra: Extra) -> Result<(), EntryFailure> {
    if !handler.is_set() {
        return Err(EntryFailure::NoHandler);
    }
    let registers = *cpu.registers();
    let from_kernel = cpu.context().is_in_kernel();
    cpu.enter_kernel();
    let context = cpu.context();
    let stack = if from_kernel { registers.rsp } else { context.kernel_stack() } & !15;
    let mask_before = upcall_mask(cpu);
    let code = registers.cs & 0xffff & if from_kernel { !3 } else { !0 };
    let iopl = if domain.has_assist(vm_assist::ARCHITECTURAL_IOPL) { u64::from(context.iopl()) << 12 } else { 0 };
    let flags =
        registers.rflags & !(FLAG_INTERRUPT | FLAGS_IOPL) | iopl | if mask_before == 0 { FLAG_INTERRUPT } else { 0 };
    let push = |frame: &[u64]| {
        let bottom = stack.wrapping_sub(size_of_val(frame) as u64);
        let written = cpu.write(GuestVirt::new(bottom), frame).map(|()| bottom);
        written.map_err(|_| EntryFailure::UnwritableStack(bottom))
    };
    let Registers { rcx, r11, rip, rsp, .. } = registers;
    let (cs, ss) = (code | u64::from(mask_before) << 32, registers.ss & 0xffff);
    let bottom = match extra {
        Extra::None => push(&[rcx, r11, rip, cs, flags, rsp, ss]),
        Extra::ErrorCode(error) => push(&[rcx, r11, error.into(), rip, cs, flags, rsp, ss]),
        Extra::Selectors(selectors) => {
            let Selectors { ds, es, fs, gs } = selectors;
            push(&[rcx, r11, ds.into(), es.into(), fs.into(), gs.into(), rip, cs, flags, rsp, ss])
        }
    }?;
    if handler.mask_events != 0 {
        set_upcall_mask(cpu, 1);
    }
    let registers = cpu.registers_mut();
    registers.rip = handler.address;
    registers.cs = u64::from(flat::KERNEL_CS64);
    registers.rflags &= !FLAGS_CLEARED_ON_BOUNCE;
    registers.rsp = bottom;
    registers.ss = u64::from(flat::KERNEL_SS64);
    Ok(())
}

/// The vCPU's `evtchn_upcall_mask`.
pub(crate) fn upcall_mask(cpu: &Active) -> u8 {
    cpu.context().vcpu_info().map_or(1, |(page, offset)| page.atomic_u8(offset + 1).load(Ordering::SeqCst))
}

/// Sets the vCPU's `evtchn_upcall_mask`.
pub(crate) fn set_upcall_mask(cpu: &Active, mask: u8) {
    if let Some((page, offset)) = cpu.context().vcpu_info() {
        page.atomic_u8(offset + 1).store(mask, Ordering::SeqCst);
    }
}

/// Whether an event is pending and not masked by the vCPU.
pub(crate) fn upcall_due(cpu: &Active) -> bool {
    cpu.context().vcpu_info().is_some_and(|(page, offset)| {
        page.atomic_u8(offset).load(Ordering::SeqCst) != 0 && page.atomic_u8(offset + 1).load(Ordering::SeqCst) == 0
    })
}
