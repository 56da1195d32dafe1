//! Opcodes: arbitrary bytes in user mode, since any trap returns to the kernel; in kernel mode,
//! those that the hypervisor decodes.

use kernel::call::number;
use kernel::memory::{page, poke, vcpu_info};
use kernel::start::trap_stack_top;
use kernel::tables::{self, NX, READABLE, WRITABLE};
use kernel::trap::{self, CS32, CS64};
use kernel::user::{self, BASE, Space};
use kernel::{call, say, time};

use crate::random::Random;

const SLICE: u64 = 2_000_000;
const IRET: u8 = 0xcf;
/// Bit of the flags.
const VIRTUAL_8086: u64 = 1 << 17;
/// Start of the user-mode stack.
const STACK: u64 = 0x800;

pub(crate) fn user(random: &mut Random) {
    let (code, data) = (page(), page());
    let _ = Space::new(&[tables::entry_for(code, READABLE), tables::entry_for(data, WRITABLE | NX)]);
    kernel::call::stack_switch(trap_stack_top(0));
    let mut vectors = [0u32; 0x110];
    // A timer event ends loops; its port must be unmasked.
    let port = crate::channels::timer();
    let mut run = |random: &mut Random, bytes: &[u8]| {
        for at in 0..64u64 {
            poke(code + at, bytes.get(at as usize).copied().unwrap_or(0xcc));
        }
        let mut frame = user::frame(BASE, BASE + 0x1000 + STACK);
        let cs = if random.below(4) == 0 { CS32 } else { CS64 };
        frame.cs = cs;
        for register in [
            &mut frame.rax,
            &mut frame.rbx,
            &mut frame.rcx,
            &mut frame.rdx,
            &mut frame.rsi,
            &mut frame.rdi,
            &mut frame.rbp,
        ] {
            *register = if random.below(2) == 0 { BASE + 0x1000 + random.below(0xf00) } else { random.nasty() };
        }
        // TF, AC, ID and the arithmetic flags, never IF.
        frame.rflags = 0x202 | random.next() & 0x24_0cd5 & !0x100;
        // The timer ends an endless loop. The previous timer is stopped first: if it fired between
        // the clearing steps, its event and the next one would be lost.
        let _ = call!(number::SET_TIMER_OP, 0u64);
        crate::channels::clear(port);
        let _ = call!(number::SET_TIMER_OP, time::now() + SLICE);
        let trap = user::run(&frame);
        vcpu_info(0).set_pending(0);
        vcpu_info(0).set_mask(1);
        vectors[trap.frame.vector as usize] += 1;
    };
    for first in 0..=255u8 {
        for prefix in [&[][..], &[0x0f][..], &[0x66][..], &[0xf3, 0x0f], &[0xf2, 0x0f], &[0x48], &[0x48, 0x0f]] {
            let mut bytes = random_bytes(random);
            bytes[..prefix.len()].copy_from_slice(prefix);
            bytes[prefix.len()] = first;
            run(random, &bytes.map(without_iret));
        }
    }
    for _ in 0..3000 {
        let bytes = random_bytes(random);
        run(random, &bytes.map(without_iret));
    }
    for _ in 0..300 {
        let selector = match random.below(3) {
            0 => CS64,
            1 => CS32,
            _ => random.next() & 0xffff,
        };
        let frame =
            [BASE + 8, selector, random.next() & !VIRTUAL_8086, BASE + 0x1000 + random.below(0x1000), random.nasty()];
        let (prefix, width) = [(0x66, 2), (0x90, 4), (0x48, 8)][random.below(3) as usize];
        for (index, word) in (0..).zip(frame) {
            for (at, byte) in (0..width).zip(word.to_le_bytes()) {
                poke(data + STACK + index * width + at, byte);
            }
        }
        run(random, &[prefix, IRET]);
    }
    crate::channels::close(port);
    let _ = call!(number::FPU_TASKSWITCH, 0u32);
    let kinds = vectors.iter().filter(|&&count| count != 0).count();
    say!("user mode: {kinds} kinds of trap, {} events", vectors[trap::EVENT as usize]);
}

fn random_bytes(random: &mut Random) -> [u8; 15] {
    core::array::from_fn(|_| random.next() as u8)
}

/// Replaces IRET in random bytes. Under QEMU's emulation, an IRET with VM in its flags enters
/// virtual-8086 mode even in long mode, which no hypervisor can survive.
const fn without_iret(byte: u8) -> u8 {
    if byte == IRET { 0xcc } else { byte }
}

/// Privileged opcodes with random prefixes and operands, in kernel mode, with registers that point
/// to a scratch page.
pub(crate) fn kernel(random: &mut Random) {
    const OPCODES: [&[u8]; 26] = [
        &[0x0f, 0x00],
        &[0x0f, 0x01],
        &[0x0f, 0x06],
        &[0x0f, 0x08],
        &[0x0f, 0x09],
        &[0x0f, 0x20],
        &[0x0f, 0x21],
        &[0x0f, 0x23],
        &[0x0f, 0x32],
        &[0x0f, 0x30],
        &[0x0f, 0x33],
        &[0x0f, 0x31],
        &[0x0f, 0xc7],
        &[0x0f, 0xae],
        &[0x0f, 0x78],
        &[0x0f, 0x0b],
        &[0xe4],
        &[0xe6],
        &[0xec],
        &[0xee],
        &[0x6c],
        &[0x6e],
        &[0x6f],
        &[0xfa],
        &[0xf4],
        &[0x0f, 0x02],
    ];
    // Not 0x41: R8 to R15 contain the return state.
    const PREFIXES: [u8; 9] = [0x66, 0x67, 0xf2, 0xf3, 0x2e, 0x36, 0x48, 0x4c, 0xf0];
    let (code, data) = (page(), page());
    let mut trapped = 0;
    for _ in 0..6000 {
        let mut bytes = [0x90u8; 32];
        let mut at = 0;
        while at < 4 && random.below(2) == 0 {
            bytes[at] = PREFIXES[random.below(PREFIXES.len() as u64) as usize];
            at += 1;
        }
        let opcode = OPCODES[random.below(OPCODES.len() as u64) as usize];
        bytes[at..at + opcode.len()].copy_from_slice(opcode);
        at += opcode.len();
        // Register forms, or memory through RAX, RCX, RDX, RBX, RSI, RDI; never RSP, RBP or a
        // displacement.
        let rm = [0u8, 1, 2, 3, 6, 7][random.below(6) as usize];
        let register = (random.below(8) as u8) << 3;
        let form = if random.below(2) == 0 { 0xc0 } else { 0 };
        // Only if an operand follows: alone the byte could be a return.
        let operand =
            matches!(opcode, [0x0f, 0x00 | 0x01 | 0x02 | 0x20 | 0x21 | 0x23 | 0xc7 | 0xae | 0x78] | [0xe4 | 0xe6]);
        bytes[at] = if operand { form | register | rm } else { 0x90 };
        // Instructions that would change the machine, or this kernel's address space, are excluded.
        if !harmless(&bytes[..=at]) {
            continue;
        }
        bytes[30] = 0x0f;
        bytes[31] = 0x0b;
        poke(code, bytes);
        let value =
            |random: &mut Random| if random.below(2) == 0 { data + random.below(0xf00) } else { random.nasty() };
        let words = [value(random), value(random), value(random), value(random), value(random)];
        trapped += u32::from(run_in_kernel(code, words));
    }
    // Restores segment bases and debug registers.
    for which in 0..3u32 {
        let _ = call!(number::SET_SEGMENT_BASE, which, 0u64);
    }
    let _ = call!(number::SET_DEBUGREG, 7u32, 0x400u64);
    let _ = call!(number::FPU_TASKSWITCH, 0u32);
    say!("kernel mode: {trapped} of 6000 trapped");
}

/// Excludes MOV to CR3, forms that change RSP, XRSTOR, LDMXCSR, and segment-base writes that the
/// following code needs.
fn harmless(bytes: &[u8]) -> bool {
    let at = bytes
        .iter()
        .position(|byte| !matches!(byte, 0x66 | 0x67 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x48 | 0x41 | 0x4c | 0xf0))
        .unwrap_or(0);
    !matches!(bytes[at..], [0x0f, 0xae, ..])
}

/// Runs the code with RAX, RCX, RDX, RSI, RDI set. Returns whether anything except the final `ud2`
/// trapped, including a debug trap.
fn run_in_kernel(code: u64, words: [u64; 5]) -> bool {
    let before = trap::count();
    // SAFETY: by convention (crate documentation); the trap resumes at the label with the stack
    // pointer from R15, and all other registers are declared.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "push rbp",
            "lea r14, [rip + 3f]",
            "mov [r8], r14",
            "mov r15, rsp",
            "mov rbx, r10",
            "jmp r9",
            "3:",
            "mov rsp, r15",
            "cld",
            "pop rbp",
            "pop rbx",
            inout("rax") words[0] => _,
            inout("rcx") words[1] => _,
            inout("rdx") words[2] => _,
            inout("rsi") words[3] => _,
            inout("rdi") words[4] => _,
            out("r14") _,
            out("r15") _,
            inout("r8") trap::resume_slot() => _,
            inout("r9") code => _,
            inout("r10") words[0] & 0x7fff_ffff => _,
            out("r11") _,
            out("r12") _,
            out("r13") _,
        );
    }
    trap::taken(before).is_some_and(|trap| trap.frame.rip != code + 30)
}
