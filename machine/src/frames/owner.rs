//! What the frame table keeps for each domain: how many frames it owns, and which of its page
//! tables wait for teardown.
//!
//! Domain numbers go up to 32,751, most of them never used, so the records come in blocks that are
//! allocated when the first frame of a domain in the block is. They are never freed.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::xen::DomainId;
use alloc::boxed::Box;

use super::teardown::Queue;
use crate::once::Once;

/// Records in a block.
const BLOCK: usize = 256;
/// Blocks for all numbers that a domain can have.
const BLOCKS: usize = (1 << 15) / BLOCK;

/// One domain's record.
pub(super) struct Owner {
    /// Frames that the domain owns and that have not returned to the free lists yet, and the flag
    /// `MAPS_OTHERS`.
    owned: AtomicU32,
    /// Its page tables that wait for teardown.
    pub(super) queue: Queue,
}

type Block = Box<[Owner; BLOCK]>;

static RECORDS: [Once<Block>; BLOCKS] = [const { Once::new() }; BLOCKS];

/// In `Owner::owned`: tables of the domain map frames of others, or have (TC-3).
const MAPS_OTHERS: u32 = 1 << 31;

/// Some domain's last frame has returned, and this has not been taken yet.
static OWNER_EMPTIED: AtomicBool = AtomicBool::new(false);

fn block(domain: DomainId) -> Option<&'static Once<Block>> {
    RECORDS.get(usize::from(domain.0) / BLOCK)
}

/// The record of `domain`, if it or a neighbour in the numbering has ever owned a frame.
pub(super) fn find(domain: DomainId) -> Option<&'static Owner> {
    block(domain)?.try_get()?.get(usize::from(domain.0) % BLOCK)
}

/// The record of `domain`; `None` for numbers that stand for no domain.
pub(super) fn make(domain: DomainId) -> Option<&'static Owner> {
    let empty = || Box::new([const { Owner { owned: AtomicU32::new(0), queue: Queue::new() } }; BLOCK]);
    block(domain)?.get_or_set(empty).get(usize::from(domain.0) % BLOCK)
}

impl Owner {
    /// One frame more.
    pub(super) fn count_up(&self) {
        self.owned.fetch_add(1, Ordering::SeqCst);
    }
}

/// One frame of `domain` less; whether it was the last.
pub(super) fn count_down(domain: DomainId) -> bool {
    let Some(Owner { owned, .. }) = find(domain) else { return false };
    let before = owned.fetch_sub(1, Ordering::SeqCst);
    let last = before & !MAPS_OTHERS == 1;
    if last && before != 1 {
        // Without a table it maps nothing. If it has got a frame meanwhile, the note stays, which
        // does no harm.
        let _got_another = owned.compare_exchange(MAPS_OTHERS, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
    last
}

/// Notes that a table of `domain` is about to map another's frame (TC-3). The domain owns that
/// table, so it cannot be gone before this is noted.
pub(crate) fn note_maps_others(domain: DomainId) {
    if let Some(Owner { owned, .. }) = make(domain)
        && owned.load(Ordering::SeqCst) & MAPS_OTHERS == 0
    {
        owned.fetch_or(MAPS_OTHERS, Ordering::SeqCst);
    }
}

/// Whether a table of `domain` maps frames of others, or has since the domain last owned none.
pub(crate) fn maps_others(domain: DomainId) -> bool {
    let is_domain = block(domain).is_some();
    find(domain).map_or(!is_domain, |owner| owner.owned.load(Ordering::SeqCst) & MAPS_OTHERS != 0)
}

/// Whether some domain's last frame has returned since [`take_owner_emptied`].
pub fn owner_emptied() -> bool {
    OWNER_EMPTIED.load(Ordering::SeqCst)
}

/// Notes that some domain's last frame may have returned, for callers that could have missed it.
pub fn note_owner_emptied() {
    OWNER_EMPTIED.store(true, Ordering::SeqCst);
}

/// Whether some domain's last frame has returned since the last call.
pub fn take_owner_emptied() -> bool {
    owner_emptied() && OWNER_EMPTIED.swap(false, Ordering::SeqCst)
}

/// How many frames belong to `domain`, those included that it has given up but somebody still
/// refers to.
pub fn owned_by(domain: DomainId) -> u32 {
    find(domain).map_or(0, |owner| owner.owned.load(Ordering::SeqCst) & !MAPS_OTHERS)
}
