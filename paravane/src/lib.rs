//! The command `paravane`: guests of the control domain, above the stock Xen tools.
//!
//! `paravane migrate` moves a running guest to another host. The stock processes remain: `xl`,
//! libvirt and Ganeti see and manage the guests as before.
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

pub mod commands;
pub mod host;
pub mod link;
pub mod migration;
pub mod stream;
pub mod xen;
