//! Emulation of instructions: privileged ones, which fault in ring 3, and plain writes to page
//! tables, which are mapped read-only.
//!
//! No input is trusted. The instruction is fetched once, and all decisions are based on these
//! bytes, even if another vCPU changes the code meanwhile. Instructions that are unknown or not
//! allowed are refused, and the guest gets the fault.

mod arithmetic;
mod code;
mod control;
pub(crate) use control::control0;
mod common_forms;
mod decode;
mod page_table;
mod ports;
mod privileged;
mod registers;

use abi::arch_x86_64::EMULATE_PREFIX;
use abi::xen::VcpuInfo;
use alloc::sync::Arc;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use machine::addr::GuestVirt;
use machine::context::Active;
use machine::counters::{self, Counter};
use machine::integers::low_u32;
use machine::vectors;

pub(crate) use page_table::{fast_page_table_write, page_table_write};
pub(crate) use privileged::privileged;

use self::code::Mode;
use crate::cpu_policy;
use crate::domain::{Domain, KillReason, Vcpu};

const FLAG_TRAP: u64 = 1 << 8;
const FLAG_RESUME: u64 = 1 << 16;
/// DR6: single step.
const SINGLE_STEP: u64 = 1 << 14;

/// Error code bits of a page fault.
const FAULT_WRITE: u32 = 2;
const FAULT_USER: u32 = 4;

/// The result of an attempt to emulate an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Emulation {
    /// The registers are those after the instruction, or unchanged if the guest has to execute it
    /// again.
    Done,
    /// The guest gets this exception.
    Inject {
        /// Its vector.
        vector: u8,
        /// Its error code, if it has one.
        error_code: Option<u32>,
    },
    /// The instruction is not emulated: the guest gets the original fault.
    Refused,
    /// The domain is killed.
    Kill(KillReason),
}

/// #GP(0): the instruction is known, but its operands are not allowed.
const PROTECTION_FAULT: Emulation = Emulation::Inject { vector: vectors::GENERAL_PROTECTION, error_code: Some(0) };
/// #UD.
const INVALID_OPCODE: Emulation = Emulation::Inject { vector: vectors::INVALID_OPCODE, error_code: None };

/// Whether the guest single-steps (RFLAGS.TF).
fn is_stepping(cpu: &Active) -> bool {
    cpu.registers().rflags & FLAG_TRAP != 0
}

/// Advances RIP past an instruction of `length` bytes that has been emulated.
fn complete(cpu: &mut Active, length: u8) -> Emulation {
    complete_with(cpu, length, 0)
}

/// Like [`complete`], for an instruction that has hit these breakpoints, as bits of DR6.
fn complete_with(cpu: &mut Active, length: u8, breakpoints: u64) -> Emulation {
    counters::count(Counter::Emulations);
    let registers = cpu.registers_mut();
    registers.rip = registers.rip.wrapping_add(u64::from(length));
    registers.rflags &= !FLAG_RESUME;
    let step = if is_stepping(cpu) { SINGLE_STEP } else { 0 };
    let reported = step | breakpoints;
    if reported == 0 {
        return Emulation::Done;
    }
    let status = cpu.debug_register(6) | reported;
    cpu.set_debug_register(6, status);
    Emulation::Inject { vector: vectors::DEBUG, error_code: None }
}

/// Creates the page fault of an instruction whose memory operand at `address` cannot be read or
/// written.
fn page_fault(cpu: &Active, address: GuestVirt, write: bool) -> Emulation {
    set_fault_address(cpu, address.get());
    let write = if write { FAULT_WRITE } else { 0 };
    let user = if cpu.context().is_in_kernel() { 0 } else { FAULT_USER };
    Emulation::Inject { vector: vectors::PAGE_FAULT, error_code: Some(write | user) }
}

/// Sets the guest's CR2, which is in its `vcpu_info`.
pub(super) fn set_fault_address(cpu: &Active, address: u64) {
    if let Some((page, offset)) = cpu.context().vcpu_info() {
        page.atomic_u64(offset + FAULT_ADDRESS_OFFSET).store(address, Ordering::Relaxed);
    }
}

/// Reads the guest's CR2.
fn fault_address(cpu: &Active) -> u64 {
    let Some((page, offset)) = cpu.context().vcpu_info() else { return 0 };
    page.atomic_u64(offset + FAULT_ADDRESS_OFFSET).load(Ordering::Relaxed)
}

const FAULT_ADDRESS_OFFSET: usize = offset_of!(VcpuInfo, arch.cr2);

/// Handles #UD: emulates `cpuid` with the forced emulation prefix, in kernel or user mode.
pub(crate) fn invalid_opcode(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) -> Emulation {
    const CPUID: [u8; 2] = [0x0f, 0xa2];
    const LENGTH: u8 = 7;
    let base = match code::mode(cpu) {
        Some(Mode::Long) => 0,
        Some(Mode::Compatible(base)) => base,
        None => return Emulation::Refused,
    };
    let mut bytes = [0; LENGTH as usize];
    let address = GuestVirt::new(base.wrapping_add(cpu.registers().rip));
    // The instruction has just been fetched by the processor, so a failed read here is not reported
    // as a page fault.
    if cpu.read_bytes(address, &mut bytes).is_err() || bytes != forced(CPUID) {
        return Emulation::Refused;
    }
    cpuid(cpu, domain, vcpu);
    complete(cpu, LENGTH)
}

/// The bytes of an instruction with the prefix.
const fn forced([first, second]: [u8; 2]) -> [u8; 7] {
    let [a, b, c, d, e] = EMULATE_PREFIX;
    [a, b, c, d, e, first, second]
}

/// Emulates `cpuid`.
fn cpuid(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) {
    let registers = cpu.registers();
    let (leaf, subleaf) = (low_u32(registers.rax), low_u32(registers.rcx));
    let [eax, ebx, ecx, edx] = cpu_policy::cpuid(domain, vcpu, cpu, leaf, subleaf);
    let registers = cpu.registers_mut();
    (registers.rax, registers.rbx) = (u64::from(eax), u64::from(ebx));
    (registers.rcx, registers.rdx) = (u64::from(ecx), u64::from(edx));
}

#[cfg(test)]
mod tests;
