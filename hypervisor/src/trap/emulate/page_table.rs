//! Plain writes to L1 page tables: the kernel changes an entry through its read-only mapping of the table, and the write is done for
//! it by the same rules as any other update. Tables of higher levels are changed by hypercalls only.

use alloc::sync::Arc;

use machine::addr::GuestVirt;
use machine::context::{Active, Registers};
use machine::frames::{AcquireError, Budget, FrameRef, L1, Promotion, TypedRef};
use machine::integers::{low_u8, low_u16};

use super::arithmetic::{Operation, operation};
use super::common_forms::{self, CommonForm, Form};
use super::decode::{Instruction, Operand, decode};
use super::registers::{self, mask};
use super::{Emulation, code, complete, is_stepping, page_fault};
use crate::domain::{Attempt, Domain, Vcpu};
use crate::memory::admission::GuestAdmission;
use crate::memory::update::{self, Change};
use crate::memory::walk;

/// How often a change is tried before the guest executes its instruction again.
const ATTEMPTS: u32 = 16;
/// Number of `and` among the operations that combine.
const AND: u8 = 4;
/// DF.
const FLAG_DIRECTION: u64 = 1 << 10;

/// Bytes of one page-table entry.
struct Place {
    table: FrameRef,
    index: u16,
    /// First byte in the entry.
    byte: u8,
    /// How many bytes.
    size: u8,
}

impl Place {
    /// The bytes out of an entry.
    const fn extract(&self, entry: u64) -> u64 {
        entry >> (8 * self.byte) & mask(self.size)
    }

    /// An entry with the bytes replaced.
    const fn insert(&self, entry: u64, value: u64) -> u64 {
        let shift = 8 * self.byte;
        entry & !(mask(self.size) << shift) | (value & mask(self.size)) << shift
    }
}

/// Why a write is not done.
enum Failure {
    /// The fault is the guest's.
    Refused,
    /// The instruction is executed again.
    Again,
    /// The same, with what has been validated so far.
    Preempted(Promotion),
}

/// Performs the kernel's write at `address`, where a read-only mapping of one of the domain's L1 tables faulted. Whether the guest has
/// enabled `vm_assist`'s writable page tables makes no difference.
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
    // Most faults of this kind are no writes to tables, and end here.
    let Some(table) = table_at(cpu, domain, address) else { return Emulation::Refused };
    let Some(code) = code::fetch(cpu) else { return Emulation::Refused };
    if let Some(form) = common_forms::recognise(code.bytes())
        && let Some(done) = perform(cpu, domain, &table, address, form, budget)
    {
        return done;
    }
    decoded(cpu, domain, vcpu, address, code.bytes(), budget)
}

/// Performs such a write, if it is of a short form and nothing is to be told to the guest; `false`, with nothing done, otherwise.
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

/// The L1 table of the domain's of which there is a read-only mapping at the address.
fn table_at(cpu: &Active, domain: &Domain, address: GuestVirt) -> Option<TypedRef<L1>> {
    let leaf = walk::look_up(cpu, address)?.entry;
    if !leaf.is_present() || leaf.is_writable() {
        return None;
    }
    TypedRef::existing(domain.frame(leaf.frame())?).ok()
}

/// Performs an instruction of a short form; `None`, with nothing changed, if it cannot be done that way.
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
            // For the flags.
            let operation = Operation::Combine(AND, u64::from(constant));
            operation.apply(expected & mask(1), 1, true, cpu.registers_mut());
        }
    }
    Some(complete(cpu, form.length))
}

/// Performs an instruction of any form that the decoder knows.
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
    }
}

/// What an instruction with a memory operand does, if that operand is what faulted: the operation, its width, and the registers to
/// start from.
fn memory_operand(cpu: &Active, instruction: &Instruction, address: GuestVirt) -> Option<(Operation, u8, Registers)> {
    let modrm = instruction.modrm.as_ref()?;
    let Operand::Memory(operand) = modrm.operand else { return None };
    let (operation, distance) = operation(instruction, modrm, cpu.registers())?;
    let target = registers::linear(cpu, instruction, operand).offset(distance);
    let legal = target == address && (!instruction.lock || operation.may_lock());
    legal.then(|| (operation, operation.width(instruction.size), *cpu.registers()))
}

/// One step of `movs` or `stos` that writes at `address`.
fn string(
    cpu: &Active,
    instruction: &Instruction,
    address: GuestVirt,
) -> Result<Option<(Operation, u8, Registers)>, Emulation> {
    let size = instruction.size;
    let mut after = *cpu.registers();
    // The destination has no segment that could be chosen. Counters and addresses of 32 bits are nothing a kernel uses.
    if instruction.lock || instruction.narrow || after.rdi != address.get() || instruction.repeat && after.rcx == 0 {
        return Ok(None);
    }
    let step = if after.rflags & FLAG_DIRECTION == 0 { u64::from(size) } else { u64::from(size).wrapping_neg() };
    let value = if matches!(instruction.opcode, 0xa4 | 0xa5) {
        let source = registers::in_segment(cpu, instruction, after.rsi);
        let mut bytes = [0; 8];
        let Some(part) = bytes.get_mut(..usize::from(size)) else { return Ok(None) };
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

/// The entry that `size` bytes at `address` belong to. `None` if they are not aligned, or lie in no L1 table of the domain's.
fn place(cpu: &Active, domain: &Domain, address: GuestVirt, size: u8) -> Option<Place> {
    let offset = address.page_offset();
    if !offset.is_multiple_of(usize::from(size)) {
        return None;
    }
    let table = table_at(cpu, domain, address)?.frame().again();
    Some(Place { table, index: low_u16((offset / 8) as u64), byte: low_u8((offset % 8) as u64), size })
}

/// Performs the operation on the entry, and on the registers given.
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
        // A whole entry stored needs no look at the old one.
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
        Err(AcquireError::Conflict | AcquireError::Refused(_)) => Err(Failure::Refused),
    }
}
