//! Emulated writes to page tables.

use super::*;

#[test]
fn encodings_of_linux_change_entries() {
    let mut guest = Guest::new();
    let before = guest.entry();
    let address = entry_address(VICTIM);
    // mov [rdi], rsi: the same frame, with the dirty and a software bit
    guest.cpu.registers_mut().rdi = address;
    guest.cpu.registers_mut().rsi = before | 0x240;
    assert_eq!(guest.page_table_write(&[0x48, 0x89, 0x37], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.advance()), (before | 0x240, 3));
    // xchg [rdi], rax: unmap
    guest.cpu.registers_mut().rax = 0;
    assert_eq!(guest.page_table_write(&[0x48, 0x87, 0x07], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rax), (0, before | 0x240));
    // lock cmpxchg [rdi], rsi: map again, with a wrong and with the right expected value
    guest.cpu.registers_mut().rax = 0x1000;
    guest.cpu.registers_mut().rsi = before;
    let exchange = [0xf0, 0x48, 0x0f, 0xb1, 0x37];
    assert_eq!(guest.page_table_write(&exchange, address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rax), (0, 0));
    assert_eq!(guest.cpu.registers().rflags & 0x40, 0);
    assert_eq!(guest.page_table_write(&exchange, address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rflags & 0x40), (before, 0x40));
    // lock btr qword [rdi], 1: write-protect
    assert_eq!(guest.page_table_write(&[0xf0, 0x48, 0x0f, 0xba, 0x37, 1], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rflags & 1), (before & !2, 1));
    // lock and byte [rdi], !0x20: clear the accessed bit
    assert_eq!(guest.page_table_write(&[0xf0, 0x80, 0x27, 0xdf], address), Emulation::Done);
    assert_eq!(guest.entry(), before & !0x22);
    // mov qword [rdi], 0
    assert_eq!(guest.page_table_write(&[0x48, 0xc7, 0x07, 0, 0, 0, 0], address), Emulation::Done);
    assert_eq!((guest.entry(), guest.advance()), (0, 7));
    // Two halves, as 32-bit kernels write them: the high one, then the low one.
    guest.cpu.registers_mut().rax = before >> 32;
    assert_eq!(guest.page_table_write(&[0x89, 0x47, 4], address + 4), Emulation::Done);
    guest.cpu.registers_mut().rax = before;
    assert_eq!(guest.page_table_write(&[0x89, 0x07], address), Emulation::Done);
    assert_eq!(guest.entry(), before);
}

#[test]
fn a_forbidden_mapping_is_refused_and_changes_nothing() {
    let mut guest = Guest::new();
    let before = guest.entry();
    let address = entry_address(VICTIM);
    let table = guest.frames[3].mfn().address().get();
    let store = [0x48, 0x89, 0x37];
    // A writable mapping of a page table, a frame without an owner, a frame beyond memory.
    for bad in [table | LEAF, 4000 << 12 | LEAF, 0x000f_ffff_ffff_f067] {
        guest.cpu.registers_mut().rdi = address;
        guest.cpu.registers_mut().rsi = bad;
        guest.code(&store);
        let registers = visible(guest.cpu.registers());
        assert_eq!(guest.page_table_write(&store, address), Emulation::Refused, "{bad:#x}");
        assert_eq!((guest.entry(), visible(guest.cpu.registers())), (before, registers));
    }
    // A read-only mapping of a table is allowed.
    guest.cpu.registers_mut().rsi = table | READ_ONLY;
    assert_eq!(guest.page_table_write(&store, address), Emulation::Done);
    assert_eq!(guest.entry(), table | READ_ONLY);
}

#[test]
fn only_a_faulting_write_to_an_l1_table_is_emulated() {
    let mut guest = Guest::new();
    let store = [0x48, 0x89, 0x37];
    let address = entry_address(VICTIM);
    for (rdi, fault) in [
        // An L2 table, a page that is writable, an unmapped page, an address of Paravane.
        (4 << 12, 4 << 12),
        (DATA << 12, DATA << 12),
        (100 << 12, 100 << 12),
        (0xffff_8300_0000_0000, 0xffff_8300_0000_0000),
        // The instruction writes to another address than the one that faulted.
        (address + 8, address),
        // A write across two entries.
        (address + 4, address + 4),
        (entry_address(511) + 4, entry_address(511) + 4),
    ] {
        guest.cpu.registers_mut().rdi = rdi;
        guest.cpu.registers_mut().rsi = 0;
        assert_eq!(guest.page_table_write(&store, fault), Emulation::Refused, "{rdi:#x}");
    }
    guest.cpu.registers_mut().rdi = address;
    // Compatibility mode, LOCK with a plain store, an instruction that only reads.
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS32);
    assert_eq!(guest.page_table_write(&store, address), Emulation::Refused);
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS64);
    assert_eq!(guest.page_table_write(&[0xf0, 0x48, 0x89, 0x37], address), Emulation::Refused);
    assert_eq!(guest.page_table_write(&[0x48, 0x39, 0x37], address), Emulation::Refused);
    assert_eq!(guest.page_table_write(&store, address), Emulation::Done);
}

#[test]
fn string_instructions_write_one_element_at_a_time() {
    let mut guest = Guest::new();
    let address = entry_address(VICTIM);
    guest.cpu.write(GuestVirt::new(DATA << 12), &[0x1111_2222_3333_4440u64, 0x4000_5550]).expect("data");
    let registers = guest.cpu.registers_mut();
    (registers.rdi, registers.rsi, registers.rcx) = (address, DATA << 12, 2);
    // rep movsq
    let copy = [0xf3, 0x48, 0xa5];
    assert_eq!(guest.page_table_write(&copy, address), Emulation::Done);
    assert_eq!((guest.entry(), guest.advance()), (0x1111_2222_3333_4440, 0));
    let registers = *guest.cpu.registers();
    assert_eq!((registers.rdi, registers.rsi, registers.rcx), (address + 8, (DATA << 12) + 8, 1));
    assert_eq!(guest.page_table_write(&copy, address + 8), Emulation::Done);
    assert_eq!((guest.frames[3].read_u64(VICTIM + 1), guest.advance()), (0x4000_5550, 3));
    // std; stosd to the upper half
    let registers = guest.cpu.registers_mut();
    (registers.rdi, registers.rax, registers.rflags) = (address + 4, 0x99, 0x602);
    assert_eq!(guest.page_table_write(&[0xab], address + 4), Emulation::Done);
    assert_eq!((guest.entry(), guest.cpu.registers().rdi), (0x99_3333_4440, address));
    // The source is not mapped.
    let registers = guest.cpu.registers_mut();
    (registers.rdi, registers.rsi, registers.rcx) = (address, 200 << 12, 2);
    let fault = Emulation::Inject { vector: vectors::PAGE_FAULT, error_code: Some(0) };
    assert_eq!(guest.page_table_write(&copy, address), fault);
    assert_eq!((fault_address(&guest.cpu), guest.advance()), (200 << 12, 0));
}

/// An instruction that changes memory at RDI: its bytes, its size, and its effect on the word and
/// on RAX.
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

/// All instructions on entries that map nothing, whose other bits are ignored.
#[test]
fn instructions_change_entries_like_their_definitions() {
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
                // It would map a frame without an owner.
                prop_assert_eq!(outcome, Emulation::Refused);
                prop_assert_eq!((guest.entry(), guest.cpu.registers().rax), (old, rax));
            } else if names_memory(RawEntry::new(new)) {
                prop_assert_eq!(outcome, Emulation::Kill(KillReason::AbsentEntryNamesMemory(new)));
                prop_assert_eq!(guest.entry(), old);
            } else {
                prop_assert_eq!(outcome, Emulation::Done);
                prop_assert_eq!((guest.entry(), guest.cpu.registers().rax), (new, register), "{:x?}", bytes);
                prop_assert_eq!(guest.advance(), bytes.len() as u64);
            }
        }
    });
}

/// The common forms have the same effect as the decoder has with the same bytes.
#[test]
fn common_forms_match_the_decoder() {
    let guest = RefCell::new(Guest::new());
    let opcode = prop::sample::select(&[0x87u8, 0x89, 0x80][..]);
    proptest!(ProptestConfig::with_cases(20_000), |(
        opcode in opcode, rex in 0x40u8..0x50, reg in 0u8..8, base in 0u8..8, mode in 0u8..3, displacement: i8, constant: u8,
        prefix in prop::sample::select(&[0xf0u8, 0x3e][..]), sib in prop_oneof![0x20u8..0x28, any::<u8>()], value: u64, mapped: bool, stepping: bool, flags in 0u64..0x40, off in prop::sample::select(&[0u64, 1, 8][..]),
    )| {
        let guest = &mut *guest.borrow_mut();
        let and = opcode == 0x80;
        let mut code = Vec::new();
        if and {
            code.push(prefix);
        }
        if !and || rex != 0x40 {
            code.push(rex);
        }
        code.push(opcode);
        code.push(mode << 6 | if and { 4 } else { reg } << 3 | base);
        code.extend((base == 4).then_some(sib));
        code.extend((mode != 0).then_some(displacement.cast_unsigned()));
        code.push(constant);
        code.resize(15, 0x90);
        let moved = if mode == 0 { 0 } else { i64::from(displacement).cast_unsigned() };
        let address = entry_address(VICTIM);
        let original = guest.frames[6].mfn().address().get();
        // The old and the new entry: the same frame with other flags, or not present.
        let before = if mapped { original | LEAF } else { value & !1 };
        let wanted = if value & 4 == 0 { original | flags & 0x67 | 1 } else { value & !1 };
        let mut registers = Registers::default();
        for number in 0..16 {
            registers::write(&mut registers, number, 8, true, wanted);
        }
        let base = if base == 4 { sib & 7 } else { base };
        registers::write(&mut registers, base | rex << 3 & 8, 8, true, address.wrapping_sub(moved).wrapping_add(off));
        (registers.cs, registers.rflags) = (u64::from(flat::RING3_CS64), u64::from(stepping) << 8);
        let mut outcomes = Vec::new();
        for fast in [false, true] {
            guest.restore(before);
            *guest.cpu.registers_mut() = registers;
            guest.code(&code);
            let vcpu = guest.vcpu();
            let place = GuestVirt::new(address);
            let budget = &mut Budget::new(Budget::HYPERCALL);
            let outcome = if fast && fast_page_table_write(&mut guest.cpu, &guest.domain, place, budget) {
                Emulation::Done
            } else if fast {
                page_table_write(&mut guest.cpu, &guest.domain, &vcpu, place, budget)
            } else {
                super::super::page_table::decoded(&mut guest.cpu, &guest.domain, &vcpu, place, &code, budget)
            };
            outcomes.push((outcome, guest.entry(), visible(guest.cpu.registers()), guest.frames[6].current_kind(), guest.frames[6].count()));
        }
        prop_assert_eq!(&outcomes[0], &outcomes[1], "{:x?}", code);
    });
}

#[test]
fn a_write_of_an_absent_entry_that_names_memory_ends_the_guest() {
    let mut guest = Guest::new();
    let (before, address) = (guest.entry(), entry_address(VICTIM));
    let named = before & !0xfff;
    // mov [rdi], rsi; lock btr qword [rdi], 0: the same by clearing the present bit
    for (code, value) in [(&[0x48, 0x89, 0x37][..], named | 0x66), (&[0xf0, 0x48, 0x0f, 0xba, 0x37, 0], 0)] {
        guest.cpu.registers_mut().rdi = address;
        guest.cpu.registers_mut().rsi = value;
        let outcome = guest.page_table_write(code, address);
        assert!(matches!(outcome, Emulation::Kill(KillReason::AbsentEntryNamesMemory(_))), "{outcome:?}");
        assert_eq!(guest.entry(), before);
    }
    // The bits of the frame number inverted, as Linux writes them.
    let inverted = !named & 0x000f_ffff_ffff_f000 | 0x66;
    guest.cpu.registers_mut().rsi = inverted;
    assert_eq!(guest.page_table_write(&[0x48, 0x89, 0x37], address), Emulation::Done);
    assert_eq!(guest.entry(), inverted);
}
