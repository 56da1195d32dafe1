//! Claims: frames that are reserved for a domain before it is built, so that each of several
//! domains built concurrently gets all its memory or fails at the start.

use core::sync::atomic::Ordering;

use abi::errno::Errno;
use machine::frames::{self, Block};
use machine::sync::{Level, SpinLock};

use crate::domain::Domain;

/// Claimed frames of all domains. The lock also protects the claim of each domain.
static OUTSTANDING: SpinLock<u64> = SpinLock::new(Level::Claims, 0);

/// The number of claimed frames that have not been allocated yet.
pub(crate) fn outstanding() -> u64 {
    *OUTSTANDING.lock()
}

/// Claims frames so that the domain can have `total` of them; zero releases the claim.
///
/// # Errors
/// `EINVAL` if the domain has a claim, has that many frames already, or may not have as many;
/// `ENOMEM` if there are not enough free frames.
pub(crate) fn stake(domain: &Domain, total: u64) -> Result<(), Errno> {
    if total == 0 {
        release(domain);
        return Ok(());
    }
    let has = u64::from(domain.frames.len());
    let mut outstanding = OUTSTANDING.lock();
    let may = !domain.is_dying() && total <= u64::from(domain.max_frames());
    if domain.claim.load(Ordering::Relaxed) != 0 || total <= has || !may {
        return Err(Errno::EINVAL);
    }
    let more = total - has;
    if more > frames::free_frames().saturating_sub(*outstanding) {
        return Err(Errno::ENOMEM);
    }
    *outstanding += more;
    domain.claim.store(more, Ordering::Relaxed);
    Ok(())
}

/// Releases the domain's claim.
pub(crate) fn release(domain: &Domain) {
    let mut outstanding = OUTSTANDING.lock();
    *outstanding -= domain.claim.swap(0, Ordering::Relaxed);
}

/// Allocates 2^order frames for the domain, with addresses of at most `address_bits` bits. Frames
/// that are claimed by other domains are not available.
pub(crate) fn take(domain: &Domain, order: u8, address_bits: u32) -> Option<Block> {
    // The lock prevents two callers from counting on the same free frames. It is held for a short
    // time.
    let outstanding = OUTSTANDING.lock();
    let others = *outstanding - domain.claim.load(Ordering::Relaxed);
    if frames::free_frames().saturating_sub(others) < 1 << order {
        return None;
    }
    Block::take(order, address_bits)
}

/// Deducts `count` allocated frames from the domain's claim.
pub(crate) fn note_taken(domain: &Domain, count: u64) {
    let mut outstanding = OUTSTANDING.lock();
    let own = domain.claim.load(Ordering::Relaxed);
    let used = own.min(count);
    domain.claim.store(own - used, Ordering::Relaxed);
    *outstanding -= used;
}
