//! The commands, one module each: `cargo xtask NAME` is in `NAME`.

pub(crate) mod bench;
pub(crate) mod boot_times;
pub(crate) mod build;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod fuzz;
pub(crate) mod image;
pub(crate) mod layers;
pub(crate) mod miri;
pub(crate) mod package;
pub(crate) mod profile;
pub(crate) mod run;
pub(crate) mod test;
