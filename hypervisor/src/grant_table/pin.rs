//! A use of a grant, as a value.

use alloc::sync::{Arc, Weak};

use abi::xen::DomainId;
use machine::frames::FrameRef;

use super::table::{Status, Use};
use crate::domain::Domain;

/// One use of an entry of a domain's grant table, usually another domain's. Dropping it ends the
/// use. At that point, no lock of a grant table may be held, and no translation that depends on it
/// may exist (GT-2).
pub(super) struct Pin {
    granter: Weak<Domain>,
    wanted: Use,
}

impl Pin {
    /// Starts a use of a grant. Returns it with the frame that the entry names.
    pub(super) fn new(granter: &Arc<Domain>, grantee: DomainId, wanted: Use) -> Result<(Self, FrameRef), Status> {
        let frame = granter.grants.table().pin(granter.id(), grantee, wanted)?;
        Ok((Self { granter: Arc::downgrade(granter), wanted }, frame))
    }

    pub(super) const fn is_writable(&self) -> bool {
        self.wanted.write
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(granter) = self.granter.upgrade() {
            granter.grants.table().unpin(self.wanted);
        }
    }
}
