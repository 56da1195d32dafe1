//! Privileged instructions, and `cpuid` with the forced emulation prefix.

use std::boxed::Box;

use machine::counters::{self, Counter};

use super::*;

const RAX_VALUE: u64 = 0x0123_4567_89ab_cd00;

#[test]
fn cpuid_with_the_forced_emulation_prefix() {
    let mut guest = Guest::new();
    let forced = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];
    let registers = guest.cpu.registers_mut();
    (registers.rax, registers.rcx, registers.rflags) = (0xffff_ffff_4000_0000, 0, 0x1_0202);
    assert_eq!(guest.invalid_opcode(&forced), Emulation::Done);
    let registers = guest.cpu.registers();
    assert_eq!((registers.rax, registers.rbx), (0x4000_0005, 0x566e_6558));
    assert_eq!((registers.rflags, guest.advance()), (0x202, 7), "the resume flag is cleared");
    // It works in 32-bit code too, but not for other instructions or without the prefix.
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS32);
    assert_eq!(guest.invalid_opcode(&forced), Emulation::Done);
    guest.cpu.registers_mut().cs = u64::from(flat::RING3_CS64);
    assert_eq!(guest.invalid_opcode(&[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0x31]), Emulation::Refused);
    assert_eq!(guest.invalid_opcode(&[0x0f, 0x0b]), Emulation::Refused);
    // At the end of the last mapped page.
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
fn a_plain_rdmsr_matches_the_decoder() {
    let mut guest = Guest::new();
    let numbers = (0..0x400).chain(0xc000_0080..0xc000_0110).chain(0xc001_0010..0xc001_0070);
    for number in numbers.filter(|number| *number != 0x10) {
        let mut read = |code: &[u8]| {
            let registers = guest.cpu.registers_mut();
            (registers.rax, registers.rcx, registers.rdx) = (RAX_VALUE, 0xabcd << 32 | number, RAX_VALUE);
            let outcome = guest.privileged(code);
            let registers = guest.cpu.registers();
            let result = (registers.rax, registers.rdx);
            (outcome == Emulation::Done, result, guest.advance().saturating_sub(code.len() as u64))
        };
        // The second encoding has a prefix without effect.
        assert_eq!(read(&[0x0f, 0x32]), read(&[0x48, 0x0f, 0x32]), "{number:#x}");
    }
}

#[test]
fn a_single_step_is_reported_after_the_instruction() {
    let mut guest = Guest::new();
    guest.cpu.registers_mut().rflags = 0x302;
    let stepped = Emulation::Inject { vector: vectors::DEBUG, error_code: None };
    assert_eq!(guest.privileged(&[0x0f, 0x06]), stepped);
    assert_eq!(guest.advance(), 2);
    assert_ne!(guest.cpu.debug_register(6) & SINGLE_STEP, 0);
}

#[test]
fn control_registers() {
    let mut guest = Guest::new();
    let refused = PROTECTION_FAULT;
    // mov rax, cr0; then with TS and without it
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
    // CR2 is in the `vcpu_info`.
    guest.cpu.registers_mut().r9 = 0x1234;
    assert_eq!(guest.privileged(&[0x41, 0x0f, 0x22, 0xd1]), Emulation::Done);
    assert_eq!(fault_address(&guest.cpu), 0x1234);
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xd0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x1234);
    // CR3: the current root, with and without cache bits, and a frame that is not a root.
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xd8]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, guest.frames[0].mfn().address().get());
    guest.cpu.registers_mut().rax |= 0x18;
    assert_eq!(guest.privileged(&[0x0f, 0x22, 0xd8]), Emulation::Done);
    for bad in [0, guest.frames[5].mfn().address().get(), u64::MAX] {
        guest.cpu.registers_mut().rax = bad;
        assert_eq!(guest.privileged(&[0x0f, 0x22, 0xd8]), refused);
    }
    // CR4: bits that can be chosen change, the others do not.
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xe0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x660);
    guest.cpu.registers_mut().rax = !(1 << 16 | 1 << 18);
    assert_eq!(guest.privileged(&[0x0f, 0x22, 0xe0]), Emulation::Done);
    assert_eq!(guest.privileged(&[0x0f, 0x20, 0xe0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x66c);
    // Other control registers do not exist.
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
    guest.cpu.set_control4(1 << 18);
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
fn a_state_that_the_policy_lacks_cannot_be_enabled() {
    let mut guest = Guest::new();
    guest.cpu.set_control4(1 << 18);
    let mut policy = (*guest.domain.cpu_policy()).clone();
    let mut enable = |states: u32| {
        policy.update(0xd, 0, |[eax, ..]| *eax = states);
        guest.domain.set_cpu_policy(policy.clone());
        let registers = guest.cpu.registers_mut();
        (registers.rax, registers.rcx, registers.rdx) = (7, 0, 0);
        guest.privileged(&[0x0f, 0x01, 0xd1])
    };
    assert_eq!([3, 7].map(&mut enable), [PROTECTION_FAULT, Emulation::Done]);
}

impl Guest {
    fn read_msr(&mut self, number: u64) -> Option<u64> {
        self.cpu.registers_mut().rcx = number;
        let outcome = self.privileged(&[0x0f, 0x32]);
        assert!(matches!(outcome, Emulation::Done | PROTECTION_FAULT), "{outcome:?}");
        let registers = self.cpu.registers();
        (outcome == Emulation::Done).then_some(registers.rdx << 32 | registers.rax)
    }

    fn write_msr(&mut self, number: u64, value: u64) -> bool {
        let registers = self.cpu.registers_mut();
        (registers.rcx, registers.rax, registers.rdx) = (number, value & 0xffff_ffff, value >> 32);
        let outcome = self.privileged(&[0x0f, 0x30]);
        assert!(matches!(outcome, Emulation::Done | PROTECTION_FAULT), "{outcome:?}");
        outcome == Emulation::Done
    }
}

#[test]
fn speculation_controls_follow_the_policy() {
    const SPEC_CTRL: u64 = 0x48;
    const PRED_CMD: u64 = 0x49;
    // Leaf 7, EDX.
    const IBRSB: u32 = 1 << 26;
    const STIBP_AND_SSBD: u32 = 1 << 27 | 1 << 31;
    // Leaf 0x80000008, EBX.
    const IBPB: u32 = 1 << 12;
    const STIBP: u32 = 1 << 15;
    const SSBD: u32 = 1 << 24;
    const PSFD: u32 = 1 << 28;
    for (structured, addresses, controls, barrier) in [
        (0, 0, 0, false),
        (IBRSB, 0, 3, true),
        (IBRSB | STIBP_AND_SSBD, 0, 7, true),
        (0, IBPB, 0, true),
        (0, IBPB | STIBP, 2, true),
        (0, SSBD, 6, false),
        (0, IBPB | STIBP | SSBD | PSFD, 0x86, true),
    ] {
        let mut guest = Guest::new();
        let mut policy = (*guest.domain.cpu_policy()).clone();
        policy.update(7, 0, |[.., edx]| *edx = structured);
        policy.update(0x8000_0008, 0, |[_, ebx, ..]| *ebx = addresses);
        guest.domain.set_cpu_policy(policy);
        let exists = controls != 0;
        assert_eq!(guest.read_msr(SPEC_CTRL), exists.then_some(0));
        for bit in 0..64 {
            let (value, before) = (1 << bit, guest.cpu.context().spec_ctrl());
            let legal = controls & value != 0;
            assert_eq!(guest.write_msr(SPEC_CTRL, value), legal, "{structured:#x}, {addresses:#x}: bit {bit}");
            let expected = if legal { value } else { before };
            assert_eq!(guest.cpu.context().spec_ctrl(), expected);
            assert_eq!(guest.read_msr(SPEC_CTRL), exists.then_some(expected));
        }
        assert_eq!(guest.write_msr(SPEC_CTRL, controls), exists);
        assert_eq!(guest.read_msr(SPEC_CTRL), exists.then_some(controls));
        // The value is the vCPU's, also while it is not loaded.
        let Guest { domain, cpu, frames } = guest;
        let cpu = cpu.deactivate().activate().ok().expect("the context is complete");
        let mut guest = Guest { domain, cpu, frames };
        assert_eq!(guest.read_msr(SPEC_CTRL), exists.then_some(controls));
        assert_eq!(guest.write_msr(SPEC_CTRL, 0), exists);

        assert_eq!(guest.read_msr(PRED_CMD), None, "a command");
        let barriers = || counters::of(machine::cpu::current(), Counter::PredictionBarriers);
        let before = barriers();
        assert_eq!([0, 1].map(|value| guest.write_msr(PRED_CMD, value)), [barrier; 2]);
        assert_eq!(barriers() - before, u64::from(barrier));
        for bit in 1..64 {
            assert!(!guest.write_msr(PRED_CMD, 1 << bit | 1));
        }
        assert_eq!(barriers() - before, u64::from(barrier));
    }
}

#[test]
fn capabilities_are_those_of_the_policy() {
    for shown in [false, true] {
        let mut guest = Guest::new();
        let mut policy = (*guest.domain.cpu_policy()).clone();
        policy.update(7, 0, |[.., edx]| *edx = u32::from(shown) << 29);
        policy.arch_capabilities = 1 << 63 | 1;
        guest.domain.set_cpu_policy(policy);
        assert_eq!(guest.read_msr(0x10a), shown.then_some(1 << 63 | 1));
        assert!(!guest.write_msr(0x10a, 1 << 63 | 1), "it is read-only");
    }
}

/// Switches the guest to user mode, with a user root table.
fn in_user_mode(guest: Guest) -> Guest {
    let Guest { domain, cpu, frames } = guest;
    let mut context = Active::deactivate(cpu);
    let root = || context.kernel_root().map(TypedRef::again);
    let (kernel, user) = (root(), root());
    drop(context.set_roots(kernel, user));
    context.start_in_kernel(false);
    let cpu = GuestContext::activate(context).ok().expect("the context is complete");
    Guest { domain, cpu, frames }
}

#[test]
fn the_kernel_reads_the_tsc_with_cr4_tsd_set() {
    let mut guest = Guest::new();
    guest.cpu.set_control4(1 << 2);
    let (rdtsc, rdtscp) = ([0x0f, 0x31], [0x0f, 0x01, 0xf9]);
    let mut last = 0;
    for code in [&rdtsc[..], &rdtscp] {
        let registers = guest.cpu.registers_mut();
        (registers.rax, registers.rcx, registers.rdx) = (u64::MAX, u64::MAX, u64::MAX);
        assert_eq!(guest.privileged(code), Emulation::Done);
        let registers = guest.cpu.registers();
        assert!(registers.rax >> 32 == 0 && registers.rdx >> 32 == 0);
        let now = registers.rdx << 32 | registers.rax;
        assert!(now > last, "{now} after {last}");
        last = now;
    }
    assert_eq!(guest.cpu.registers().rcx, 0, "TSC_AUX");
    let mut guest = in_user_mode(guest);
    for code in [&rdtsc[..], &rdtscp] {
        assert_eq!(guest.privileged(code), Emulation::Refused);
    }
}

#[test]
fn cr4_allows_the_features_of_the_cpuid_policy() {
    let guest = Guest::new();
    let domain = &guest.domain;
    let with = |leaf, change: fn(&mut [u32; 4])| {
        let mut policy = (*domain.cpu_policy()).clone();
        policy.update(leaf, 0, change);
        domain.set_cpu_policy(policy);
        crate::cpu_policy::control4_choice(domain, u64::MAX)
    };
    with(1, |[_, _, ecx, edx]| (*ecx, *edx) = (*ecx | 1 << 26, *edx | 0x14));
    assert_eq!(with(7, |[_, ebx, ..]| *ebx |= 1), 0x5_000c);
    assert_eq!(with(7, |[_, ebx, ..]| *ebx &= !1), 0x4_000c);
    assert_eq!(with(1, |[_, _, ecx, _]| *ecx &= !(1 << 26)), 0xc);
    assert_eq!(with(1, |[.., edx]| *edx &= !4), 4);
    assert_eq!(with(1, |[.., edx]| *edx &= !0x10), 0);
}

#[test]
fn io_breakpoints_are_hit_by_any_byte_of_the_access() {
    let mut guest = Guest::new();
    guest.cpu.set_iopl(1);
    guest.cpu.set_control4(1 << 3);
    let hit = Emulation::Inject { vector: vectors::DEBUG, error_code: None };
    // Breakpoint 0: two ports from 0x60 on. Breakpoint 1: one byte, for writes to memory.
    // Breakpoint 2: four ports from 0x70 on.
    for (register, value) in [(0, 0x61), (1, 0x80), (2, 0x70), (7, 0x0e16_0415)] {
        assert!(guest.cpu.set_debug_register(register, value));
    }
    let mut access = |port: u64, code: &[u8]| {
        guest.cpu.set_debug_register(6, 0);
        guest.cpu.registers_mut().rdx = port;
        let outcome = guest.privileged(code);
        assert_eq!(guest.advance(), code.len() as u64, "it is a trap, not a fault");
        (outcome, guest.cpu.debug_register(6) & 0xf)
    };
    let (read_byte, read_double, write_word) = (&[0xec][..], &[0xed][..], &[0x66, 0xef][..]);
    assert_eq!(access(0x5f, read_byte), (Emulation::Done, 0));
    assert_eq!(access(0x60, read_byte), (hit.clone(), 1));
    assert_eq!(access(0x61, read_byte), (hit.clone(), 1));
    assert_eq!(access(0x62, read_byte), (Emulation::Done, 0));
    assert_eq!(access(0x5d, read_double), (hit.clone(), 1));
    assert_eq!(access(0x6f, write_word), (hit.clone(), 4));
    assert_eq!(access(0x73, write_word), (hit.clone(), 4));
    assert_eq!(access(0x80, write_word), (Emulation::Done, 0), "breakpoint 1 is for memory");
    assert_eq!(access(0xffff, read_byte), (Emulation::Done, 0));
    guest.cpu.set_control4(0);
    guest.cpu.registers_mut().rdx = 0x60;
    assert_eq!(guest.privileged(read_byte), Emulation::Done, "no breakpoint without debug extensions");
}

#[test]
fn a_repeated_port_access_stops_at_a_breakpoint_and_at_a_step() {
    let mut guest = Guest::new();
    guest.cpu.set_iopl(1);
    let reported = Emulation::Inject { vector: vectors::DEBUG, error_code: None };
    let outs = [0xf3, 0x6e];
    for (control, stepping, status) in [(0x0002_0401, 0, 1), (0x400, 0x100, SINGLE_STEP)] {
        guest.cpu.set_control4(1 << 3);
        for (register, value) in [(0, 0x60), (6, 0), (7, control)] {
            assert!(guest.cpu.set_debug_register(register, value));
        }
        let registers = guest.cpu.registers_mut();
        (registers.rsi, registers.rcx, registers.rdx) = (DATA << 12, 2, 0x60);
        registers.rflags = 0x202 | stepping;
        assert_eq!(guest.privileged(&outs), reported);
        let registers = guest.cpu.registers();
        assert_eq!((registers.rsi, registers.rcx), ((DATA << 12) + 1, 1));
        assert_eq!((guest.advance(), guest.cpu.debug_register(6) & 0x400f), (0, status));
        assert_eq!(guest.privileged(&outs), reported);
        assert_eq!((guest.cpu.registers().rcx, guest.advance()), (0, 2));
    }
    guest.cpu.registers_mut().rflags = 0x202;
    assert_eq!(guest.privileged(&outs), Emulation::Done, "a repetition with count zero");
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
fn instructions_that_are_not_emulated_are_refused() {
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
    // cli and sti need I/O privilege, and have no effect.
    assert_eq!(guest.privileged(&[0xfa]), Emulation::Refused);
    guest.cpu.set_iopl(1);
    assert_eq!(guest.privileged(&[0xfa]), Emulation::Done);
    assert_eq!(guest.privileged(&[0xfb]), Emulation::Done);
    // Ports need I/O privilege too. There are no devices.
    guest.cpu.registers_mut().rax = RAX_VALUE;
    assert_eq!(guest.privileged(&[0xe4, 0x80]), Emulation::Done, "in al, 0x80");
    assert_eq!(guest.cpu.registers().rax, RAX_VALUE | 0xff);
    assert_eq!(guest.privileged(&[0x66, 0xed]), Emulation::Done, "in ax, dx");
    assert_eq!(guest.cpu.registers().rax, RAX_VALUE | 0xffff);
    assert_eq!(guest.privileged(&[0xed]), Emulation::Done, "in eax, dx");
    assert_eq!(guest.cpu.registers().rax, 0xffff_ffff);
    assert_eq!(guest.privileged(&[0xef]), Emulation::Done, "out dx, eax");
    assert_eq!((guest.cpu.registers().rax, guest.advance()), (0xffff_ffff, 1));
    guest.cpu.registers_mut().rdi = 0;
    let fault = Emulation::Inject { vector: 14, error_code: Some(2) };
    assert_eq!(guest.privileged(&[0x6c]), fault, "insb to unmapped memory");
}

#[test]
fn user_mode_gets_only_dummy_values() {
    let mut guest = in_user_mode(Guest::new());
    for bytes in [&[0x0f, 0x32][..], &[0x0f, 0x20, 0xc0], &[0x0f, 0x09], &[0xfa], &[0x0f, 0xa2], &[0x0f, 0x06]] {
        assert_eq!(guest.privileged(bytes), Emulation::Refused);
    }
    assert_eq!(guest.page_table_write(&[0x48, 0x89, 0x37], entry_address(VICTIM)), Emulation::Refused);
    // sidt [rdi]
    guest.cpu.registers_mut().rdi = DATA << 12;
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0x0f]), Emulation::Done);
    let table: [u8; 10] = guest.cpu.read(GuestVirt::new(DATA << 12)).expect("data");
    assert_eq!(&table[..2], &[0, 0]);
    // smsw eax; sldt ax; an address that is not writable
    guest.cpu.registers_mut().rax = RAX_VALUE;
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0xe0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, 0x8005_0033);
    guest.cpu.registers_mut().rax = RAX_VALUE;
    assert_eq!(guest.privileged(&[0x66, 0x0f, 0x00, 0xc0]), Emulation::Done);
    assert_eq!(guest.cpu.registers().rax, RAX_VALUE & !0xffff);
    guest.cpu.registers_mut().rdi = TABLE << 12;
    let fault = Emulation::Inject { vector: vectors::PAGE_FAULT, error_code: Some(6) };
    assert_eq!(guest.privileged(&[0x0f, 0x01, 0x07]), fault);
}
