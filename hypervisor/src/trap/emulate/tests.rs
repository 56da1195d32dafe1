//! Whole instructions: a guest's code and tables in simulated memory, its registers, and what stands there afterwards.

use std::boxed::Box;
use std::cell::RefCell;
use std::vec::Vec;

use abi::arch_x86_64::flat;
use abi::xen::DomainId;
use machine::context::{GuestContext, Registers};
use machine::frames::{self, Budget, FrameRef, L1, L4, TypedRef, Writable};
use machine::paging::NoEntries;
use proptest::prelude::*;

use super::*;
use crate::domain::Settings;
use crate::memory::admission::GuestAdmission;

/// Pages of the guest, by number: code, data, the L1 table that maps all of this (read-only), and a page whose entry the tests change.
const CODE: u64 = 1;
const DATA: u64 = 2;
const TABLE: u64 = 3;
const VICTIM: u16 = 8;
const LEAF: u64 = 0x67;
const READ_ONLY: u64 = 0x65;

/// Address of entry `index` in the read-only mapping of the table.
fn entry_address(index: u16) -> u64 {
    TABLE << 12 | u64::from(index) * 8
}

/// A guest whose vCPU 0 is loaded, in its kernel, about to execute the code page.
struct Guest {
    domain: Arc<Domain>,
    cpu: Active,
    frames: Vec<FrameRef>,
}

impl Guest {
    fn new() -> Self {
        crate::testing::start_machine();
        let id = DomainId(7);
        let settings =
            Settings { name: "test".into(), privileged: false, vcpus: 2, max_frames: 64, weight: 256, cap: 0 };
        let domain = Domain::new(id, settings).expect("memory for a domain");
        // It is left as it is in the end: lists do not like to be dropped with frames in them.
        core::mem::forget(Arc::clone(&domain));
        let frames: Vec<_> = (0..8).map(|_| new_frame(&domain)).collect();
        let at = |frame: &FrameRef, flags: u64| frame.mfn().address().get() | flags;
        let [l4, l3, l2, l1, code, data, victim, _] = &frames[..] else { unreachable!() };
        for (table, index, entry) in [
            (l4, 0, at(l3, LEAF)),
            (l3, 0, at(l2, LEAF)),
            (l2, 0, at(l1, LEAF)),
            (l1, CODE as u16, at(code, LEAF)),
            (l1, DATA as u16, at(data, LEAF)),
            (l1, TABLE as u16, at(l1, READ_ONLY)),
            (l1, 4, at(l2, READ_ONLY)),
            (l1, VICTIM, at(victim, LEAF)),
        ] {
            writable(table).write_u64(index, entry);
        }
        let root = TypedRef::<L4>::acquire(l4.again(), &mut GuestAdmission::of(&domain), &mut Budget::new(10_000));
        let mut context = domain.vcpus()[0].parked().take().expect("the vCPU is at rest");
        context.set_roots(Some(root.expect("the tables are fine")), None);
        context.registers_mut().rip = CODE << 12;
        let cpu = context.activate().ok().expect("the context is complete");
        Self { domain, cpu, frames }
    }

    fn code(&mut self, bytes: &[u8]) {
        self.cpu.registers_mut().rip = CODE << 12;
        self.cpu.write_bytes(GuestVirt::new(CODE << 12), bytes).expect("the code page can be written");
    }

    fn vcpu(&self) -> Arc<Vcpu> {
        Arc::clone(&self.domain.vcpus()[0])
    }

    fn privileged(&mut self, bytes: &[u8]) -> Emulation {
        self.code(bytes);
        let vcpu = self.vcpu();
        privileged(&mut self.cpu, &self.domain, &vcpu)
    }

    fn page_table_write(&mut self, bytes: &[u8], address: u64) -> Emulation {
        self.code(bytes);
        let vcpu = self.vcpu();
        let address = GuestVirt::new(address);
        page_table_write(&mut self.cpu, &self.domain, &vcpu, address, &mut Budget::new(Budget::HYPERCALL))
    }

    fn invalid_opcode(&mut self, bytes: &[u8]) -> Emulation {
        self.code(bytes);
        let vcpu = self.vcpu();
        invalid_opcode(&mut self.cpu, &self.domain, &vcpu)
    }

    fn entry(&self) -> u64 {
        self.frames[3].read_u64(VICTIM)
    }

    /// Puts an entry that maps nothing into the slot under test.
    fn set_entry(&mut self, bits: u64) {
        let table = TypedRef::<L1>::existing(self.frames[3].again()).expect("the table is in use");
        let entry = machine::paging::Entry::absent(machine::paging::RawEntry::new(bits & !1));
        drop(table.replace(VICTIM, entry));
    }

    /// Instructions executed since `code`.
    fn advance(&self) -> u64 {
        self.cpu.registers().rip.wrapping_sub(CODE << 12)
    }
}

fn new_frame(domain: &Domain) -> FrameRef {
    let allocation = frames::allocate(domain.id()).expect("a free frame");
    let frame = allocation.reference();
    domain.frames.push(allocation);
    frame
}

fn writable(frame: &FrameRef) -> TypedRef<Writable> {
    TypedRef::acquire(frame.again(), &mut NoEntries, &mut Budget::new(10)).expect("no table yet")
}

/// All that an instruction can change in registers.
fn visible(registers: &Registers) -> Vec<u64> {
    let mut all: Vec<_> = (0..16).map(|number| registers::read(registers, number, 8, true)).collect();
    all.extend([registers.rip, registers.rflags, registers.cs, registers.ss]);
    all
}

const RAX_VALUE: u64 = 0x0123_4567_89ab_cd00;

#[test]
fn linux_changes_entries_as_it_does() {
    let mut guest = Guest::new();
    let before = guest.entry();
    let address = entry_address(VICTIM);
    // mov [rdi], rsi: the same frame, dirty and a software bit
    guest.cpu.registers_mut().rdi = address;
    guest.cpu.registers_mut().rsi = before | 0x240;
    assert_eq!(guest.page_table_write(&[0x48, 0x89, 0x37], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.advance()), (before | 0x240, 3));
    // xchg [rdi], rax: taken out
    guest.cpu.registers_mut().rax = 0;
    assert_eq!(guest.page_table_write(&[0x48, 0x87, 0x07], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rax), (0, before | 0x240));
    // lock cmpxchg [rdi], rsi: put back, from what was not there and from what was
    guest.cpu.registers_mut().rax = 0x1000;
    guest.cpu.registers_mut().rsi = before;
    let exchange = [0xf0, 0x48, 0x0f, 0xb1, 0x37];
    assert_eq!(guest.page_table_write(&exchange, address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rax), (0, 0));
    assert_eq!(guest.cpu.registers().rflags & 0x40, 0);
    assert_eq!(guest.page_table_write(&exchange, address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rflags & 0x40), (before, 0x40));
    // lock btr qword [rdi], 1: write-protected
    assert_eq!(guest.page_table_write(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 1], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rflags & 1), (before & !2, 1));
    // lock and byte [rdi], !0x20: the accessed bit
    assert_eq!(guest.page_table_write(&[0xf0, 0x80, 0x27, 0xdf], address), Emulation::Done);
    assert_eq!(guest.entry(), before & !0x22);
    // mov qword [rdi], 0
    assert_eq!(guest.page_table_write(&[0x48, 0xc7, 0x07, 0, 0, 0, 0], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.advance()), (0, 7));
    // Two halves, as 32-bit kernels do it: high first, then low.
    guest.cpu.registers_mut().rax = before >> 32;
    assert_eq!(guest.page_table_write(&[0x89, 0x47, 4], address + 4), Emulation::Done);
    guest.cpu.registers_mut().rax = before;
    assert_eq!(guest.page_table_write(&[0x89, 0x07], address), Emulation::Done);
    assert_eq!(guest.entry(), before);
}

#[test]
fn what_may_not_be_mapped_is_the_guests_fault() {
    let mut guest = Guest::new();
    let before = guest.entry();
    let address = entry_address(VICTIM);
    let table = guest.frames[3].mfn().address().get();
    let store = [0x48, 0x89, 0x37];
    // A writable mapping of a page table, a frame of nobody's, one beyond memory.
    for bad in [table | LEAF, 4000 << 12 | LEAF, 0x000f_ffff_ffff_f067] {
        guest.cpu.registers_mut().rdi = address;
        guest.cpu.registers_mut().rsi = bad;
        guest.code(&store);
        let registers = visible(guest.cpu.registers());
        assert_eq!(guest.page_table_write(&store, address), Emulation::Refused, "{bad:#x}");
        assert_eq!((guest.entry(), visible(guest.cpu.registers())), (before, registers));
    }
    // The read-only mapping of a table is fine.
    guest.cpu.registers_mut().rsi = table | READ_ONLY;
    assert_eq!(guest.page_table_write(&store, address), Emulation::Done);
    assert_eq!(guest.entry(), table | READ_ONLY);
}

#[test]
fn only_l1_tables_are_written_and_only_where_the_fault_was() {
    let mut guest = Guest::new();
    let store = [0x48, 0x89, 0x37];
    let address = entry_address(VICTIM);
    for (rdi, fault) in [
        // An L2 table; a page that may be written anyway; nothing at all; Paravane's.
        (4 << 12, 4 << 12),
        (DATA << 12, DATA << 12),
        (100 << 12, 100 << 12),
        (0xffff_8300_0000_0000, 0xffff_8300_0000_0000),
        // The instruction writes elsewhere than where the fault was.
        (address + 8, address),
        // Across two entries.
        (address + 4, address + 4),
        (entry_address(511) + 4, entry_address(511) + 4),
    ] {
        guest.cpu.registers_mut().rdi = rdi;
        guest.cpu.registers_mut().rsi = 0;
        assert_eq!(guest.page_table_write(&store, fault), Emulation::Refused, "{rdi:#x}");
    }
    guest.cpu.registers_mut().rdi = address;
    // Compatibility mode; LOCK before a plain store; an instruction that reads only.
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS32);
    assert_eq!(guest.page_table_write(&store, address), Emulation::Refused);
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS64);
    assert_eq!(guest.page_table_write(&[0xf0, 0x48, 0x89, 0x37], address), Emulation::Refused);
    assert_eq!(guest.page_table_write(&[0x48, 0x39, 0x37], address), Emulation::Refused);
    assert_eq!(guest.page_table_write(&store, address), Emulation::Done);
}

#[test]
fn strings_are_written_element_by_element() {
    let mut guest = Guest::new();
    let address = entry_address(VICTIM);
    guest.cpu.write(GuestVirt::new(DATA << 12), &[0x1111_2222_3333_4440u64, 0x5550]).expect("data");
    let registers = guest.cpu.registers_mut();
    (registers.rdi, registers.rsi, registers.rcx) = (address, DATA << 12, 2);
    // rep movsq
    let copy = [0xf3, 0x48, 0xa5];
    assert_eq!(guest.page_table_write(&copy, address), Emulation::Done);
    assert_eq!((guest.entry(), guest.advance()), (0x1111_2222_3333_4440, 0));
    let registers = *guest.cpu.registers();
    assert_eq!((registers.rdi, registers.rsi, registers.rcx), (address + 8, (DATA << 12) + 8, 1));
    assert_eq!(guest.page_table_write(&copy, address + 8), Emulation::Done);
    assert_eq!((guest.frames[3].read_u64(VICTIM + 1), guest.advance()), (0x5550, 3));
    // std; stosd, into the upper half
    let registers = guest.cpu.registers_mut();
    (registers.rdi, registers.rax, registers.rflags) = (address + 4, 0x99, 0x602);
    assert_eq!(guest.page_table_write(&[0xab], address + 4), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rdi), (0x99_3333_4440, address));
    // A source that is not there
    let registers = guest.cpu.registers_mut();
    (registers.rdi, registers.rsi, registers.rcx) = (address, 200 << 12, 2);
    let fault = Emulation::Inject { vector: vector::PAGE_FAULT, error_code: Some(0) };
    assert_eq!(guest.page_table_write(&copy, address), fault);
    assert_eq!((fault_address(&guest.cpu), guest.advance()), (200 << 12, 0));
}

/// An instruction that changes memory at RDI: its bytes and what it makes of a word and of RAX, by its definition.
type Model = (&'static [u8], u8, fn(u64, u64) -> (u64, u64));

const MODELS: &[Model] = &[
    (&[0x88, 0x07], 1, |_, rax| (rax, rax)),
    (&[0x66, 0x89, 0x07], 2, |_, rax| (rax, rax)),
    (&[0x89, 0x07], 4, |_, rax| (rax, rax)),
    (&[0x48, 0x89, 0x07], 8, |_, rax| (rax, rax)),
    (&[0x48, 0x0f, 0xc3, 0x07], 8, |_, rax| (rax, rax)),
    (&[0xc6, 0x07, 0x92], 1, |_, rax| (0x92, rax)),
    (&[0x48, 0xc7, 0x07, 0xf0, 0xff, 0xff, 0xff], 8, |_, rax| (u64::MAX - 15, rax)),
    (&[0x48, 0x87, 0x07], 8, |old, rax| (rax, old)),
    (&[0x86, 0x07], 1, |old, rax| (rax, rax & !0xff | old)),
    (&[0x48, 0x01, 0x07], 8, |old, rax| (old.wrapping_add(rax), rax)),
    (&[0xf0, 0x48, 0x09, 0x07], 8, |old, rax| (old | rax, rax)),
    (&[0x48, 0x21, 0x07], 8, |old, rax| (old & rax, rax)),
    (&[0x29, 0x07], 4, |old, rax| (old.wrapping_sub(rax), rax)),
    (&[0x66, 0x31, 0x07], 2, |old, rax| (old ^ rax, rax)),
    (&[0x48, 0x83, 0x27, 0xfe], 8, |old, rax| (old & !1, rax)),
    (&[0x48, 0x81, 0x0f, 0x10, 0, 0, 0x80], 8, |old, rax| (old | 0xffff_ffff_8000_0010, rax)),
    (&[0x48, 0xf7, 0x17], 8, |old, rax| (!old, rax)),
    (&[0x48, 0xf7, 0x1f], 8, |old, rax| (old.wrapping_neg(), rax)),
    (&[0xfe, 0x07], 1, |old, rax| (old.wrapping_add(1), rax)),
    (&[0x48, 0xff, 0x0f], 8, |old, rax| (old.wrapping_sub(1), rax)),
    (&[0xf0, 0x48, 0x0f, 0xba, 0x2f, 63], 8, |old, rax| (old | 1 << 63, rax)),
    (&[0x48, 0x0f, 0xba, 0x37, 5], 8, |old, rax| (old & !0x20, rax)),
    (&[0x0f, 0xba, 0x3f, 7], 4, |old, rax| (old ^ 0x80, rax)),
    (&[0xf0, 0x48, 0x0f, 0xc1, 0x07], 8, |old, rax| (old.wrapping_add(rax), old)),
    (&[0xf0, 0x0f, 0xc1, 0x07], 4, |old, rax| (old.wrapping_add(rax), old)),
];

/// All instructions on entries that map nothing, whose other bits are the guest's to choose.
#[test]
fn entries_become_what_the_instruction_says() {
    let guest = RefCell::new(Guest::new());
    proptest!(|(old: u64, rax: u64, place in 0u8..8)| {
        let guest = &mut *guest.borrow_mut();
        for &(bytes, size, model) in MODELS {
            let place = place / size * size;
            guest.set_entry(old);
            let old = old & !1;
            let address = entry_address(VICTIM) + u64::from(place);
            let registers = guest.cpu.registers_mut();
            (registers.rdi, registers.rax) = (address, rax);
            let outcome = guest.page_table_write(bytes, address);
            let mask = registers::mask(size) << (8 * place);
            let (word, register) = model(old >> (8 * place) & registers::mask(size), rax);
            let new = old & !mask | word << (8 * place) & mask;
            if new & 1 != 0 {
                // It would map a frame of nobody's.
                prop_assert_eq!(outcome, Emulation::Refused);
                prop_assert_eq!((guest.entry(), guest.cpu.registers().rax), (old, rax));
            } else {
                prop_assert_eq!(outcome, Emulation::Done);
                prop_assert_eq!((guest.entry(), guest.cpu.registers().rax), (new, register), "{:x?}", bytes);
                prop_assert_eq!(guest.advance(), bytes.len() as u64);
            }
        }
    });
}

/// Whatever stands at RIP, nothing breaks, and nothing changes without an effect.
#[test]
fn hostile_code() {
    let guest = RefCell::new(Guest::new());
    let opcode = prop::sample::select(&[0u8, 0x0f, 0x48, 0x66, 0xf0, 0xf3, 0x89, 0x87][..]);
    let bytes = (prop::option::of(opcode), prop::collection::vec(any::<u8>(), 1..16)).prop_map(|(first, mut rest)| {
        rest.splice(0..0, first);
        rest
    });
    proptest!(ProptestConfig::with_cases(20_000), |(bytes in bytes, value: u64, kind in 0u8..3)| {
        let guest = &mut *guest.borrow_mut();
        let mut registers = Registers::default();
        for number in 0..16 {
            registers::write(&mut registers, number, 8, true, value.rotate_left(u32::from(number) * 5));
        }
        (registers.rdi, registers.rax) = (entry_address(VICTIM), value);
        (registers.cs, registers.rip) = (u64::from(flat::RING3_CS64), CODE << 12);
        *guest.cpu.registers_mut() = registers;
        let outcome = match kind {
            0 => guest.privileged(&bytes),
            1 => guest.invalid_opcode(&bytes),
            _ => guest.page_table_write(&bytes, entry_address(VICTIM)),
        };
        let after = visible(guest.cpu.registers());
        match outcome {
            Emulation::Done => prop_assert!(guest.advance() <= 15 && after != visible(&registers)),
            Emulation::Refused => prop_assert_eq!(after, visible(&registers)),
            Emulation::Inject { .. } => prop_assert!(guest.advance() <= 15),
            Emulation::Kill(why) => prop_assert!(false, "killed: {}", why),
        }
    });
}

#[test]
fn cpuid_behind_the_prefix() {
    let mut guest = Guest::new();
    let forced = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
    let registers = guest.cpu.registers_mut();
    (registers.rax, registers.rcx, registers.rflags) = (0xffff_ffff_4000_0000, 0, 0x1_0202);
    assert_eq!(guest.invalid_opcode(&forced), Emulation::Done);
    let registers = guest.cpu.registers();
    assert_eq!((registers.rax, registers.rbx), (0x4000_0005, 0x566e_6558));
    assert_eq!((registers.rflags, guest.advance()), (0x202, 7), "the resume flag is cleared");
    // In 32-bit code too, but not with anything else behind the prefix, nor without it.
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS32);
    assert_eq!(guest.invalid_opcode(&forced), Emulation::Done);
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS64);
    assert_eq!(guest.invalid_opcode(&[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0x31]), Emulation::Refused);
    assert_eq!(guest.invalid_opcode(&[0x0f, 0x0b]), Emulation::Refused);
    // The end of the last page that is mapped.
    guest.cpu.registers_mut().rip = (CODE << 12) + 4090;
    let vcpu = guest.vcpu();
    let mut page = Box::new([0x90; 4096]);
    page[4090..].copy_from_slice(&forced[..6]);
    guest.cpu.write_bytes(GuestVirt::new(CODE << 12), &page[..]).expect("code");
    assert_eq!(invalid_opcode(&mut guest.cpu, &guest.domain, &vcpu), Emulation::Refused);
    guest.cpu.write_bytes(GuestVirt::new(DATA << 12), &forced[6..]).expect("code");
    guest.cpu.registers_mut().rip = (CODE << 12) + 4090;
    assert_eq!(invalid_opcode(&mut guest.cpu, &guest.domain, &vcpu), Emulation::Done, "across two pages");
}

#[test]
fn a_step_is_reported_behind_the_instruction() {
    let mut guest = Guest::new();
    guest.cpu.registers_mut().rflags = 0x302;
    let stepped = Emulation::Inject { vector: vector::DEBUG, error_code: None };
    assert_eq!(guest.privileged(&[0x0f, 0x06]), stepped);
    assert_eq!(guest.advance(), 2);
    assert_ne!(guest.cpu.debug_register(6) & SINGLE_STEP, 0);
}

#[test]
fn control_registers() {
    let mut guest = Guest::new();
    let refused = PROTECTION_FAULT;
    // mov rax, cr0; with TS and back
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xc0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x8005_0033);
    guest.cpu.registers_mut().rax |= 8;
    assert_eq!(guest.privileged(&[0x0f, 0x22, 0xc0]), Emulation::Done);
    assert!(guest.cpu.context().task_switched());
    assert_eq!(guest.privileged(&[0x0f, 0x06]), Emulation::Done, "clts");
    assert!(!guest.cpu.context().task_switched());
    for changed in [2u64, 4, 1 << 16, 1 << 18, 1 << 31, 1 << 32] {
        guest.cpu.registers_mut().rax = 0x8005_0033 ^ changed;
        assert_eq!(guest.privileged(&[0x0f, 0x22, 0xc0]), refused);
    }
    // CR2 is where the interface has it.
    guest.cpu.registers_mut().r9 = 0x1234;
    assert_eq!(guest.privileged(&[0x41, 0x0f, 0x22, 0xd1]), Emulation::Done);
    assert_eq!(fault_address(&guest.cpu), 0x1234);
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xd0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x1234);
    // CR3: its own root, with and without cache bits; no root at all.
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xd8]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, guest.frames[0].mfn().address().get());
    guest.cpu.registers_mut().rax |= 0x18;
    assert_eq!(guest.privileged(&[0x0f, 0x22, 0xd8]), Emulation::Done);
    for bad in [0, guest.frames[5].mfn().address().get(), u64::MAX] {
        guest.cpu.registers_mut().rax = bad;
        assert_eq!(guest.privileged(&[0x0f, 0x22, 0xd8]), refused);
    }
    // CR4: what can be chosen is, the rest stays as it is.
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xe0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x660);
    guest.cpu.registers_mut().rax = !(1 << 16 | 1 << 18);
    assert_eq!(guest.privileged(&[0x0f, 0x22, 0xe0]), Emulation::Done);
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xe0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x66c);
    // No other control register.
    for modrm in [0xc8, 0xe8, 0xf0, 0xf8] {
        assert_eq!(guest.privileged(&[0x0f, 0x20, modrm]), Emulation::Refused);
        assert_eq!(guest.privileged(&[0x0f, 0x22, modrm]), Emulation::Refused);
    }
    assert_eq!(guest.privileged(&[0x44, 0x0f, 0x20, 0xc0]), Emulation::Refused, "CR8");
}

#[test]
fn extended_states() {
    let mut guest = Guest::new();
    let registers = guest.cpu.registers_mut();
    (registers.rax, registers.rcx, registers.rdx) = (3, 0, 0);
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0xd1]), INVALID_OPCODE, "before CR4.OSXSAVE is set");
    guest.vcpu().control4.store(1 << 18, Ordering::Relaxed);
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0xd1]), Emulation::Done);
    assert_eq!(guest.cpu.xcr0(), 3);
    for (rcx, rax, rdx) in [(0, 0, 0), (0, 5, 0), (1, 3, 0), (0, 3, 1), (0, 1 << 9 | 3, 0)] {
        let registers = guest.cpu.registers_mut();
        (registers.rax, registers.rcx, registers.rdx) = (rax, rcx, rdx);
        assert_eq!(guest.privileged(&[0x0f, 0x01, 0xd1]), PROTECTION_FAULT);
        assert_eq!(guest.cpu.xcr0(), 3);
    }
}

#[test]
fn debug_registers() {
    let mut guest = Guest::new();
    guest.cpu.registers_mut().rbx = 0x4000;
    assert_eq!(guest.privileged(&[0x0f, 0x23, 0xcb]), Emulation::Done, "mov dr1, rbx");
    assert_eq!(guest.privileged(&[0x0f, 0x21, 0xc8]), Emulation::Done, "mov rax, dr1");
    assert_eq!(guest.cpu.registers().rax, 0x4000);
    guest.cpu.registers_mut().rbx = 0xffff_8300_0000_0000;
    assert_eq!(guest.privileged(&[0x0f, 0x23, 0xcb]), PROTECTION_FAULT, "in Paravane");
    for (modrm, value) in [(0xf0, 0xffff_0ff0), (0xf8, 0x400), (0xe0, 0xffff_0ff0), (0xe8, 0x400)] {
        assert_eq!(guest.privileged(&[0x0f, 0x21, modrm]), Emulation::Done);
        assert_eq!(guest.cpu.registers().rax, value);
    }
    guest.cpu.registers_mut().rax = 8;
    assert_eq!(guest.privileged(&[0x0f, 0x22, 0xe0]), Emulation::Done, "debug extensions");
    assert_eq!(guest.privileged(&[0x0f, 0x21, 0xe0]), INVALID_OPCODE, "DR4");
}

#[test]
fn model_specific_registers() {
    let mut guest = Guest::new();
    let (read, write) = ([0x0f, 0x32], [0x0f, 0x30]);
    let set = |guest: &mut Guest, number: u64, value: u64| {
        let registers = guest.cpu.registers_mut();
        (registers.rcx, registers.rax, registers.rdx) = (number, value | 7 << 40, value >> 32 | 9 << 33);
    };
    for number in 0xc000_0100..=0xc000_0102 {
        set(&mut guest, number, 0xffff_8880_1234_5000);
        assert_eq!(guest.privileged(&write), Emulation::Done);
        set(&mut guest, number | 5 << 50, 0);
        assert_eq!(guest.privileged(&read), Emulation::Done);
        assert_eq!((guest.cpu.registers().rax, guest.cpu.registers().rdx), (0x1234_5000, 0xffff_8880));
        set(&mut guest, number, 0x8000_0000_0000);
        assert_eq!(guest.privileged(&write), PROTECTION_FAULT, "not canonical");
    }
    set(&mut guest, 0xc000_0080, 0);
    assert_eq!(guest.privileged(&read), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax & 0x501, 0x501, "EFER");
    set(&mut guest, 0xc000_0080, 0);
    assert_eq!(guest.privileged(&write), PROTECTION_FAULT);
    set(&mut guest, 0x277, 0);
    assert_eq!(guest.privileged(&read), Emulation::Done);
    assert_eq!((guest.cpu.registers().rax, guest.cpu.registers().rdx), (0x0007_0406, 0x501));
    set(&mut guest, 0x1b, 0);
    assert_eq!(guest.privileged(&read), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0xfee0_0900);
    for number in [0xc000_0082, 0x48, 0x49, 0x174, 0xfe, 0x200, 0x2ff, 0x832, 0xffff_ffff] {
        set(&mut guest, number, 0);
        assert_eq!(guest.privileged(&read), PROTECTION_FAULT, "{number:#x}");
        assert_eq!(guest.privileged(&write), PROTECTION_FAULT, "{number:#x}");
    }
}

#[test]
fn what_is_not_emulated_is_refused() {
    let mut guest = Guest::new();
    let refused: &[&[u8]] = &[
        &[0xf4],
        &[0xe4, 0x80],
        &[0xec],
        &[0xe6, 0x80],
        &[0xef],
        &[0x6c],
        &[0xf3, 0x6e],
        &[0x0f, 0x08],
        &[0x0f, 0x33],
        &[0x0f, 0x01, 0xf8],
        &[0x0f, 0x01, 0x10],
        &[0x0f, 0x01, 0x38],
        &[0x0f, 0x01, 0xf0],
        &[0x0f, 0x00, 0xd8],
        &[0x0f, 0x35],
        &[0x0f, 0x07],
        &[0xcc],
        &[0x90],
    ];
    for bytes in refused {
        assert_eq!(guest.privileged(bytes), Emulation::Refused, "{bytes:x?}");
    }
    assert_eq!(guest.privileged(&[0xf0, 0x0f, 0x32]), INVALID_OPCODE, "lock rdmsr");
    // cli and sti need I/O privilege, and then do nothing.
    assert_eq!(guest.privileged(&[0xfa]), Emulation::Refused);
    guest.cpu.set_iopl(1);
    assert_eq!(guest.privileged(&[0xfa]), Emulation::Done);
    assert_eq!(guest.privileged(&[0xfb]), Emulation::Done);
    // Ports too, and there is nothing behind them.
    guest.cpu.registers_mut().rax = RAX_VALUE;
    assert_eq!(guest.privileged(&[0xe4, 0x80]), Emulation::Done, "in al, 0x80");
    assert_eq!(guest.cpu.registers().rax, RAX_VALUE | 0xff);
    assert_eq!(guest.privileged(&[0x66, 0xed]), Emulation::Done, "in ax, dx");
    assert_eq!(guest.cpu.registers().rax, RAX_VALUE | 0xffff);
    assert_eq!(guest.privileged(&[0xed]), Emulation::Done, "in eax, dx");
    assert_eq!(guest.cpu.registers().rax, 0xffff_ffff);
    assert_eq!(guest.privileged(&[0xef]), Emulation::Done, "out dx, eax");
    assert_eq!((guest.cpu.registers().rax, guest.advance()), (0xffff_ffff, 1));
    assert_eq!(guest.privileged(&[0x6c]), Emulation::Refused, "insb");
}

#[test]
fn processes_get_nothing_but_dummies() {
    let mut guest = Guest::new();
    let mut context = Active::deactivate(guest.cpu);
    let root = context.kernel_root().map(TypedRef::again);
    let kernel = context.kernel_root().map(TypedRef::again);
    drop(context.set_roots(kernel, root));
    context.start_in_kernel(false);
    guest.cpu = GuestContext::activate(context).ok().expect("the context is complete");
    for bytes in [&[0x0f, 0x32][..], &[0x0f, 0x20, 0xc0], &[0x0f, 0x09], &[0xfa], &[0x0f, 0xa2], &[0x0f, 0x06]] {
        assert_eq!(guest.privileged(bytes), Emulation::Refused);
    }
    assert_eq!(guest.page_table_write(&[0x48, 0x89, 0x37], entry_address(VICTIM)), Emulation::Refused);
    // sidt [rdi]
    guest.cpu.registers_mut().rdi = DATA << 12;
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0x0f]), Emulation::Done);
    let table: [u8; 10] = guest.cpu.read(GuestVirt::new(DATA << 12)).expect("data");
    assert_eq!(&table[..2], &[0, 0]);
    // smsw eax; sldt ax; a place that cannot be written
    guest.cpu.registers_mut().rax = RAX_VALUE;
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0xe0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x8005_0033);
    guest.cpu.registers_mut().rax = RAX_VALUE;
    assert_eq!(guest.privileged(&[0x66, 0x0f, 0x00, 0xc0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, RAX_VALUE & !0xffff);
    guest.cpu.registers_mut().rdi = TABLE << 12;
    let fault = Emulation::Inject { vector: vector::PAGE_FAULT, error_code: Some(6) };
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0x07]), fault);
}
