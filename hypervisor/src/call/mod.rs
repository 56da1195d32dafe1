//! What a hypercall handler works with: who calls, and what becomes of the call.

mod caller;
mod counts;
mod result;

pub(crate) use caller::{Caller, PageOwner};
#[cfg(test)]
pub(crate) use counts::NUMBERS;
pub(crate) use counts::{counts, note_call};
pub(crate) use result::{CallError, CallResult};
