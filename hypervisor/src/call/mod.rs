//! What a hypercall handler works with: who calls, and what becomes of the call.

mod caller;
mod result;

pub use caller::{Caller, PageOwner};
pub use result::{CallError, CallResult};
