//! The physical CPUs: numbers, features, starting, waiting, and waking each other.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

pub use crate::per_cpu::{Pending, all_online, apic_id, current, note_running, online, parked};
pub use crate::processor::{Features, cpuid, features, write_back_caches};
pub use backend::{acpi_id, domain_defences, expected, idle, interrupt_window, kick, start_others, take_pending};
