//! Debian: packages, kernels, ramdisks, and disk images with an installed system.

pub(crate) mod control_disk;
pub(crate) mod disk_image;
pub(crate) mod grub;
pub(crate) mod guest_disk;
pub(crate) mod kernel_modules;
pub(crate) mod kernels;
pub(crate) mod packages;
pub(crate) mod ramdisk;
pub(crate) mod system;
