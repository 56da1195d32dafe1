//! Calls that do not concern events.

use kernel::abi::arch_x86_64::{TrapInfo, VcpuGuestContext, segment_base};
use kernel::abi::callback::{self, Register};
use kernel::abi::sched::{self, Watchdog};
use kernel::abi::vcpu::{
    RegisterRunstateMemoryArea, RegisterTimeMemoryArea, RegisterVcpuInfo, SetPeriodicTimer, op as vcpu_op,
};
use kernel::abi::version::op as version;
use kernel::abi::xen::{MmuUpdate, MmuextOp, uvmf, vm_assist, vm_assist_command};
use kernel::call::number;
use kernel::memory::{mfn_of, page, pages, peek, poke, zeroed};
use kernel::tables::{self, mmuext};
use kernel::trap;

use crate::Bench;

pub(crate) fn all(bench: &Bench) {
    versions(bench);
    descriptors(bench);
    entry_points(bench);
    mappings(bench);
    extended(bench);
    vcpus(bench);
    scheduling(bench);
    refused(bench);
}

fn versions(bench: &Bench) {
    bench.same("xen_version", number::XEN_VERSION, [version::VERSION.into(), 0, 0]);
    for (name, operation) in [
        ("xen_version extraversion", version::EXTRAVERSION),
        ("xen_version compile_info", version::COMPILE_INFO),
        ("xen_version capabilities", version::CAPABILITIES),
        ("xen_version commandline", version::COMMANDLINE),
    ] {
        bench.same(name, number::XEN_VERSION, [operation.into(), bench.arguments, 0]);
    }
}

fn descriptors(bench: &Bench) {
    bench.same("set_gdt of none", number::SET_GDT, [0, 0, 0]);
    let descriptors = page();
    tables::protect(descriptors);
    let list = bench.put([mfn_of(descriptors); 14]);
    bench.same("set_gdt of 14 frames", number::SET_GDT, [list, 14 * 512, 0]);
    let machine = kernel::memory::machine_of(descriptors) + 64;
    bench.same("update_descriptor in use", number::UPDATE_DESCRIPTOR, [machine, 0x00af_fb00_0000_ffff, 0]);
    bench.same("set_gdt of none", number::SET_GDT, [0, 0, 0]);
    tables::unprotect(descriptors);
    bench.same("update_descriptor", number::UPDATE_DESCRIPTOR, [machine, 0x00af_fb00_0000_ffff, 0]);
    bench.same("set_segment_base", number::SET_SEGMENT_BASE, [segment_base::GS_USER.into(), 0x1000, 0]);
    bench.same(
        "set_segment_base of a selector",
        number::SET_SEGMENT_BASE,
        [segment_base::GS_USER_SEL.into(), 7 << 3 | 7, 0],
    );
    bench.same("get_debugreg", number::GET_DEBUGREG, [3, 0, 0]);
    bench.same("set_debugreg", number::SET_DEBUGREG, [3, 0x1000, 0]);
    bench.same("set_debugreg of 7", number::SET_DEBUGREG, [7, 0, 0]);
}

fn entry_points(bench: &Bench) {
    let table = pages(2);
    for vector in 0..256 {
        let open = matches!(vector, 3 | 4 | 0x80);
        poke(table + vector * size_of::<TrapInfo>() as u64, trap::shared(vector as u8, if open { 7 } else { 4 }));
    }
    bench.same("set_trap_table of 256", number::SET_TRAP_TABLE, [table, 0, 0]);
    // No event may arrive while there are no handlers; events use a callback.
    bench.each("set_trap_table of none and 256", number::SET_TRAP_TABLE, |index| [index % 2 * table, 0, 0]);
    let [event, failsafe, syscall] = [trap::EVENT, trap::FAILSAFE, trap::SYSCALL].map(trap::entry);
    bench.same("set_callbacks", number::SET_CALLBACKS, [event, failsafe, syscall]);
    let register = bench.put(Register { address: failsafe, kind: callback::kind::FAILSAFE, ..zeroed() });
    bench.same("callback_op register", number::CALLBACK_OP, [callback::op::REGISTER.into(), register, 0]);
    let stack = kernel::start::trap_stack_top(0);
    bench.same("stack_switch", number::STACK_SWITCH, [0xe02b, stack, 0]);
    bench.same("fpu_taskswitch", number::FPU_TASKSWITCH, [0, 0, 0]);
    let assist = [vm_assist_command::ENABLE.into(), vm_assist::WRITABLE_PAGETABLES.into(), 0];
    bench.same("vm_assist", number::VM_ASSIST, assist);
}

fn mappings(bench: &Bench) {
    let place = page();
    let [readable, writable] = [tables::READABLE, tables::WRITABLE].map(|flags| tables::entry_for(place, flags));
    for (name, flags) in [
        ("update_va_mapping", uvmf::NONE),
        ("update_va_mapping, local flush", uvmf::TLB_FLUSH),
        ("update_va_mapping, local page", uvmf::INVLPG),
        ("update_va_mapping, flush of all", uvmf::TLB_FLUSH | uvmf::ALL),
    ] {
        bench.each(name, number::UPDATE_VA_MAPPING, |index| {
            [place, if index % 2 == 0 { readable } else { writable }, flags]
        });
    }
    let entry = tables::entry_machine(place, 1);
    let update = bench.put([entry, readable, entry, writable].map(u64::from));
    bench.each("mmu_update of one", number::MMU_UPDATE, |index| {
        [update + index % 2 * size_of::<MmuUpdate>() as u64, 1, 0]
    });
    bench.same("mmu_update of two", number::MMU_UPDATE, [update, 2, 0]);
    let other = tables::root();
    let (other_entry, other_value) = (tables::entry_machine(other, 1), peek::<u64>(tables::entry(other, 1)));
    bench.list("mmu_update of a list for one table", number::MMU_UPDATE, |index| MmuUpdate {
        pointer: entry,
        value: if index % 2 == 0 { readable } else { writable },
    });
    bench.list("mmu_update of a list for two tables", number::MMU_UPDATE, |index| match index % 4 {
        0 => MmuUpdate { pointer: entry, value: readable },
        2 => MmuUpdate { pointer: entry, value: writable },
        _ => MmuUpdate { pointer: other_entry, value: other_value },
    });
}

fn extended(bench: &Bench) {
    let root = mfn_of(tables::root());
    for (name, operation) in [
        ("mmuext_op new_baseptr, a list", tables::operation(mmuext::NEW_BASEPTR, root, 0)),
        ("mmuext_op set_ldt, a list", tables::operation(mmuext::SET_LDT, 0, 0)),
        ("mmuext_op invlpg_local, a list", tables::operation(mmuext::INVLPG_LOCAL, bench.arguments, 0)),
    ] {
        bench.list(name, number::MMUEXT_OP, |_| operation);
    }
    let (from, to) = (page(), page());
    let mask = bench.put([1u64]) + 8;
    poke(mask, 1u64);
    let flush = |command, argument, second| tables::operation(command, argument, second);
    for (name, operation) in [
        ("mmuext_op tlb_flush_local", flush(mmuext::TLB_FLUSH_LOCAL, 0, 0)),
        ("mmuext_op invlpg_local", flush(mmuext::INVLPG_LOCAL, from, 0)),
        ("mmuext_op tlb_flush_multi", flush(mmuext::TLB_FLUSH_MULTI, 0, mask)),
        ("mmuext_op tlb_flush_all", flush(mmuext::TLB_FLUSH_ALL, 0, 0)),
        ("mmuext_op invlpg_all", flush(mmuext::INVLPG_ALL, from, 0)),
        ("mmuext_op new_baseptr", flush(mmuext::NEW_BASEPTR, root, 0)),
        ("mmuext_op new_user_baseptr", flush(mmuext::NEW_USER_BASEPTR, root, 0)),
        ("mmuext_op no user baseptr", flush(mmuext::NEW_USER_BASEPTR, 0, 0)),
        ("mmuext_op set_ldt", flush(mmuext::SET_LDT, from, 512)),
        ("mmuext_op set_ldt of none", flush(mmuext::SET_LDT, 0, 0)),
        ("mmuext_op clear_page", flush(mmuext::CLEAR_PAGE, mfn_of(to), 0)),
        ("mmuext_op copy_page", flush(mmuext::COPY_PAGE, mfn_of(to), mfn_of(from))),
        ("mmuext_op pin of a page in use", flush(mmuext::PIN_L1_TABLE, mfn_of(to), 0)),
    ] {
        let list: u64 = bench.put::<MmuextOp>(operation);
        bench.same(name, number::MMUEXT_OP, [list, 1, 0]);
    }
}

fn vcpus(bench: &Bench) {
    let context = pages(2);
    poke::<VcpuGuestContext>(context, kernel::smp::context(0, || ()));
    let operation = |name: &str, operation: u32, argument: u64| {
        bench.same(name, number::VCPU_OP, [operation.into(), 0, argument]);
    };
    operation("vcpu_op initialise", vcpu_op::INITIALISE, context);
    operation("vcpu_op up", vcpu_op::UP, 0);
    operation("vcpu_op is_up", vcpu_op::IS_UP, 0);
    operation("vcpu_op get_runstate_info", vcpu_op::GET_RUNSTATE_INFO, context);
    let area = RegisterRunstateMemoryArea { address: context };
    operation("vcpu_op register_runstate", vcpu_op::REGISTER_RUNSTATE_MEMORY_AREA, bench.put(area));
    operation("vcpu_op no runstate", vcpu_op::REGISTER_RUNSTATE_MEMORY_AREA, bench.put(0u64));
    let area = RegisterTimeMemoryArea { address: context };
    operation("vcpu_op register_time", vcpu_op::REGISTER_VCPU_TIME_MEMORY_AREA, bench.put(area));
    operation("vcpu_op no time", vcpu_op::REGISTER_VCPU_TIME_MEMORY_AREA, bench.put(0u64));
    let timer = SetPeriodicTimer { period_ns: 1_000_000_000 };
    operation("vcpu_op set_periodic_timer", vcpu_op::SET_PERIODIC_TIMER, bench.put(timer));
    operation("vcpu_op stop_periodic_timer", vcpu_op::STOP_PERIODIC_TIMER, 0);
    let place = RegisterVcpuInfo { mfn: mfn_of(context), offset: 4095, reserved: 0 };
    operation("vcpu_op register_vcpu_info", vcpu_op::REGISTER_VCPU_INFO, bench.put(place));
}

fn scheduling(bench: &Bench) {
    bench.same("sched_op yield", number::SCHED_OP, [sched::op::YIELD.into(), 0, 0]);
    let watchdog = bench.put(Watchdog { id: 0, timeout: 1000 });
    bench.same("sched_op watchdog", number::SCHED_OP, [sched::op::WATCHDOG.into(), watchdog, 0]);
    let watchdog = bench.put(Watchdog { id: 1, timeout: 1000 });
    bench.same("sched_op watchdog, set back", number::SCHED_OP, [sched::op::WATCHDOG.into(), watchdog, 0]);
    for id in 1..=2 {
        let _ = kernel::call!(number::SCHED_OP, sched::op::WATCHDOG, &Watchdog { id, timeout: 0 });
    }
    bench.same("set_timer_op", number::SET_TIMER_OP, [1, 0, 0]);
}

/// Calls that are refused for an unprivileged guest, and calls that do not exist.
fn refused(bench: &Bench) {
    for (name, operation) in [
        ("platform_op", number::PLATFORM_OP),
        ("console_io", number::CONSOLE_IO),
        ("sysctl", number::SYSCTL),
        ("domctl", number::DOMCTL),
        ("kexec_op", number::KEXEC_OP),
        ("physdev_op", number::PHYSDEV_OP),
        ("a call that does not exist", 62),
    ] {
        if !kernel::memory::initial_domain() {
            bench.same(name, operation, [bench.arguments; 3]);
        }
    }
}
