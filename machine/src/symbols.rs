//! The names of Paravane's functions, as the image has them.

pub use crate::backend::symbols::{by_number, count};
