//! The public Xen PV interface, version 4.17, 64-bit x86, as data: numbers, layouts and error
//! codes. There is one file per public header, named after it.
//!
//! Guest handles are `u64` (a guest virtual address); event channel ports and grant references are
//! `u32`. Padding is explicit in `_pad` fields, so each structure can be read from and written as
//! plain bytes.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]

mod layout;

// Miri cannot start a C compiler.
#[cfg(all(test, not(miri)))]
mod header_check;

pub mod arch_x86_64;
pub mod callback;
pub mod console;
pub mod cpuid;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod features;
pub mod grant_table;
pub mod hypfs;
pub mod memory;
pub mod nmi;
pub mod physdev;
pub mod platform;
pub mod sched;
pub mod sysctl;
pub mod vcpu;
pub mod version;
pub mod xen;
pub mod xenstore;
