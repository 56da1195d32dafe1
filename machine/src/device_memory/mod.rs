//! Device memory that Paravane itself writes: MSI-X tables.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
pub(crate) mod backend;

pub(crate) use backend::{map, read, write};

/// The maximum number of pages of device memory that Paravane maps, for MSI-X tables.
pub const MAX_DEVICE_PAGES: usize = 512;
