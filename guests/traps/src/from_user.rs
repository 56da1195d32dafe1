//! Traps from user mode, 64-bit and 32-bit.

use kernel::abi::arch_x86_64::segment_base;
use kernel::abi::xen::{vm_assist, vm_assist_command};
use kernel::call::{number, stack_switch};
use kernel::memory::{page, peek, poke};
use kernel::start::trap_stack_top;
use kernel::tables::{self, NX, READABLE, WRITABLE};
use kernel::trap::{self, CS32, CS64, Frame, SS, SYSCALL, Trap};
use kernel::user::{self, Space};
use kernel::{call, check, check_eq, say};

use crate::user_code::{self, CODE, DATA, NOTHING, READ_ONLY, STACK};

/// State common to all checks in user mode.
pub(crate) struct User {
    pub(crate) data: u64,
    /// Top of the stack for traps from user mode; deliberately not aligned.
    pub(crate) stack: u64,
}

impl User {
    pub(crate) fn new() -> Self {
        let (data, read_only) = (page(), page());
        let _ = Space::new(&[
            tables::entry_for(user_code::address(), READABLE),
            tables::entry_for(data, WRITABLE | NX),
            tables::entry_for(read_only, READABLE | NX),
        ]);
        let stack = trap_stack_top(0) - 40;
        stack_switch(stack);
        Self { data, stack }
    }

    /// Runs code at `offset` of the page; `change` may modify the frame.
    pub(crate) fn run(&self, offset: u64, change: impl FnOnce(&mut Frame)) -> Trap {
        let mut frame = user::frame(CODE + offset, STACK - 0x20);
        change(&mut frame);
        user::run(&frame)
    }

    /// Checks common to each trap from 64-bit user mode with events unmasked.
    pub(crate) fn due(&self, what: &str, trap: &Trap, vector: u64, error: u64, rip: u64) {
        let frame = &trap.frame;
        check_eq!(frame.vector, vector, "user {what}: vector");
        check_eq!(frame.error, error, "user {what}: error code");
        check_eq!(frame.rip, CODE + rip, "user {what}: RIP");
        check_eq!(frame.cs, CS64, "user {what}: CS");
        check_eq!(frame.ss, SS, "user {what}: SS");
        check_eq!(frame.rsp, STACK - 0x20, "user {what}: RSP");
        check_eq!(frame.rflags & 0x3200, 0x200, "user {what}: IF and IOPL");
        check_eq!(trap.mask, 1, "user {what}: mask in the handler");
        check_eq!(trap.top, self.stack & !15, "user {what}: the frame is on the kernel's stack");
    }
}

pub(crate) fn all() {
    let user = User::new();
    plain(&user);
    page_faults(&user);
    refused(&user);
    system_calls(&user);
    bases(&user);
    debug(&user);
    compat(&user);
    check_eq!(call!(number::VM_ASSIST, vm_assist_command::ENABLE, vm_assist::M2P_STRICT), 0, "strict M2P");
    // Xen 4.17 still allows reads in user mode; strictness must not remove the kernel's access to
    // the table.
    let user = User::new();
    let trap = user.run(0x80, |frame| frame.rdi = 0xffff_8000_0000_0000);
    check!(matches!(trap.frame.vector, 3 | 14), "user read of the strict M2P: {:#x}", trap.frame.vector);
    check!(peek::<u64>(0xffff_8000_0000_0000) > 0, "the kernel still reads the M2P");
    check_eq!(call!(number::VM_ASSIST, vm_assist_command::DISABLE, vm_assist::M2P_STRICT), 0, "M2P assist disabled");
}

fn plain(user: &User) {
    user.due("#UD", &user.run(0x40, |_| ()), 6, 0, 0x40);
    user.due("int 0x80", &user.run(0x50, |_| ()), 0x80, 0, 0x52);
    user.due("#BP", &user.run(0x60, |_| ()), 3, 0, 0x61);
    user.due("#DE", &user.run(0x70, |_| ()), 0, 0, 0x74);
    user.due(
        "#SS",
        &{
            let mut trap = user.run(0xb0, |frame| frame.rsp = 0x0000_9000_0000_0000);
            check_eq!(trap.frame.rsp, 0x0000_9000_0000_0000, "user #SS: RSP");
            trap.frame.rsp = STACK - 0x20;
            // QEMU's emulation raises #GP.
            check!(matches!(trap.frame.vector, 12 | 13), "user #SS: vector {}", trap.frame.vector);
            trap.frame.vector = 12;
            trap
        },
        12,
        0,
        0xb0,
    );
    user.due("#GP", &user.run(0x80, |frame| frame.rdi = 0x0000_8000_0000_0000), 13, 0, 0x80);
    user.due("#GP, selector", &user.run(0x118, |frame| frame.rdi = 0x4b), 13, 0x48, 0x118);
    call!(number::FPU_TASKSWITCH, 0u32);
}

fn page_faults(user: &User) {
    for (offset, address, error, what) in [
        (0x80, NOTHING + 5, 4, "read of nothing"),
        (0x90, NOTHING + 6, 6, "write to nothing"),
        (0x90, READ_ONLY + 7, 7, "write to a read-only page"),
        (0x80, 0xffff_ffff_8010_0000, 4, "read of the kernel"),
        (0x80, 0xffff_8300_0000_0000, 4, "read of the hypervisor"),
        (0x90, 0xffff_8000_0000_0000, 6, "write to the M2P"),
    ] {
        let trap = user.run(offset, |frame| frame.rdi = address);
        // The hypervisor's range may be mapped but inaccessible, or not mapped at all, while user
        // mode runs.
        let mut seen = trap;
        if (0xffff_8000_0000_0000..0xffff_8800_0000_0000).contains(&address) {
            seen.frame.error &= !1;
        }
        user.due(what, &seen, 14, error, offset);
        check_eq!(trap.cr2, address, "user {what}: CR2");
    }
    // User mode may read the M2P as long as the guest has not requested strictness.
    let trap = user.run(0x80, |frame| frame.rdi = 0xffff_8000_0000_0000);
    check!(matches!(trap.frame.vector, 3 | 14), "user read of the M2P: {:#x}", trap.frame.vector);
    for (address, error) in [(NOTHING, 0x14), (DATA, 0x15)] {
        let trap = user.run(0xa0, |frame| frame.rdi = address);
        user.due("execution", &trap, 14, error, address - CODE);
        check_eq!(trap.cr2, address, "user execution: CR2");
    }
    // Permitted accesses of user mode do not trap.
    poke(user.data, 0x5au8);
    let trap = user.run(0x80, |frame| frame.rdi = DATA);
    check_eq!((trap.frame.vector, trap.frame.rax & 0xff), (3, 0x5a), "user read of its data");
    let trap = user.run(0x90, |frame| {
        frame.rdi = DATA;
        frame.rax = 0x77;
    });
    check_eq!((trap.frame.vector, peek::<u8>(user.data)), (3, 0x77), "user write to its data");
}

fn refused(user: &User) {
    user.due("cli", &user.run(0xe0, |_| ()), 13, 0, 0xe0);
    user.due("hlt", &user.run(0xe8, |_| ()), 13, 0, 0xe8);
    user.due("in", &user.run(0xf0, |frame| frame.rdx = 0x80), 13, 0, 0xf0);
    user.due("mov from cr0", &user.run(0xf8, |_| ()), 13, 0, 0xf8);
    user.due("rdmsr", &user.run(0x120, |_| ()), 13, 0, 0x120);
    check_eq!(trap::set_table(&[trap::shared(0x81, 7), trap::shared(0x82, 5)]), 0, "trap table");
    let trap = user.run(0x100, |_| ());
    if trap.frame.vector == 13 {
        say!("int n has a wrong error code: not checked");
    } else {
        user.due("int 0x81", &trap, 0x81, 0, 0x102);
        user.due("int 0x82, for the kernel only", &user.run(0x108, |_| ()), 13, 0x82 * 8 + 2, 0x108);
    }
}

fn system_calls(user: &User) {
    let trap = user.run(0, |frame| {
        frame.rax = 0x1111;
        frame.rdi = 0x2222;
        frame.r9 = 0x3333;
        frame.rbx = 0x4444;
    });
    user.due("syscall", &trap, SYSCALL, 0, 2);
    check_eq!(trap.frame.rcx, CODE + 2, "user syscall: RCX is the return address");
    check_eq!(trap.frame.r11 & 0x202, 0x202, "user syscall: R11 is RFLAGS");
    check_eq!(
        (trap.frame.rax, trap.frame.rdi, trap.frame.r9, trap.frame.rbx),
        (0x1111, 0x2222, 0x3333, 0x4444),
        "user syscall: registers"
    );
    // Return on the slow path: RCX and R11 are those of the frame.
    let mut frame = trap.frame;
    frame.rcx = 0x5555;
    frame.r11 = 0x6666;
    frame.rax = 0x7777;
    frame.r15 = DATA;
    frame.error = 0;
    let again = user::run(&frame);
    check_eq!(peek::<[u64; 3]>(user.data), [0x5555, 0x6666, 0x7777], "return with all registers");
    check_eq!(again.frame.vector, SYSCALL, "the next system call");
    // Return on the fast path: RCX and R11 are RIP and RFLAGS; CS and SS of the frame are ignored.
    frame.error = 0x100;
    frame.cs = 3;
    frame.ss = 3;
    let again = user::run(&frame);
    let [rcx, r11, rax]: [u64; 3] = peek(user.data);
    check_eq!((rcx, rax), (CODE + 2, 0x7777), "return from a system call");
    check_eq!(r11 & 0x202, 0x202, "return from a system call: R11");
    check_eq!((again.frame.vector, again.frame.cs, again.frame.ss), (SYSCALL, CS64, SS), "the next system call");
    // The callback can leave events unmasked.
    check_eq!(trap::register_callback(2, 0, trap::entry(SYSCALL)), 0, "syscall without masking");
    check_eq!(user.run(0, |_| ()).mask, 0, "mask in the handler of a system call");
    check_eq!(trap::register_callback(2, 1, trap::entry(SYSCALL)), 0, "syscall with masking");
    kernel::memory::vcpu_info(0).set_mask(1);
}

/// Kernel and user mode share FS; GS has a base for each.
fn bases(user: &User) {
    let set =
        |which: u32, base: u64| check_eq!(call!(number::SET_SEGMENT_BASE, which, base), 0, "segment base {which}");
    let cell = page();
    poke(cell, 0xaaaau64);
    poke(user.data, [0xbbbbu64, 0xcccc]);
    set(segment_base::FS, DATA + 8);
    set(segment_base::GS_USER, DATA);
    set(segment_base::GS_KERNEL, cell);
    let trap = user.run(0xc0, |_| ());
    check_eq!((trap.frame.vector, trap.frame.rax, trap.frame.rbx), (3, 0xbbbb, 0xcccc), "user through GS and FS");
    let gs: u64;
    // SAFETY: reads the cell.
    unsafe { core::arch::asm!("mov {}, gs:[0]", out(reg) gs) };
    check_eq!(gs, 0xaaaa, "kernel through GS");
    set(segment_base::FS, 0);
    set(segment_base::GS_USER, 0);
    set(segment_base::GS_KERNEL, 0);
}

fn debug(user: &User) {
    call!(number::SET_DEBUGREG, 6u32, 0xffff_0ff0u64);
    let trap = user.run(0x110, |frame| frame.rflags |= 0x100);
    user.due("#DB, single step", &trap, 1, 0, 0x111);
    check_eq!(call!(number::GET_DEBUGREG, 6u32) as u64 & 0x400f, 0x4000, "DR6 reports single step");
    call!(number::SET_DEBUGREG, 6u32, 0xffff_0ff0u64);
    call!(number::SET_DEBUGREG, 0u32, CODE + 0x112);
    call!(number::SET_DEBUGREG, 7u32, 0x401u64);
    let trap = user.run(0x110, |_| ());
    user.due("#DB, breakpoint", &trap, 1, 0, 0x112);
    check_eq!(call!(number::GET_DEBUGREG, 6u32) as u64 & 0x400f, 1, "DR6 reports breakpoint 0");
    call!(number::SET_DEBUGREG, 7u32, 0x400u64);
    call!(number::SET_DEBUGREG, 0u32, 0u64);
    call!(number::SET_DEBUGREG, 6u32, 0xffff_0ff0u64);
}

fn compat(user: &User) {
    let run = |offset: u64, change: &dyn Fn(&mut Frame)| {
        user.run(offset, |frame| {
            frame.cs = CS32;
            change(frame);
        })
    };
    let due = |what: &str, trap: &Trap, vector: u64, error: u64, rip: u64| {
        let mut seen = *trap;
        check_eq!(seen.frame.cs, CS32, "32-bit {what}: CS");
        seen.frame.cs = CS64;
        user.due(what, &seen, vector, error, rip);
    };
    due("int 0x80", &run(0x200, &|_| ()), 0x80, 0, 0x202);
    due("into", &run(0x210, &|frame| frame.rflags |= 0x800), 4, 0, 0x211);
    poke(user.data, [5i32, 10]);
    due(
        "bound",
        &run(0x220, &|frame| {
            frame.rax = 11;
            frame.rdi = DATA;
        }),
        5,
        0,
        0x220,
    );
    let trap = run(0x250, &|frame| frame.rdi = NOTHING);
    due("#PF", &trap, 14, 4, 0x250);
    check_eq!(trap.cr2, NOTHING, "32-bit #PF: CR2");
    let trap = run(0x270, &|frame| frame.rax = 0x1234_5678);
    check_eq!((trap.frame.vector, trap.frame.rcx), (3, 0x1234_5678), "32-bit code runs");
}
