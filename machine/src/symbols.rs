//! The names of Paravane's functions, as the image has them.

pub use crate::backend::symbols::{build_id, by_number, count};
