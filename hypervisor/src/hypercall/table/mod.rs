//! The table of hypercalls, one row each. Dispatch, multicall and `docs/hypercalls.md` use it.

use abi::xen::{DomainId, hypercall as number};
use machine::addr::GuestVirt;
// The high half of a 32-bit argument's register is ignored.
use machine::integers::{low_u16, low_u32 as low};
use machine::speculation::MaskedIndex;

use super::{
    callback_op, console_io, debug_registers, descriptor_tables, fpu_taskswitch, hypfs_op, multicall, nmi_op,
    physdev_op, platform_op, sched_op, segment_base, set_timer_op, stack_switch, traps_and_callbacks, vcpu_op,
    vm_assist, xen_version,
};
use crate::call::{CallResult, Caller};
pub use crate::call::{Operation, Privilege};
use crate::memory::{memory_op, mmu_update, mmuext, update_va_mapping};
use crate::{control, event_channel, grant_table};

/// A handler. It gets the six argument registers.
pub type HandlerFunction = fn(&mut Caller<'_>, &[u64; 6]) -> CallResult;

/// One hypercall.
pub struct Row {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// Its handler.
    pub handler: HandlerFunction,
    /// The privilege that it requires.
    pub privilege: Privilege,
    /// Whether it can return a continuation.
    pub preemptible: bool,
    /// Fixed cost of a call in units of the budget, in addition to what its handler spends.
    pub cost: u32,
    /// Its description in `docs/hypercalls.md`.
    pub summary: &'static str,
    /// Its operations.
    pub operations: &'static [Operation],
}

const fn domain(argument: u64) -> DomainId {
    DomainId(low_u16(argument))
}

const fn at(argument: u64) -> GuestVirt {
    GuestVirt::new(argument)
}

/// The operations of a hypercall; empty if it has none.
const fn operations(hypercall: u32) -> &'static [Operation] {
    match hypercall {
        number::MEMORY_OP => memory_op::OPERATIONS,
        number::XEN_VERSION => xen_version::OPERATIONS,
        number::CONSOLE_IO => console_io::OPERATIONS,
        number::GRANT_TABLE_OP => grant_table::OPERATIONS,
        number::VM_ASSIST => vm_assist::OPERATIONS,
        number::VCPU_OP => vcpu_op::OPERATIONS,
        number::SET_SEGMENT_BASE => segment_base::OPERATIONS,
        number::MMUEXT_OP => mmuext::OPERATIONS,
        number::NMI_OP => nmi_op::OPERATIONS,
        number::SCHED_OP => sched_op::OPERATIONS,
        number::CALLBACK_OP => callback_op::OPERATIONS,
        number::EVENT_CHANNEL_OP => event_channel::OPERATIONS,
        number::PHYSDEV_OP => physdev_op::OPERATIONS,
        number::PLATFORM_OP => platform_op::OPERATIONS,
        number::SYSCTL => control::sysctl::OPERATIONS,
        number::DOMCTL => control::domctl::OPERATIONS,
        number::HYPFS_OP => hypfs_op::OPERATIONS,
        _ => &[],
    }
}

/// Checks the privilege of a row and calls its handler, with the token if the row names one.
macro_rules! checked {
    ($caller:ident Control($token:ident) $handler:expr) => {{
        let $token = $caller.control()?;
        $handler
    }};
    ($caller:ident Any $handler:expr) => {
        $handler
    };
    ($caller:ident OwnOrControl $handler:expr) => {
        $handler
    };
}

macro_rules! rows {
    ($($number:ident $name:literal $privilege:ident $(($token:ident))? $preemptible:literal $cost:literal $summary:literal
        |$caller:ident, $arguments:ident| $handler:expr;)*) => {
        /// All hypercalls, in order of their numbers.
        pub static ROWS: &[Row] = &[$(Row {
            number: number::$number,
            name: $name,
            handler: |$caller, $arguments| checked!($caller $privilege $(($token))? $handler),
            privilege: Privilege::$privilege,
            preemptible: $preemptible,
            cost: $cost,
            summary: $summary,
            operations: operations(number::$number),
        }),*];
    };
}

rows! {
    SET_TRAP_TABLE "set_trap_table" Any true 32 "sets the handlers of exceptions and software interrupts"
        |c, a| traps_and_callbacks::set_trap_table(c, at(a[0]));
    MMU_UPDATE "mmu_update" OwnOrControl true 0 "changes page-table entries and M2P entries"
        |c, a| mmu_update::mmu_update(c, at(a[0]), low(a[1]), at(a[2]), low(a[3]));
    SET_GDT "set_gdt" Any false 32 "sets the frames of the GDT"
        |c, a| descriptor_tables::set_gdt(c, at(a[0]), low(a[1]));
    STACK_SWITCH "stack_switch" Any false 0 "sets the stack on which the kernel is entered"
        |c, a| stack_switch::stack_switch(c, a[0], a[1]);
    SET_CALLBACKS "set_callbacks" Any false 0 "sets the event, failsafe and system-call entry points"
        |c, a| traps_and_callbacks::set_callbacks(c, a[0], a[1], a[2]);
    FPU_TASKSWITCH "fpu_taskswitch" Any false 0 "sets or clears CR0.TS"
        |c, a| fpu_taskswitch::fpu_taskswitch(c, low(a[0]));
    SCHED_OP_COMPAT "sched_op_compat" Any false 16 "sched_op in the form of the oldest kernels"
        |c, a| sched_op::sched_op_compat(c, low(a[0]), a[1]);
    PLATFORM_OP "platform_op" Control(p) false 32 "returns firmware and CPU information, sets the clock, switches the machine off"
        |c, a| platform_op::platform_op(c, p, at(a[0]));
    SET_DEBUGREG "set_debugreg" Any false 0 "sets a debug register"
        |c, a| debug_registers::set_debugreg(c, low(a[0]), a[1]);
    GET_DEBUGREG "get_debugreg" Any false 0 "reads a debug register"
        |c, a| debug_registers::get_debugreg(c, low(a[0]));
    UPDATE_DESCRIPTOR "update_descriptor" Any false 8 "changes one segment descriptor"
        |c, a| descriptor_tables::update_descriptor(c, a[0], a[1]);
    MEMORY_OP "memory_op" OwnOrControl true 8 "returns information about the domain's memory and changes it"
        |c, a| memory_op::memory_op(c, a[0], at(a[1]));
    MULTICALL "multicall" Any true 0 "performs several hypercalls"
        |c, a| multicall::multicall(c, at(a[0]), low(a[1]));
    UPDATE_VA_MAPPING "update_va_mapping" Any false 16 "changes the leaf entry of a virtual address"
        |c, a| update_va_mapping::update_va_mapping(c, at(a[0]), a[1], a[2]);
    SET_TIMER_OP "set_timer_op" Any false 16 "sets the vCPU's one-shot timer"
        |c, a| set_timer_op::set_timer_op(c, a[0]);
    EVENT_CHANNEL_OP_COMPAT "event_channel_op_compat" OwnOrControl false 16 "event_channel_op in the form of old kernels"
        |c, a| event_channel::event_channel_op_compat(c, at(a[0]));
    XEN_VERSION "xen_version" Any false 8 "returns version, features and build"
        |c, a| xen_version::xen_version(c, low(a[0]), at(a[1]));
    CONSOLE_IO "console_io" Control(p) true 8 "reads and writes the machine's console"
        |c, a| console_io::console_io(c, low(a[0]), p, low(a[1]), at(a[2]));
    GRANT_TABLE_OP "grant_table_op" OwnOrControl true 8 "sets up the grant table, maps and copies granted frames"
        |c, a| grant_table::grant_table_op(c, low(a[0]), at(a[1]), low(a[2]));
    VM_ASSIST "vm_assist" Any false 0 "enables and disables optional behaviours"
        |c, a| vm_assist::vm_assist(c, low(a[0]), low(a[1]));
    UPDATE_VA_MAPPING_OTHERDOMAIN "update_va_mapping_otherdomain" OwnOrControl false 16 "update_va_mapping for a frame of another domain"
        |c, a| update_va_mapping::update_va_mapping_otherdomain(c, at(a[0]), a[1], a[2], domain(a[3]));
    VCPU_OP "vcpu_op" Any true 16 "starts, stops and describes vCPUs"
        |c, a| vcpu_op::vcpu_op(c, low(a[0]), low(a[1]), at(a[2]));
    SET_SEGMENT_BASE "set_segment_base" Any false 16 "sets FS and GS bases"
        |c, a| segment_base::set_segment_base(c, low(a[0]), a[1]);
    MMUEXT_OP "mmuext_op" OwnOrControl true 8 "pins page tables, changes root tables, flushes TLBs"
        |c, a| mmuext::mmuext_op(c, at(a[0]), low(a[1]), at(a[2]), domain(a[3]));
    NMI_OP "nmi_op" Any false 8 "sets the NMI handler"
        |c, a| nmi_op::nmi_op(c, low(a[0]), at(a[1]));
    SCHED_OP "sched_op" Any false 16 "yields, blocks, polls, shuts the domain down"
        |c, a| sched_op::sched_op(c, low(a[0]), at(a[1]));
    CALLBACK_OP "callback_op" Any false 8 "sets or removes one entry point"
        |c, a| callback_op::callback_op(c, low(a[0]), at(a[1]));
    EVENT_CHANNEL_OP "event_channel_op" OwnOrControl true 16 "binds, sends and closes event channels"
        |c, a| event_channel::event_channel_op(c, low(a[0]), at(a[1]));
    PHYSDEV_OP "physdev_op" Any false 8 "manages interrupts and ports of physical devices"
        |c, a| physdev_op::physdev_op(c, low(a[0]), at(a[1]));
    SYSCTL "sysctl" Control(p) false 64 "returns and changes the host's state and settings"
        |c, a| control::sysctl::sysctl(c, p, at(a[0]));
    DOMCTL "domctl" Control(p) false 64 "creates, changes and destroys domains"
        |c, a| control::domctl::domctl(c, p, at(a[0]));
    KEXEC_OP "kexec_op" Control(p) false 0 "replaces the hypervisor by another kernel; not supported"
        |_c, _a| control::kexec_op(p);
    HYPFS_OP "hypfs_op" Control(p) false 32 "reads the entries of the hypervisor's file system"
        |c, a| hypfs_op::hypfs_op(c, low(a[0]), p, (at(a[1]), a[2]), (at(a[3]), a[4]));
}

/// The row of a hypercall number, if there is one.
pub fn row(number: u64) -> Option<&'static Row> {
    let index = *PLACES.masked(usize::try_from(number).ok()?)?;
    ROWS.masked(usize::from(index))
}

/// The index of each number's row. Numbers without a row have an index beyond the table.
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated at compile time")]
static PLACES: [u8; 64] = {
    let mut places = [u8::MAX; 64];
    let mut index = 0;
    while index < ROWS.len() {
        places[ROWS[index].number as usize] = index as u8;
        index += 1;
    }
    places
};

#[cfg(test)]
mod tests;
