//! Boot modules: the simulated machine has none.

use crate::boot::Module;

pub(crate) const fn module_bytes(_: &Module) -> Option<&'static [u8]> {
    None
}
