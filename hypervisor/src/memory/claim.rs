//! Claims: frames that are set aside for a domain before it asks for them, so that several domains can be built at once and
//! each either gets what it needs or fails at the start.

use core::sync::atomic::Ordering;

use abi::errno::Errno;
use machine::frames::{self, Block};
use machine::sync::{Level, SpinLock};

use crate::domain::Domain;

/// Frames that are set aside, all domains together. A domain's own claim changes under this lock.
static OUTSTANDING: SpinLock<u64> = SpinLock::new(Level::Claims, 0);

/// Frames that are set aside for domains and free still.
pub(crate) fn outstanding() -> u64 {
    *OUTSTANDING.lock()
}

/// Sets frames aside so that the domain can come to have `total`; zero gives up what is set aside.
///
/// # Errors
/// `EINVAL` if it has a claim, has that many, or may not have as many; `ENOMEM` if they are not free.
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

/// Gives up what is set aside for the domain.
pub(crate) fn release(domain: &Domain) {
    let mut outstanding = OUTSTANDING.lock();
    *outstanding -= domain.claim.swap(0, Ordering::Relaxed);
}

/// Takes 2^order frames for the domain, with addresses of at most so many bits: they are set aside
/// for it, or not for others. `None` if there are none such.
pub(crate) fn take(domain: &Domain, order: u8, address_bits: u32) -> Option<Block> {
    // Two that take at the same time must not both count on the same frames; taking is short.
    let outstanding = OUTSTANDING.lock();
    let others = *outstanding - domain.claim.load(Ordering::Relaxed);
    if frames::free_frames().saturating_sub(others) < 1 << order {
        return None;
    }
    Block::take(order, address_bits)
}

/// Notes that the domain has taken `count` frames.
pub(crate) fn note_taken(domain: &Domain, count: u64) {
    let mut outstanding = OUTSTANDING.lock();
    let own = domain.claim.load(Ordering::Relaxed);
    let used = own.min(count);
    domain.claim.store(own - used, Ordering::Relaxed);
    *outstanding -= used;
}
