//! The evidence for a row of the tables: the test that shows its behaviour.

/// A test, by the name of its function.
#[derive(Clone, Copy, Debug)]
pub enum Evidence {
    /// A host test of `hypervisor/` or `machine/`.
    Host(&'static str),
    /// A test guest, and the name of the function in it.
    Guest(&'static str, &'static str),
}
