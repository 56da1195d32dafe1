//! #DB: single step, breakpoints, watchpoints, from kernel mode.

use kernel::call::number;
use kernel::memory::{page, poke};
use kernel::{attempt, call, check, check_eq, say};

use crate::Due;

fn set(register: u32, value: u64) {
    check_eq!(call!(number::SET_DEBUGREG, register, value), 0, "set_debugreg {register} to {value:#x}");
}

fn status() -> u64 {
    call!(number::GET_DEBUGREG, 6u32) as u64
}

pub(crate) fn all() {
    set(6, 0xffff_0ff0);
    let trap = attempt!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop");
    Due::fault(1, 0, 0).check("#DB, single step", trap);
    check_eq!(trap.map(|trap| trap.frame.rflags >> 8 & 1), Some(1), "TF is in the frame");
    check_eq!(status() & 0x400f, 0x4000, "DR6 reports single step");
    set(6, 0xffff_0ff0);
    check_eq!(status() & 0x400f, 0, "DR6 can be cleared");
    let cell = page();
    set(0, cell);
    // A write watchpoint of four bytes: a trap after the instruction.
    set(7, 0x000d_0401);
    let trap = attempt!("mov dword ptr [{at}], 1"; at = in(reg) cell);
    Due::fault(1, 0, 0).check("#DB, watchpoint", trap);
    check_eq!(status() & 0xf, 1, "DR6 reports breakpoint 0");
    check!(attempt!("mov ecx, [{at}]"; at = in(reg) cell, out("ecx") _).is_none(), "a read does not match");
    set(6, 0xffff_0ff0);
    set(7, 0x400);
    poke(cell, 0u32);
    check!(attempt!("mov dword ptr [{at}], 1"; at = in(reg) cell).is_none(), "switched off");
    set(0, 0);
    // `int1` is a trap like a breakpoint, unless the emulator does not support it.
    match attempt!(".byte 0xf1") {
        Some(trap) if trap.frame.vector == 6 => say!("no int1"),
        trap => Due::fault(1, 0, 0).check("#DB, int1", trap),
    }
    set(6, 0xffff_0ff0);
}
