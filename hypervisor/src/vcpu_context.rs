//! Conversion between a parked vCPU and `vcpu_guest_context`, the public form of its state.

use abi::arch_x86_64::{
    CpuUserRegs, FIRST_RESERVED_GDT_ENTRY, TRAP_INFO_DPL_MASK, TRAP_INFO_MASK_EVENTS, TrapInfo, VcpuGuestContext, flat,
    vgcf,
};
use abi::errno::Errno;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use machine::addr::{GuestVirt, Mfn};
use machine::context::{GuestContext, Handler, Ldt, Registers, is_canonical};
use machine::frames::{AcquireError, Budget, Descriptor, L4, TypedRef};
use machine::integers::low_u16;
use machine::paging::NoEntries;

use zerocopy::FromZeros;

use crate::call::CallError;
use crate::domain::{self, Domain, Vcpu, VcpuId};
use crate::memory::admission::GuestAdmission;
use crate::{cpu_policy, trap};

/// Number of descriptors in a page.
pub(crate) const DESCRIPTORS_PER_PAGE: u16 = 512;

/// The vector of the trap table's entry for the NMI handler.
pub(crate) const NMI_VECTOR: usize = 2;

const CR0_TASK_SWITCHED: u64 = 1 << 3;
const IOPL_SHIFT: u32 = 12;
const RFLAGS_IOPL: u64 = 3 << IOPL_SHIFT;

/// The frame in a CR3 value of the public interface.
pub(crate) const fn frame_of_cr3(cr3: u64) -> Mfn {
    Mfn::new(cr3 >> 12 & 0xff_ffff_ffff)
}

/// The CR3 value of the public interface for a frame.
pub(crate) const fn cr3_of_frame(frame: Mfn) -> u64 {
    frame.get() << 12
}

/// The validated tables of a state, as references.
pub(crate) struct Prepared {
    kernel_root: TypedRef<L4>,
    user_root: Option<TypedRef<L4>>,
    gdt: Vec<TypedRef<Descriptor>>,
    gdt_entries: u16,
    ldt: Ldt,
}

/// Validates the tables in `state`. The caller must not hold a lock: this can exhaust a budget and
/// wait for other pCPUs.
///
/// # Errors
/// `EINVAL` for tables, descriptors or addresses that the domain may not use; a continuation if the
/// budget is exhausted.
pub(crate) fn prepare(domain: &Domain, state: &VcpuGuestContext, budget: &mut Budget) -> Result<Prepared, CallError> {
    if !addresses_are_canonical(state) {
        return Err(Errno::EINVAL.into());
    }
    let kernel_root = root(domain, frame_of_cr3(state.control_registers[3]), budget)?;
    let user_root = match state.control_registers[1] {
        0 => None,
        cr3 => match root(domain, frame_of_cr3(cr3), budget) {
            Ok(root) => Some(root),
            Err(AcquireError::Preempted(promotion)) => {
                return Err(AcquireError::Preempted(promotion.with_root(kernel_root)).into());
            }
            Err(error) => return Err(error.into()),
        },
    };
    if !is_in_kernel(state) && user_root.is_none() {
        return Err(Errno::EINVAL.into());
    }
    let gdt_entries = u16::try_from(state.gdt_entries)
        .ok()
        .filter(|&entries| usize::from(entries) <= FIRST_RESERVED_GDT_ENTRY)
        .ok_or(Errno::EINVAL)?;
    let pages = usize::from(gdt_entries.div_ceil(DESCRIPTORS_PER_PAGE));
    let gdt = descriptor_pages(domain, state.gdt_frames.iter().take(pages).copied(), budget)?;
    Ok(Prepared { kernel_root, user_root, gdt, gdt_entries, ldt: ldt(state)? })
}

const fn is_in_kernel(state: &VcpuGuestContext) -> bool {
    state.flags & vgcf::IN_KERNEL != 0
}

/// Applies `state` to the context of a parked vCPU. In case of an error nothing is changed.
///
/// # Errors
/// `EINVAL` for an extended state that the processor would refuse.
pub(crate) fn apply(
    domain: &Domain,
    context: &mut GuestContext,
    state: &VcpuGuestContext,
    prepared: Prepared,
) -> Result<(), Errno> {
    let Prepared { kernel_root, user_root, gdt, gdt_entries, ldt } = prepared;
    if state.flags & vgcf::I387_VALID != 0 && !context.set_legacy_state(&state.fpu_context) {
        return Err(Errno::EINVAL);
    }
    domain.prepare_kernel_root(&kernel_root);
    if let Some(root) = &user_root {
        domain.prepare_user_root(root, Some(&kernel_root));
    }
    drop(context.set_roots(Some(kernel_root), user_root));
    context.set_gdt(gdt, gdt_entries);
    context.set_ldt(ldt);
    context.start_in_kernel(is_in_kernel(state));
    context.set_kernel_stack(state.kernel_sp);
    context.set_segment_bases(state.fs_base, state.gs_base_kernel, state.gs_base_user);
    set_handlers(context, state);
    set_registers(context, state);
    context.set_task_switched(state.control_registers[0] & CR0_TASK_SWITCHED != 0);
    context.set_control4(cpu_policy::control4_choice(domain, state.control_registers[4]));
    // Breakpoints at addresses of Paravane are dropped silently.
    context.set_debug_registers(&state.debug_registers);
    Ok(())
}

/// Applies the part of the state that is not in the context, and marks the vCPU as initialised.
pub(crate) fn apply_to_vcpu(domain: &Domain, vcpu: &Vcpu, state: &VcpuGuestContext) {
    if vcpu.id() == VcpuId::BOOT && !vcpu.is_initialised() {
        domain.assists.store(state.vm_assist & domain::AVAILABLE_ASSISTS, Ordering::SeqCst);
    }
    vcpu.set_initialised();
}

/// The state of a parked vCPU.
pub(crate) fn describe(domain: &Domain, vcpu: &Vcpu, context: &GuestContext) -> Box<VcpuGuestContext> {
    let mut state: Box<VcpuGuestContext> = Box::new(VcpuGuestContext::new_zeroed());
    let handlers = context.handlers();
    let flag = |set: bool, flag: u64| if set { flag } else { 0 };
    state.flags = vgcf::I387_VALID
        | flag(context.is_in_kernel(), vgcf::IN_KERNEL)
        | flag(vcpu.is_up(), vgcf::ONLINE)
        | flag(handlers.failsafe.mask_events != 0, vgcf::FAILSAFE_DISABLES_EVENTS)
        | flag(handlers.syscall.mask_events != 0, vgcf::SYSCALL_DISABLES_EVENTS);
    state.fpu_context.copy_from_slice(context.legacy_state());
    for ((entry, trap), vector) in state.traps.iter_mut().zip(&handlers.traps).zip(0..) {
        let mask = if trap.mask_events != 0 { TRAP_INFO_MASK_EVENTS } else { 0 };
        *entry = TrapInfo {
            vector,
            flags: trap.privilege & TRAP_INFO_DPL_MASK | mask,
            code_selector: trap.cs,
            _pad: 0,
            address: trap.address,
        };
    }
    let ldt = context.ldt();
    (state.ldt_base, state.ldt_entries) = (ldt.base, ldt.entries.into());
    let (frames, entries) = context.gdt();
    for (place, frame) in state.gdt_frames.iter_mut().zip(frames) {
        *place = frame.get();
    }
    state.gdt_entries = entries.into();
    (state.kernel_ss, state.kernel_sp) = (flat::KERNEL_SS64.into(), context.kernel_stack());
    let root = |root: Option<&TypedRef<L4>>| root.map_or(0, |root| cr3_of_frame(root.mfn()));
    state.control_registers[0] = trap::control0(context.task_switched());
    state.control_registers[1] = root(context.user_root());
    state.control_registers[3] = root(context.kernel_root());
    state.control_registers[4] = cpu_policy::control4(context);
    state.debug_registers = *context.debug_registers();
    state.event_callback_rip = handlers.event.address;
    state.failsafe_callback_rip = handlers.failsafe.address;
    state.syscall_callback_rip = handlers.syscall.address;
    state.vm_assist = domain.assists.load(Ordering::SeqCst);
    (state.fs_base, state.gs_base_kernel, state.gs_base_user) = context.segment_bases();
    state.user_regs = describe_registers(vcpu, context);
    state
}

fn describe_registers(vcpu: &Vcpu, context: &GuestContext) -> CpuUserRegs {
    let (registers, selectors) = (context.registers(), context.selectors());
    let mut user = CpuUserRegs::new_zeroed();
    (user.r15, user.r14, user.r13, user.r12) = (registers.r15, registers.r14, registers.r13, registers.r12);
    (user.r11, user.r10, user.r9, user.r8) = (registers.r11, registers.r10, registers.r9, registers.r8);
    (user.rax, user.rbx, user.rcx, user.rdx) = (registers.rax, registers.rbx, registers.rcx, registers.rdx);
    (user.rsi, user.rdi, user.rbp, user.rsp) = (registers.rsi, registers.rdi, registers.rbp, registers.rsp);
    user.rip = registers.rip;
    user.rflags = registers.rflags & !RFLAGS_IOPL | u64::from(context.iopl()) << IOPL_SHIFT;
    // The processor pushes a selector in the low half of a word.
    (user.cs, user.ss) = (low_u16(registers.cs), low_u16(registers.ss));
    (user.ds, user.es, user.fs, user.gs) = (selectors.ds, selectors.es, selectors.fs, selectors.gs);
    user.saved_upcall_mask = vcpu.info().upcall_mask().load(Ordering::Relaxed);
    user
}

/// Whether all addresses in the state are canonical.
fn addresses_are_canonical(state: &VcpuGuestContext) -> bool {
    let single = [
        state.user_regs.rip,
        state.user_regs.rsp,
        state.kernel_sp,
        state.fs_base,
        state.gs_base_kernel,
        state.gs_base_user,
        state.event_callback_rip,
        state.failsafe_callback_rip,
        state.syscall_callback_rip,
    ];
    single.into_iter().chain(state.traps.iter().map(|trap| trap.address)).all(is_canonical)
}

fn root(domain: &Domain, mfn: Mfn, budget: &mut Budget) -> Result<TypedRef<L4>, AcquireError> {
    let frame = domain.frame(mfn).ok_or(Errno::EINVAL)?;
    TypedRef::acquire(frame, &mut GuestAdmission::of(domain), budget)
}

/// Validates the frames of a GDT as descriptor pages.
///
/// # Errors
/// `EINVAL` for a frame that the domain does not own, that is in use otherwise, or that contains a
/// descriptor which guests may not have.
pub(crate) fn descriptor_pages(
    domain: &Domain,
    frames: impl Iterator<Item = u64>,
    budget: &mut Budget,
) -> Result<Vec<TypedRef<Descriptor>>, AcquireError> {
    frames
        .map(|number| {
            let frame = domain.frame(Mfn::new(number)).ok_or(Errno::EINVAL)?;
            TypedRef::acquire(frame, &mut NoEntries, budget)
        })
        .collect()
}

fn ldt(state: &VcpuGuestContext) -> Result<Ldt, Errno> {
    let entries = u16::try_from(state.ldt_entries).ok().filter(|&entries| entries <= 8192).ok_or(Errno::EINVAL)?;
    let base = GuestVirt::new(state.ldt_base);
    if entries != 0 && (base.page_offset() != 0 || !base.is_guest_range(u64::from(entries) * 8)) {
        return Err(Errno::EINVAL);
    }
    Ok(Ldt { base: if entries == 0 { 0 } else { base.get() }, entries })
}

fn set_handlers(context: &mut GuestContext, state: &VcpuGuestContext) {
    let handlers = context.handlers_mut();
    for (handler, trap) in handlers.traps.iter_mut().zip(&state.traps) {
        *handler = Handler::new(
            trap.address,
            trap.code_selector,
            trap.flags & TRAP_INFO_MASK_EVENTS != 0,
            trap.flags & TRAP_INFO_DPL_MASK,
        );
    }
    handlers.nmi = handlers.traps[NMI_VECTOR];
    let callback = |address, mask| Handler::new(address, flat::KERNEL_CS64, mask, 0);
    handlers.event = callback(state.event_callback_rip, true);
    handlers.failsafe = callback(state.failsafe_callback_rip, state.flags & vgcf::FAILSAFE_DISABLES_EVENTS != 0);
    handlers.syscall = callback(state.syscall_callback_rip, state.flags & vgcf::SYSCALL_DISABLES_EVENTS != 0);
}

fn set_registers(context: &mut GuestContext, state: &VcpuGuestContext) {
    let user = &state.user_regs;
    *context.registers_mut() = Registers {
        r15: user.r15,
        r14: user.r14,
        r13: user.r13,
        r12: user.r12,
        rbp: user.rbp,
        rbx: user.rbx,
        r11: user.r11,
        r10: user.r10,
        r9: user.r9,
        r8: user.r8,
        rax: user.rax,
        rcx: user.rcx,
        rdx: user.rdx,
        rsi: user.rsi,
        rdi: user.rdi,
        rip: user.rip,
        cs: u64::from(user.cs),
        rflags: user.rflags,
        rsp: user.rsp,
        ss: u64::from(user.ss),
        ..Registers::default()
    };
    // A guest requests its I/O privilege level with the flags of the initial state.
    context.set_iopl((user.rflags >> IOPL_SHIFT & 3) as u8);
    let selectors = context.selectors_mut();
    (selectors.ds, selectors.es, selectors.fs, selectors.gs) = (user.ds, user.es, user.fs, user.gs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn vector_two_of_the_trap_table_is_the_nmi_handler() {
        let mut guest = Guest::new(1, 2);
        let root = guest.caller().cpu.context().kernel_root().map(TypedRef::mfn).expect("a root table");
        let mut state = VcpuGuestContext::new_zeroed();
        state.control_registers[3] = cr3_of_frame(root);
        state.flags = vgcf::IN_KERNEL;
        state.traps[NMI_VECTOR].address = 0xffff_ffff_8100_0000;
        let mut context = GuestContext::new();
        let prepared = prepare(&guest.domain, &state, &mut Budget::new(100_000)).expect("a valid state");
        assert_eq!(apply(&guest.domain, &mut context, &state, prepared), Ok(()));
        assert_eq!(context.handlers().nmi.address, 0xffff_ffff_8100_0000);
        drop(context.set_roots(None, None));
    }
}
