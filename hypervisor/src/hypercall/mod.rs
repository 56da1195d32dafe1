//! Hypercalls: the table of what exists, and the dispatcher, which alone touches registers.

mod caller;
mod error;

pub use caller::Caller;
pub use error::{CallError, CallResult};
