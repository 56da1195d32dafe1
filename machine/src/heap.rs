//! How much is left of Paravane's own heap.

/// Whether so little is left that nothing should be allocated for a guest's mere wish: the rest is for what cannot do without. Whatever a guest can make
/// grow asks this first, and refuses.
pub use crate::backend::heap::is_short;

/// How many bytes of it are in use, about, and how many there are.
pub use crate::backend::heap::usage;
