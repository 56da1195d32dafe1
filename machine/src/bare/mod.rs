//! The back end for the machine itself.

pub(crate) mod apic;
pub(crate) mod boot_memory;
pub(crate) mod console;
pub(crate) mod cpu;
mod cpu_features;
mod cpu_info;
mod descriptor_window;
mod early;
mod entry;
mod extended_state;
mod heap;
mod interrupts;
mod io_apic;
mod layout;
mod paging;
pub(crate) mod panic;
pub(crate) mod power;
pub(crate) mod ram;
mod registers;
mod smp;
mod start;
mod symbols;
pub(crate) mod time;
pub(crate) mod tlb;
mod traps;
pub(crate) mod vcpu;
mod windows;
