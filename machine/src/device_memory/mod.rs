//! Memory of devices that Paravane itself writes: their MSI-X tables.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
pub(crate) mod backend;

pub(crate) use backend::{map, read, write};

/// The most pages of devices' memory that Paravane maps for itself, for their MSI-X tables.
pub const MAX_DEVICE_PAGES: usize = 512;
