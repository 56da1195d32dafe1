//! The frame table's record of each domain: the number of frames that it owns, the queue of its
//! page tables that await teardown, and the log of its dirty pages.
//!
//! Domain ids go up to 32,751, and most are never used. The records are therefore allocated in
//! blocks, when a domain of the block gets its first frame. They are never freed.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::xen::DomainId;
use alloc::boxed::Box;

use super::dirty_log::LogSlot;
use super::teardown::Queue;
use crate::once::Once;
use crate::speculation::MaskedIndex;

/// Records in a block.
const BLOCK: usize = 256;
/// Number of blocks for all possible domain ids.
const BLOCKS: usize = (1 << 15) / BLOCK;

/// One domain's record.
pub(super) struct Owner {
    /// Number of frames that the domain owns and that have not returned to the free lists, and the
    /// flag `MAPS_OTHERS`.
    owned: AtomicU32,
    /// Its page tables that await teardown.
    pub(super) queue: Queue,
    /// The log of its dirty pages.
    pub(super) log: LogSlot,
}

type Block = Box<[Owner; BLOCK]>;

static RECORDS: [Once<Block>; BLOCKS] = [const { Once::new() }; BLOCKS];

/// In `Owner::owned`: tables of the domain map frames of other domains, or did so earlier (TC-3).
const MAPS_OTHERS: u32 = 1 << 31;

/// The last frame of some domain has been freed since the flag was last taken.
static OWNER_EMPTIED: AtomicBool = AtomicBool::new(false);

fn block(domain: DomainId) -> Option<&'static Once<Block>> {
    RECORDS.masked(usize::from(domain.0) / BLOCK)
}

/// The record of `domain`, if a domain in its block has ever owned a frame.
pub(super) fn find(domain: DomainId) -> Option<&'static Owner> {
    block(domain)?.try_get()?.masked(usize::from(domain.0) % BLOCK)
}

/// The record of `domain`, allocated if necessary; `None` for ids that are not a domain's.
pub(super) fn make(domain: DomainId) -> Option<&'static Owner> {
    let empty =
        || Box::new([const { Owner { owned: AtomicU32::new(0), queue: Queue::new(), log: LogSlot::new() } }; BLOCK]);
    block(domain)?.get_or_set(empty).masked(usize::from(domain.0) % BLOCK)
}

impl Owner {
    /// Counts one more frame.
    pub(super) fn count_up(&self) {
        self.owned.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts one frame of `domain` less. Returns whether it was the last.
pub(super) fn count_down(domain: DomainId) -> bool {
    let Some(Owner { owned, .. }) = find(domain) else { return false };
    let before = owned.fetch_sub(1, Ordering::SeqCst);
    let last = before & !MAPS_OTHERS == 1;
    if last && before != 1 {
        // Without a table the domain maps nothing. If it has got a frame concurrently, the flag
        // stays set, which is harmless.
        let _got_another = owned.compare_exchange(MAPS_OTHERS, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
    last
}

/// Records that a table of `domain` is about to map another domain's frame (TC-3). The domain owns
/// that table, so its count cannot reach zero before this is recorded.
pub(crate) fn note_maps_others(domain: DomainId) {
    if let Some(Owner { owned, .. }) = make(domain)
        && owned.load(Ordering::SeqCst) & MAPS_OTHERS == 0
    {
        owned.fetch_or(MAPS_OTHERS, Ordering::SeqCst);
    }
}

/// Whether a table of `domain` maps frames of other domains, or did so since the domain last owned
/// no frame.
pub(crate) fn maps_others(domain: DomainId) -> bool {
    let is_domain = block(domain).is_some();
    find(domain).map_or(!is_domain, |owner| owner.owned.load(Ordering::SeqCst) & MAPS_OTHERS != 0)
}

/// Whether the last frame of some domain has been freed since [`take_owner_emptied`].
pub fn owner_emptied() -> bool {
    OWNER_EMPTIED.load(Ordering::SeqCst)
}

/// Sets the flag, for callers that may have missed it.
pub fn note_owner_emptied() {
    OWNER_EMPTIED.store(true, Ordering::SeqCst);
}

/// Whether the last frame of some domain has been freed since the last call.
pub fn take_owner_emptied() -> bool {
    owner_emptied() && OWNER_EMPTIED.swap(false, Ordering::SeqCst)
}

/// The number of frames that belong to `domain`, including those that it has released but that are
/// still referenced.
pub fn owned_by(domain: DomainId) -> u32 {
    find(domain).map_or(0, |owner| owner.owned.load(Ordering::SeqCst) & !MAPS_OTHERS)
}
