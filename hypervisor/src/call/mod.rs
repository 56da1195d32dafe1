//! What a hypercall handler works with: who calls, and what becomes of the call.

mod caller;
mod counts;
mod result;

pub(crate) use caller::{Caller, PageOwner};
pub(crate) use counts::{counts, note_call};
pub(crate) use result::{CallError, CallResult};
