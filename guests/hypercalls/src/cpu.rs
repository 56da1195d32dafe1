//! Calls that set state of the vCPU: traps, callbacks, stacks, descriptors, segments, debug
//! registers, NMI.

use kernel::abi::arch_x86_64::{FIRST_RESERVED_GDT_ENTRY, TrapInfo, segment_base};
use kernel::abi::callback::{self, kind};
use kernel::abi::nmi;
use kernel::abi::xen::{vm_assist, vm_assist_command};
use kernel::call::{error, number};
use kernel::memory::{machine_of, mfn_of, page, pages, peek, poke, zeroed};
use kernel::trap::{self, CS64, SYSCALL};
use kernel::{attempt, call, check, check_eq, tables};

use crate::faults;

const KERNEL_GS_BASE: u32 = 0xc000_0102;
const NONCANONICAL: u64 = 0x0000_8000_0000_0000;

pub(crate) fn all() {
    trap_table();
    callbacks();
    // On the fast paths of the entry code, and on the slow paths while those are disabled.
    for command in [vm_assist_command::ENABLE, vm_assist_command::DISABLE] {
        check_eq!(
            call!(number::VM_ASSIST, command, vm_assist::ARCHITECTURAL_IOPL),
            0,
            "vm_assist switches the fast paths"
        );
        stack_and_fpu();
        segments();
    }
    descriptors();
    debug_registers();
    nmi();
}

fn trap_table() {
    faults("set_trap_table", |bad| call!(number::SET_TRAP_TABLE, bad));
    let entry = TrapInfo { address: NONCANONICAL, ..trap::shared(200, 4) };
    check_eq!(trap::set_table(&[entry]), error::EINVAL, "a handler at a non-canonical address");
    check_eq!(trap::set_table(&[trap::shared(200, 4)]), 0, "one vector");
    check_eq!(trap::set_table(&[]), 0, "no vector");
    // The selector need not have RPL 3: the hypervisor sets it.
    let entry = TrapInfo { code_selector: (CS64 & !3) as u16, ..trap::shared(3, 7) };
    check_eq!(trap::set_table(&[entry]), 0, "a handler's selector without RPL");
    let trap = attempt!("int3");
    check!(trap.is_some_and(|trap| trap.frame.vector == 3), "the vector works: {trap:x?}");
    // The same vector many times: 1024 entries.
    let list = pages(5);
    for at in 0..1024 {
        poke(list + at * 16, trap::shared(3, 7));
    }
    check_eq!(call!(number::SET_TRAP_TABLE, list), 0, "1024 entries");
    check_eq!(call!(number::SET_TRAP_TABLE, list + 1024 * 16 - 8), 0, "an entry that starts in the middle of another");
    check_eq!(trap::set_table(&[trap::shared(3, 7)]), 0, "the vector as it was");
}

fn callbacks() {
    let (event, failsafe, syscall) = (trap::entry(trap::EVENT), trap::entry(trap::FAILSAFE), trap::entry(SYSCALL));
    let set = |a, b, c| call!(number::SET_CALLBACKS, a, b, c);
    check_eq!(set(event, failsafe, syscall), 0, "set_callbacks");
    // The old call cannot report which of the three addresses was invalid, and returns 0. The
    // former address is kept.
    check_eq!(set(NONCANONICAL, failsafe, syscall), 0, "set_callbacks, event non-canonical");
    for (kind, name) in [
        (kind::EVENT, "event"),
        (kind::FAILSAFE, "failsafe"),
        (kind::SYSCALL, "syscall"),
        (kind::NMI, "nmi"),
        (kind::SYSENTER, "sysenter"),
        (kind::SYSCALL32, "syscall32"),
    ] {
        check_eq!(trap::register_callback(kind, 0, event), 0, "register {name}");
        check_eq!(trap::register_callback(kind, 0, NONCANONICAL), error::EINVAL, "register {name}, non-canonical");
        let unregister = callback::Unregister { kind, ..zeroed() };
        let due = if matches!(kind, kind::NMI) { 0 } else { error::EINVAL };
        let result = call!(number::CALLBACK_OP, callback::op::UNREGISTER, &unregister);
        check_eq!(result, due, "unregister {name}");
    }
    for kind in [kind::SYSENTER_DEPRECATED, 6, 8, 0xffff] {
        check_eq!(trap::register_callback(kind, 0, event), error::ENOSYS, "register kind {kind}");
        let unregister = callback::Unregister { kind, ..zeroed() };
        let result = call!(number::CALLBACK_OP, callback::op::UNREGISTER, &unregister);
        check_eq!(result, error::ENOSYS, "unregister kind {kind}");
    }
    faults("callback_op register", |bad| call!(number::CALLBACK_OP, callback::op::REGISTER, bad));
    faults("callback_op unregister", |bad| call!(number::CALLBACK_OP, callback::op::UNREGISTER, bad));
    check_eq!(call!(number::CALLBACK_OP, 2u32, page()), error::ENOSYS, "callback_op, unknown sub-operation");
    check_eq!(trap::register_callback(kind::FAILSAFE, 0, failsafe), 0, "failsafe as it was");
    check_eq!(trap::register_callback(kind::SYSCALL, 1, syscall), 0, "syscall as it was");
}

fn stack_and_fpu() {
    let top = kernel::start::trap_stack_top(0);
    check_eq!(call!(number::STACK_SWITCH, 0xe02bu32, top), 0, "stack_switch");
    check_eq!(call!(number::STACK_SWITCH, 0u32, top), 0, "stack_switch with a null selector");
    check_eq!(call!(number::STACK_SWITCH, 0xe02bu32, NONCANONICAL), 0, "stack_switch takes any address");
    kernel::call::stack_switch(top);
    check_eq!(call!(number::FPU_TASKSWITCH, 1u32), 0, "fpu_taskswitch sets TS");
    let trap = attempt!("fninit");
    check!(trap.is_some_and(|trap| trap.frame.vector == 7), "an FPU instruction traps: {trap:x?}");
    check_eq!(call!(number::FPU_TASKSWITCH, 0u32), 0, "fpu_taskswitch clears TS");
    check!(attempt!("fninit").is_none(), "an FPU instruction runs");
}

fn segments() {
    let set = |which: u32, base: u64| call!(number::SET_SEGMENT_BASE, which, base);
    let cell = page();
    poke(cell, 0x1122_3344_5566_7788u64);
    for which in [segment_base::FS, segment_base::GS_USER, segment_base::GS_KERNEL] {
        check_eq!(set(which, cell), 0, "segment base {which}");
        check_eq!(set(which, NONCANONICAL), error::EINVAL, "segment base {which}, non-canonical");
        check_eq!(set(which, 0), 0, "segment base {which}, zero");
    }
    // An odd address distinguishes a base that was kept from one that was set.
    for base in [cell + 1, NONCANONICAL - 1, !NONCANONICAL + 1, u64::MAX] {
        check_eq!(set(segment_base::GS_USER, base), 0, "GS base of the user, {base:#x}");
        check_eq!(set(segment_base::GS_USER, NONCANONICAL), error::EINVAL, "GS base of the user, non-canonical");
        let (low, high): (u64, u64);
        let trap = attempt!("rdmsr"; in("ecx") KERNEL_GS_BASE, out("eax") low, out("edx") high);
        check!(trap.is_none(), "rdmsr of the GS base of the user");
        check_eq!(high << 32 | low & 0xffff_ffff, base, "the GS base of the user");
    }
    set(segment_base::GS_USER, 0);
    let (fs, gs): (u64, u64);
    set(segment_base::FS, cell);
    set(segment_base::GS_KERNEL, cell);
    // SAFETY: reads the cell.
    unsafe { core::arch::asm!("mov {}, fs:[0]", "mov {}, gs:[0]", out(reg) fs, out(reg) gs) };
    check_eq!(fs, 0x1122_3344_5566_7788, "through FS");
    check_eq!(gs, 0x1122_3344_5566_7788, "through GS");
    set(segment_base::FS, 0);
    set(segment_base::GS_KERNEL, 0);
    check_eq!(set(segment_base::GS_USER_SEL, 0), 0, "GS selector of the user, null");
    check_eq!(set(segment_base::GS_USER_SEL, 0xe02b), 0, "GS selector of the user");
    // A selector that cannot be loaded is replaced by null without an error.
    check_eq!(set(segment_base::GS_USER_SEL, 0x4b), 0, "GS selector of the user that cannot be loaded");
    check_eq!(set(4, 0), error::EINVAL, "unknown segment");
    check_eq!(set(u32::MAX, 0), error::EINVAL, "unknown segment");
}

/// A present, writable, ring-3, byte-granular data segment of 16 bytes at `base`.
fn data_segment(base: u64) -> u64 {
    0x0000_f200_0000_000f | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56
}

fn descriptors() {
    let set = |list: u64, entries: u32| call!(number::SET_GDT, list, entries);
    let list = page();
    let gdt = pages(14);
    for at in 0..14 {
        poke(list + at * 8, mfn_of(gdt + at * 4096));
    }
    faults("set_gdt", |bad| set(bad, 8));
    check_eq!(set(list, FIRST_RESERVED_GDT_ENTRY as u32 + 1), error::EINVAL, "set_gdt, one entry too many");
    check_eq!(set(list, u32::MAX), error::EINVAL, "set_gdt, far too many");
    check_eq!(set(list, 8), error::EINVAL, "set_gdt with a frame that is mapped writable");
    for at in 0..14 {
        tables::protect(gdt + at * 4096);
    }
    check_eq!(set(list, FIRST_RESERVED_GDT_ENTRY as u32), 0, "set_gdt, as many entries as there can be");
    check_eq!(
        tables::update_va(gdt, tables::entry_for(gdt, tables::WRITABLE), 2),
        error::EBUSY,
        "a writable mapping of a descriptor page"
    );
    let cell = page();
    poke(cell, 0x99u64);
    let descriptor = |at: u64, value: u64| call!(number::UPDATE_DESCRIPTOR, at, value);
    check_eq!(descriptor(machine_of(gdt) + 8, data_segment(0)), 0, "update_descriptor in a live GDT");
    check_eq!(peek::<u64>(gdt + 8), data_segment(0), "the descriptor");
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0xb).is_none(), "the new descriptor can be loaded");
    check!(attempt!("mov es, {selector:e}"; selector = in(reg) 0).is_none(), "and left");
    check_eq!(descriptor(machine_of(gdt) + 4, data_segment(0)), error::EINVAL, "update_descriptor, unaligned");
    for (bad, what) in [(0x00cf_8200_0000_ffff, "LDT descriptor"), (0x00cf_8900_0000_ffff, "TSS descriptor")] {
        check_eq!(descriptor(machine_of(gdt) + 16, bad), error::EINVAL, "update_descriptor, {what}");
    }
    // The privilege level of a segment is changed from 0 to 3.
    let code = 0x00af_9a00_0000_ffff;
    check_eq!(descriptor(machine_of(gdt) + 24, code), 0, "update_descriptor, ring-0 code");
    check_eq!(peek::<u64>(gdt + 24), code | 3 << 45, "it becomes ring 3");
    check_eq!(descriptor(machine_of(gdt) + 24, 0), 0, "update_descriptor, not present");
    check_eq!(descriptor(!7, 0), error::EINVAL, "update_descriptor of a nonexistent frame");
    check_eq!(descriptor(machine_of(tables::root()), 0), error::EINVAL, "update_descriptor of a page table");
    check_eq!(descriptor(machine_of(cell), 0x5a), 0, "update_descriptor of an ordinary page");
    check_eq!(set(list, 0), 0, "set_gdt to none");
    for at in 0..14 {
        tables::unprotect(gdt + at * 4096);
    }
    poke(gdt, 0x00cf_8200_0000_ffffu64);
    tables::protect(gdt);
    check_eq!(set(list, 1), error::EINVAL, "set_gdt with a descriptor that is not allowed");
    tables::unprotect(gdt);
    poke(gdt, 0u64);
    poke(list, mfn_of(tables::root()));
    check_eq!(set(list, 1), error::EINVAL, "set_gdt with a page table");
    poke(list, 0x00ff_ffff_ffffu64);
    check_eq!(set(list, 1), error::EINVAL, "set_gdt with a frame that does not exist");
}

fn debug_registers() {
    let set = |register: u32, value: u64| call!(number::SET_DEBUGREG, register, value);
    let get = |register: u32| call!(number::GET_DEBUGREG, register);
    let cell = page();
    for register in 0..4 {
        check_eq!(set(register, cell), 0, "debug register {register}");
        check_eq!(get(register) as u64, cell, "debug register {register} reads back");
        check_eq!(set(register, 0xffff_8300_0000_0000), error::EPERM, "debug register {register} in the hypervisor");
        check_eq!(set(register, 0), 0, "debug register {register} zero");
    }
    check_eq!(get(6) as u64 & 0xf, 0, "debug register 6");
    check_eq!(get(7) as u64, 0x400, "debug register 7 after reset");
    for register in [8, 9, 100, u32::MAX] {
        check_eq!(set(register, 0), error::ENODEV, "set debug register {register}");
        check_eq!(get(register), error::ENODEV, "get debug register {register}");
    }
    // The upper halves do not exist. Registers 4 and 5 are aliases while CR4.DE is clear.
    for register in 4..8 {
        check_eq!(set(register, 1 << 32), error::EINVAL, "debug register {register}, bit 32");
    }
    check_eq!(set(5, 0x404), 0, "debug register 7 by its alias 5");
    check_eq!(get(7) as u64, 0x404, "debug register 7");
    check_eq!(set(4, 0xffff_0ff1), 0, "debug register 6 by its alias 4");
    check_eq!(get(6) as u64, 0xffff_0ff1, "debug register 6");
    check_eq!(set(7, 0x400), 0, "debug register 7, reset value");
    check_eq!(set(6, 0xffff_0ff0), 0, "debug register 6, reset value");
}

fn nmi() {
    let handler = trap::entry(trap::NMI);
    let register = nmi::RegisterCallback { handler_address: handler, _pad: 0 };
    check_eq!(call!(number::NMI_OP, nmi::op::REGISTER_CALLBACK, &register), 0, "register the NMI callback");
    check_eq!(call!(number::NMI_OP, nmi::op::UNREGISTER_CALLBACK, 0u32), 0, "unregister the NMI callback");
    let register = nmi::RegisterCallback { handler_address: NONCANONICAL, _pad: 0 };
    check_eq!(
        call!(number::NMI_OP, nmi::op::REGISTER_CALLBACK, &register),
        error::EINVAL,
        "NMI callback, non-canonical"
    );
    faults("nmi_op register", |bad| call!(number::NMI_OP, nmi::op::REGISTER_CALLBACK, bad));
    check_eq!(call!(number::NMI_OP, 2u32, 0u32), error::ENOSYS, "nmi_op, unknown sub-operation");
}
