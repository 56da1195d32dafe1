//! Hypercalls: the table of all calls, their handlers, and the dispatcher, which is the only part
//! that accesses the guest's registers.

pub(crate) mod callback_op;
pub(crate) mod console_io;
pub(crate) mod debug_registers;
pub(crate) mod descriptor_tables;
mod dispatch;
pub(crate) mod fpu_taskswitch;
pub(crate) mod hypfs_op;
mod multicall;
pub(crate) mod nmi_op;
pub(crate) mod physdev_op;
pub(crate) mod platform_op;
pub(crate) mod sched_op;
pub(crate) mod segment_base;
pub(crate) mod set_timer_op;
pub(crate) mod stack_switch;
pub mod table;
pub(crate) mod traps_and_callbacks;
pub(crate) mod vcpu_op;
pub(crate) mod vm_assist;
pub(crate) mod xen_version;

pub(crate) use dispatch::{dispatch, fast_path};
