//! Debian's libraries of the Xen tools, `libxenctrl`, `libxenguest` and `libxenlight` of version
//! 4.17, as safe Rust.
//!
//! The libraries are opened when they are needed, so a build needs neither them nor their headers,
//! and a program that makes no call works without them. Their interfaces change with each version
//! of Xen, so the names of the files contain the version.
//!
//! All unsafe code of the control domain's programs is here. It relies on these contracts:
//!
//! - **LX-1** The declarations in `declarations.rs` are those of the headers of version 4.17. A
//!   test compares them with the headers through the C compiler; the version in the name of the
//!   library selects the matching implementation.
//! - **LX-2** A handle comes from `xc_interface_open` or `libxl_ctx_alloc`, is used by one thread
//!   at a time (its type is not `Sync`), and is closed once, when its owner is dropped, before the
//!   libraries are.
//! - **LX-3** A callback runs only during the call of `xc_domain_save` that was given it. Its data
//!   points to a value that lives until that call returns, and that nothing else uses meanwhile.
//! - **LX-4** A callback does not unwind into C: a panic in an `extern "C"` function ends the
//!   process.
//! - **LX-5** A configuration has at least the size and the alignment of `libxl_domain_config`. It
//!   is initialised before any other use, does not move, and is disposed of once.

mod declarations;
mod error;
mod interface;
mod library;
mod light;
mod save;

pub use abi::domctl::GetDomainInfo;
pub use error::Error;
pub use interface::{Interface, Shutdown, state};
pub use light::{Configuration, Light};
pub use save::{Precopy, Progress, Save};
