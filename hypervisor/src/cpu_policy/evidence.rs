//! What shows that a row of the tables is true.

/// A test, by its function's name.
#[derive(Clone, Copy, Debug)]
pub enum Evidence {
    /// A host test of `hypervisor/` or `machine/`.
    Host(&'static str),
    /// A test guest, and its function.
    Guest(&'static str, &'static str),
}
