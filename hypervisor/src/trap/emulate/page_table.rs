//! Emulation of plain writes to L1 page tables. The kernel changes an entry through its read-only
//! mapping of the table, and the write is performed by the same rules as other updates. Tables of
//! higher levels are changed by hypercalls only.

use alloc::sync::Arc;

use machine::addr::GuestVirt;
use machine::context::{Active, Registers};
use machine::frames::{AcquireError, Budget, FrameRef, L1, Promotion, TypedRef};
use machine::integers::{low_u8, low_u16};
use machine::speculation::MaskedIndex;

use super::arithmetic::{Operation, operation};
use super::common_forms::{self, CommonForm, Form};
use super::decode::{Instruction, Operand, decode};
use super::registers::{self, mask};
use super::{Emulation, code, complete, is_stepping, page_fault};
use crate::domain::{Attempt, Domain, KillReason, Vcpu};
use crate::memory::admission::GuestAdmission;
use crate::memory::update::{self, Change};
use crate::memory::walk;

/// Attempts to change an entry before the guest executes its instruction again.
const ATTEMPTS: u32 = 16;
/// The number of `and` among the operations of [`Operation::Combine`].
const AND: u8 = 4;
/// RFLAGS.DF.
const FLAG_DIRECTION: u64 = 1 << 10;

/// The bytes of a page-table entry that a write changes.
struct Place {
    table: FrameRef,
    index: u16,
    /// The first byte in the entry.
    byte: u8,
    /// The number of bytes.
    size: u8,
}

impl Place {
    /// Extracts the bytes from an entry.
    const fn extract(&self, entry: u64) -> u64 {
        entry >> (8 * self.byte) & mask(self.size)
    }

    /// Replaces the bytes in an entry.
    const fn insert(&self, entry: u64, value: u64) -> u64 {
        let shift = 8 * self.byte;
        entry & !(mask(self.size) << shift) | (value & mask(self.size)) << shift
    }
}

/// The reason why a write is not performed.
enum Failure {
    /// The guest gets the fault.
    Refused,
    /// The entry is not present, names memory, and is refused. The guest would try again forever.
    NamesMemory(u64),
    /// The guest executes the instruction again.
    Again,
    /// The guest executes the instruction again, with a pending validation.
    Preempted(Promotion),
}

/// Emulates a write of the kernel at `address`, if a read-only mapping of one of the domain's L1
/// tables faulted there. This does not depend on the writable page tables of `vm_assist`.
pub(crate) fn page_table_write(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    address: GuestVirt,
    budget: &mut Budget,
) -> Emulation {
    if !cpu.context().is_in_kernel() {
        return Emulation::Refused;
    }
    // Most faults of this kind are not writes to page tables and end here.
    let Some(table) = table_at(cpu, domain, address) else { return Emulation::Refused };
    let Some(code) = code::fetch(cpu) else { return Emulation::Refused };
    if let Some(form) = common_forms::recognise(code.bytes())
        && let Some(done) = perform(cpu, domain, &table, address, form, budget)
    {
        return done;
    }
    decoded(cpu, domain, vcpu, address, code.bytes(), budget)
}

/// Emulates such a write if it has a common form and raises no trap. Returns `false` without any
/// effect otherwise.
pub(crate) fn fast_page_table_write(
    cpu: &mut Active,
    domain: &Domain,
    address: GuestVirt,
    budget: &mut Budget,
) -> bool {
    if is_stepping(cpu) {
        return false;
    }
    let Some(table) = table_at(cpu, domain, address) else { return false };
    let Some(code) = code::fetch(cpu) else { return false };
    common_forms::recognise(code.bytes())
        .is_some_and(|form| perform(cpu, domain, &table, address, form, budget).is_some())
}

/// The L1 table of the domain that is mapped read-only at the address.
fn table_at(cpu: &Active, domain: &Domain, address: GuestVirt) -> Option<TypedRef<L1>> {
    let leaf = walk::look_up(cpu, address)?.entry;
    if !leaf.is_present() || leaf.is_writable() {
        return None;
    }
    TypedRef::existing(domain.frame(leaf.frame())?).ok()
}

/// Emulates an instruction of a common form. Returns `None` without any effect if that is not
/// possible.
fn perform(
    cpu: &mut Active,
    domain: &Domain,
    table: &TypedRef<L1>,
    address: GuestVirt,
    form: CommonForm,
    budget: &mut Budget,
) -> Option<Emulation> {
    let operand = registers::read(cpu.registers(), form.base, 8, true).wrapping_add(form.displacement);
    let whole = address.page_offset().is_multiple_of(8);
    if operand != address.get() || !whole {
        return None;
    }
    let index = low_u16((address.page_offset() / 8) as u64);
    let admission = &mut GuestAdmission::of(domain);
    match form.form {
        Form::Store(register) => {
            let value = registers::read(cpu.registers(), register, 8, true);
            update::write_leaf(table, index, Change::Write(value), admission, budget).ok()?;
        }
        Form::Exchange(register) => {
            let value = registers::read(cpu.registers(), register, 8, true);
            let found = update::write_leaf(table, index, Change::Write(value), admission, budget).ok()?;
            registers::write(cpu.registers_mut(), register, 8, true, found.get());
        }
        Form::AndByte(constant) => {
            let expected = table.entry(index).get();
            let new = expected & (!mask(1) | u64::from(constant));
            let change = Change::Exchange { expected, new };
            let found = update::write_leaf(table, index, change, admission, budget).ok()?;
            if found.get() != expected {
                return None;
            }
            // Only to set the flags.
            let operation = Operation::Combine(AND, u64::from(constant));
            operation.apply(expected & mask(1), 1, true, cpu.registers_mut());
        }
    }
    Some(complete(cpu, form.length))
}

/// Emulates an instruction of any form that the decoder knows.
pub(super) fn decoded(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    address: GuestVirt,
    code: &[u8],
    budget: &mut Budget,
) -> Emulation {
    let Some(instruction) = decode(code) else { return Emulation::Refused };
    let Some((operation, size, mut after)) = (match instruction.opcode {
        0xa4 | 0xa5 | 0xaa | 0xab => match string(cpu, &instruction, address) {
            Ok(parts) => parts,
            Err(fault) => return fault,
        },
        _ => memory_operand(cpu, &instruction, address),
    }) else {
        return Emulation::Refused;
    };
    let Some(place) = place(cpu, domain, address, size) else { return Emulation::Refused };
    let attempt = Attempt::Instruction(cpu.registers().rip);
    let outcome = change(domain, &place, operation, instruction.rex, &mut after, budget);
    if let Err(Failure::Preempted(promotion)) = outcome {
        vcpu.keep_promotion(attempt, promotion);
        return Emulation::Done;
    }
    vcpu.end_attempt(|| attempt);
    match outcome {
        Ok(()) => {
            let repeats = instruction.repeat && after.rcx != 0 && instruction.modrm.is_none();
            *cpu.registers_mut() = after;
            if repeats { Emulation::Done } else { complete(cpu, instruction.length) }
        }
        Err(Failure::Again | Failure::Preempted(_)) => Emulation::Done,
        Err(Failure::Refused) => Emulation::Refused,
        Err(Failure::NamesMemory(entry)) => Emulation::Kill(KillReason::AbsentEntryNamesMemory(entry)),
    }
}

/// The operation of an instruction whose memory operand is the address that faulted, the
/// operation's width, and the registers to start with.
fn memory_operand(cpu: &Active, instruction: &Instruction, address: GuestVirt) -> Option<(Operation, u8, Registers)> {
    let modrm = instruction.modrm.as_ref()?;
    let Operand::Memory(operand) = modrm.operand else { return None };
    let (operation, distance) = operation(instruction, modrm, cpu.registers())?;
    let target = registers::linear(cpu, instruction, operand).offset(distance);
    let legal = target == address && (!instruction.lock || operation.may_lock());
    legal.then(|| (operation, operation.width(instruction.size), *cpu.registers()))
}

/// One iteration of `movs` or `stos` that writes at `address`.
fn string(
    cpu: &Active,
    instruction: &Instruction,
    address: GuestVirt,
) -> Result<Option<(Operation, u8, Registers)>, Emulation> {
    let size = instruction.size;
    let mut after = *cpu.registers();
    // The segment of the destination is fixed. Kernels do not use 32-bit counters and addresses.
    if instruction.lock || instruction.narrow || after.rdi != address.get() || instruction.repeat && after.rcx == 0 {
        return Ok(None);
    }
    let step = if after.rflags & FLAG_DIRECTION == 0 { u64::from(size) } else { u64::from(size).wrapping_neg() };
    let value = if matches!(instruction.opcode, 0xa4 | 0xa5) {
        let source = registers::in_segment(cpu, instruction, after.rsi);
        let mut bytes = [0; 8];
        let Some(part) = bytes.part_mut(..usize::from(size)) else { return Ok(None) };
        if cpu.read_bytes(source, part).is_err() {
            return Err(page_fault(cpu, source, false));
        }
        after.rsi = after.rsi.wrapping_add(step);
        u64::from_le_bytes(bytes)
    } else {
        after.rax & mask(size)
    };
    after.rdi = after.rdi.wrapping_add(step);
    if instruction.repeat {
        after.rcx = after.rcx.wrapping_sub(1);
    }
    Ok(Some((Operation::Store(value), size, after)))
}

/// The entry that contains `size` bytes at `address`. `None` if they are not aligned, or not in an
/// L1 table of the domain.
fn place(cpu: &Active, domain: &Domain, address: GuestVirt, size: u8) -> Option<Place> {
    let offset = address.page_offset();
    if !offset.is_multiple_of(usize::from(size)) {
        return None;
    }
    let table = table_at(cpu, domain, address)?.frame().again();
    Some(Place { table, index: low_u16((offset / 8) as u64), byte: low_u8((offset % 8) as u64), size })
}

/// Applies the operation to the entry and to `registers`.
fn change(
    domain: &Domain,
    place: &Place,
    operation: Operation,
    rex: bool,
    registers: &mut Registers,
    budget: &mut Budget,
) -> Result<(), Failure> {
    let before = *registers;
    let mut entry = place.table.read_u64(place.index);
    for _ in 0..ATTEMPTS {
        *registers = before;
        let Some(new) = operation.apply(place.extract(entry), place.size, rex, registers) else { return Ok(()) };
        // Storing a whole entry does not depend on the old one.
        let change = match operation {
            Operation::Store(_) if place.size == 8 => Change::Write(new),
            _ => Change::Exchange { expected: entry, new: place.insert(entry, new) },
        };
        let found = write(domain, place, change, budget)?;
        if found == entry || matches!(change, Change::Write(_)) {
            return Ok(());
        }
        entry = found;
    }
    Err(Failure::Again)
}

fn write(domain: &Domain, place: &Place, change: Change, budget: &mut Budget) -> Result<u64, Failure> {
    let mut admission = GuestAdmission::of(domain);
    match update::write_entry(place.table.again(), place.index, change, &mut admission, budget) {
        Ok(found) => Ok(found.get()),
        Err(AcquireError::Preempted(promotion)) => Err(Failure::Preempted(promotion)),
        Err(AcquireError::Refused(_)) if change.names_memory_while_absent() => {
            Err(Failure::NamesMemory(change.wanted().get()))
        }
        Err(AcquireError::Conflict | AcquireError::Refused(_)) => Err(Failure::Refused),
    }
}
