//! Hypercalls: the table of what exists, and the dispatcher, which alone touches registers.

pub mod callback_op;
pub mod console_io;
mod counts;
pub mod debug_registers;
pub mod descriptor_tables;
mod dispatch;
pub mod fpu_taskswitch;
mod multicall;
pub mod nmi_op;
pub mod physdev_op;
pub mod platform_op;
pub mod sched_op;
pub mod segment_base;
pub mod set_timer_op;
pub mod stack_switch;
pub mod table;
pub mod traps_and_callbacks;
pub mod vcpu_op;
pub mod vm_assist;
pub mod xen_version;

pub(crate) use counts::counts;
pub use dispatch::{dispatch, short};
