//! Interface of hypercall handlers: caller, privileges, results and the table of operations.

mod caller;
mod counts;
mod operations;
mod result;

pub(crate) use caller::{Caller, ControlPrivilege, PageOwner};
pub(crate) use counts::{counts, note_call};
pub(crate) use operations::{Names, cover, operations};
pub use operations::{Operation, Privilege};
pub(crate) use result::{CallError, CallResult, Continuation};
