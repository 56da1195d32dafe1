//! Traps from kernel mode.

use core::arch::asm;

use kernel::abi::arch_x86_64::TrapInfo;
use kernel::call::number;
use kernel::memory::{mfn_of, page, poke, vcpu_info};
use kernel::tables::{self, NX, READABLE, WRITABLE};
use kernel::trap::{self, Trap};
use kernel::{attempt, call, check, check_eq, say};

use crate::Due;

const UNMAPPED: u64 = 0x10_0000;
const NONCANONICAL: u64 = 0x0000_8000_0000_0000;

pub(crate) fn all() {
    arithmetic();
    invalid();
    page_faults();
    segments();
    software_interrupts();
    masks();
    registers();
    native_iret();
    odd_flags();
}

fn arithmetic() {
    let trap = attempt!("div {zero:e}"; zero = in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _);
    Due::fault(0, 0, 2).check("#DE", trap);
    // #NM is raised by the task-switch flag and clears it.
    check_eq!(call!(number::FPU_TASKSWITCH, 1u32), 0, "fpu_taskswitch");
    Due::fault(7, 0, 2).check("#NM", attempt!("fninit"));
    check!(attempt!("fninit").is_none(), "the trap has cleared TS");
    let control: u16 = 0x37b;
    let trap =
        attempt!("fninit", "fldcw [{control}]", "fld1", "fldz", "fdivp st(1), st", "fwait"; control = in(reg) &control);
    Due::fault(16, 0, 1).check("#MF", trap);
    check!(attempt!("fninit").is_none(), "the FPU is reset");
    let mxcsr: u32 = 0x1d80;
    let trap = attempt!("ldmxcsr [{mxcsr}]", "xorps xmm1, xmm1", "sqrtss xmm0, [{minus}]";
        mxcsr = in(reg) &mxcsr, minus = in(reg) &(-1.0f32).to_bits());
    // QEMU's emulation has no SSE exceptions.
    match trap {
        None => say!("no #XM"),
        Some(seen) => Due::fault(19, 0, seen.resume - seen.frame.rip).check("#XM", trap),
    }
    let mxcsr: u32 = 0x1f80;
    check!(attempt!("ldmxcsr [{mxcsr}]"; mxcsr = in(reg) &mxcsr).is_none(), "the SSE unit is reset");
    // Alignment checks: an emulator may not implement them.
    let cell = page();
    let trap = attempt!("pushfq", "or qword ptr [rsp], 0x40000", "popfq", "mov eax, [{at} + 1]"; at = in(reg) cell, out("eax") _);
    // SAFETY: clears AC.
    unsafe { asm!("pushfq", "and qword ptr [rsp], ~0x40000", "popfq") };
    match trap {
        None => say!("no alignment checks"),
        Some(seen) => Due::fault(17, 0, seen.resume - seen.frame.rip).check("#AC", trap),
    }
}

fn invalid() {
    Due::fault(6, 0, 2).check("#UD", attempt!("ud2"));
    Due::fault(6, 0, 4).check("#UD, rsm behind prefixes", attempt!(".byte 0x66, 0x66, 0x0f, 0xaa"));
    Due::fault(3, 0, 0).check("#BP", attempt!("int3"));
    Due::fault(3, 0, 0).check("#BP by int 3", attempt!(".byte 0xcd, 3"));
    Due::fault(4, 0, 0).check("#OF by int 4", attempt!("int 4"));
    Due::fault(13, 0, 3).check(
        "#GP, non-canonical",
        attempt!("mov al, [rcx + 0]"; inout("rcx") NONCANONICAL => _, out("al") _).map(length_of_mov),
    );
}

/// The assembler may drop the zero displacement: adapts to the encoding that it chose.
fn length_of_mov(mut trap: Trap) -> Trap {
    if trap.resume - trap.frame.rip == 2 {
        trap.resume += 1;
    }
    trap
}

fn page_faults() {
    let cell = page();
    let fault = |what: &str, trap: Option<Trap>, error: u64, address: u64| {
        let back = trap.map_or(0, |trap| trap.resume - trap.frame.rip);
        Due::fault(14, error, back).check(what, trap);
        check_eq!(trap.map(|trap| trap.cr2), Some(address), "{what}: CR2");
    };
    let read = |at: u64| attempt!("mov cl, [{at}]"; at = in(reg) at, out("cl") _);
    let write = |at: u64| attempt!("mov byte ptr [{at}], 1"; at = in(reg) at);
    fault("#PF, read of nothing", read(UNMAPPED + 0x123), 0, UNMAPPED + 0x123);
    fault("#PF, write to nothing", write(UNMAPPED + 0x124), 2, UNMAPPED + 0x124);
    tables::protect(cell);
    check!(read(cell).is_none(), "a read-only page is readable");
    fault("#PF, write to a read-only page", write(cell + 8), 3, cell + 8);
    check_eq!(tables::update_va(cell, tables::entry_for(cell, READABLE | NX), 2), 0, "no execution");
    execution(cell, 0x11);
    execution(UNMAPPED, 0x10);
    check_eq!(tables::update_va(cell, tables::entry_for(cell, WRITABLE), 2), 0, "writable again");
    check!(write(cell).is_none(), "a writable page is writable");
    // The hypervisor's range may be mapped but inaccessible, or not mapped at all.
    let trap = read(0xffff_8300_0000_0000).map(|mut trap| {
        trap.frame.error &= !1;
        trap
    });
    fault("#PF, read of the hypervisor", trap, 0, 0xffff_8300_0000_0000);
    fault("#PF, write to the M2P", write(0xffff_8000_0000_0000), 3, 0xffff_8000_0000_0000);
}

/// A jump to an address that is not executable: the frame's RIP is the target.
fn execution(target: u64, error: u64) {
    let trap = attempt!("jmp {at}"; at = in(reg) target);
    check!(
        trap.is_some_and(|trap| trap.frame.vector == 14
            && trap.frame.error == error
            && trap.frame.rip == target
            && trap.cr2 == target),
        "#PF, execution at {target:#x}: {trap:x?}"
    );
}

fn segments() {
    let load = |selector: u64| attempt!("mov es, {selector:e}"; selector = in(reg) selector);
    Due::fault(13, 0x48, 2).check("#GP, selector of an empty descriptor", load(0x4b).map(shorten));
    Due::fault(13, 0xffe4, 2).check("#GP, selector beyond the GDT", load(0xffe7).map(shorten));
    Due::fault(13, 0x1c, 2).check("#GP, selector of a nonexistent LDT", load(0x1f).map(shorten));
    // Not present.
    let (gdt, list) = (page(), page());
    poke(gdt + 0x50, 0x00cf_7200_0000_ffffu64);
    tables::protect(gdt);
    poke(list, mfn_of(gdt));
    check_eq!(call!(number::SET_GDT, list, 512u32), 0, "set_gdt");
    Due::fault(11, 0x50, 2).check("#NP", load(0x53).map(shorten));
    check_eq!(call!(number::SET_GDT, list, 0u32), 0, "set_gdt, none");
    check!(load(0).is_none(), "a null selector");
}

/// `mov es, r32` has two bytes, or three with a high register.
fn shorten(mut trap: Trap) -> Trap {
    if trap.resume - trap.frame.rip == 3 {
        trap.resume -= 1;
    }
    trap
}

fn software_interrupts() {
    Due::fault(0x80, 0, 0).check("int 0x80", attempt!("int 0x80"));
    // QEMU before version 8 reports a wrong error code for `int n`; a hypervisor that trusts it
    // uses the wrong vector.
    check_eq!(trap::set_table(&[trap::shared(0x81, 7), trap::shared(0x82, 5), trap::shared(0x83, 4)]), 0, "trap table");
    let trap = attempt!("int 0x81");
    if trap.is_some_and(|trap| trap.frame.vector == 13) {
        say!("int n has a wrong error code: not checked");
        return;
    }
    Due::fault(0x81, 0, 0).check("int 0x81", trap);
    Due::fault(0x82, 0, 0).check("int 0x82, for the kernel only", attempt!("int 0x82"));
    Due::fault(13, 0x83 * 8 + 2, 2).check("int 0x83, not for guests", attempt!("int 0x83"));
    Due::fault(13, 2 * 8 + 2, 2).check("int 2, not for guests", attempt!("int 2"));
}

/// The trap table selects masking on entry, and the return restores the mask.
fn masks() {
    let info = vcpu_info(0);
    let open = TrapInfo { flags: 0, ..trap::shared(6, 0) };
    for (flags, before, inside) in [(4u8, 0u8, 1u8), (4, 1, 1), (0, 0, 0), (0, 1, 1)] {
        check_eq!(trap::set_table(&[TrapInfo { flags, ..open }]), 0, "trap table");
        info.set_mask(before);
        let trap = attempt!("ud2");
        let after = info.mask();
        info.set_mask(1);
        let due = Due { vector: 6, error: 0, back: 2, mask: before, masked: inside };
        due.check("#UD with and without masking", trap);
        check_eq!(after, before, "the mask after the return (flags {flags}, before {before})");
    }
    check_eq!(trap::set_table(&[trap::shared(6, 4)]), 0, "trap table");
}

/// A trap preserves all registers.
fn registers() {
    let wrong: u64;
    // SAFETY: the trap resumes after `ud2`; every register that the block changes is declared.
    unsafe {
        asm!(
            "lea r14, [rip + 3f]",
            "mov [{slot}], r14",
            "push rbx",
            "push rbp",
            "mov rax, 1", "mov rbx, 2", "mov rcx, 3", "mov rdx, 4", "mov rsi, 5", "mov rdi, 6", "mov rbp, 7",
            "mov r8, 8", "mov r9, 9", "mov r10, 10", "mov r11, 11", "mov r12, 12", "mov r13, 13", "mov r15, 15",
            "ud2",
            "3:",
            "xor rax, 1", "xor rbx, 2", "xor rcx, 3", "xor rdx, 4", "xor rsi, 5", "xor rdi, 6", "xor rbp, 7",
            "xor r8, 8", "xor r9, 9", "xor r10, 10", "xor r11, 11", "xor r12, 12", "xor r13, 13", "xor r15, 15",
            "or rax, rbx", "or rax, rcx", "or rax, rdx", "or rax, rsi", "or rax, rdi", "or rax, rbp", "or rax, r8",
            "or rax, r9", "or rax, r10", "or rax, r11", "or rax, r12", "or rax, r13", "or rax, r15",
            "pop rbp",
            "pop rbx",
            slot = in(reg) trap::resume_slot(),
            out("rax") wrong,
            out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    check_eq!(wrong, 0, "registers that changed over a trap, by value");
}

/// The kernel may also return to itself with IRETQ, using the selector that is really loaded.
fn native_iret() {
    let done: u64;
    // SAFETY: returns to the label that follows, with the same stack.
    unsafe {
        asm!(
            "mov {done}, rsp",
            "push 0xe02b",
            "push {done}",
            "pushfq",
            "push 0xe033",
            "lea {done}, [rip + 3f]",
            "push {done}",
            "iretq",
            "3:",
            "mov {done}, 1",
            done = out(reg) done,
        );
    }
    check_eq!(done, 1, "iretq from kernel to kernel");
}

/// Nested task, direction and alignment check are set: they are preserved over an entry into the
/// hypervisor, and the handler starts without the first and the last of them.
fn odd_flags() {
    // The handler must handle the direction flag itself, so it is omitted here.
    let trap = attempt!("pushfq", "or qword ptr [rsp], 0x44000", "popfq", "mov al, [{at}]"; at = in(reg) UNMAPPED, out("al") _);
    let handler = flags_without_odd_ones();
    check_eq!(handler & 0x4000, 0, "NT is not restored from the frame's flags");
    check!(trap.is_some_and(|seen| seen.frame.vector == 14 && seen.cr2 == UNMAPPED), "#PF with odd flags");
    let version: u64;
    // SAFETY: a hypercall without effect; the flags are restored after it.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], 0x44400",
            "popfq",
            "syscall",
            inlateout("rax") u64::from(number::XEN_VERSION) => version,
            inlateout("rdi") 0u64 => _,
            inlateout("rsi") 0u64 => _,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    flags_without_odd_ones();
    check!(version >> 16 >= 4 && version >> 32 == 0, "a hypercall with odd flags: {version:#x}");
}

/// Clears them and returns the former flags.
fn flags_without_odd_ones() -> u64 {
    let flags: u64;
    // SAFETY: sets flags to what Rust code expects.
    unsafe { asm!("pushfq", "mov {flags}, [rsp]", "and qword ptr [rsp], ~0x44400", "popfq", flags = out(reg) flags) };
    flags
}
