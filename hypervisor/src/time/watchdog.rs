//! A domain's watchdogs: timers that end it unless it restarts them in time.

use alloc::sync::Arc;

use abi::errno::Errno;
use machine::speculation::MaskedIndex;
use machine::sync::{Level, SpinLock};
use machine::time;

use crate::domain::{Domain, EndReason};
use crate::lifecycle;
use crate::timers::{self, Action, Token};

/// The watchdogs of one domain.
pub struct Watchdogs {
    tokens: SpinLock<[Option<Token>; Self::COUNT]>,
}

impl Watchdogs {
    /// Number of watchdogs per domain.
    pub(crate) const COUNT: usize = 2;

    /// A set of unused watchdogs.
    pub const fn new() -> Self {
        Self { tokens: SpinLock::new(Level::Vcpu, [None; Self::COUNT]) }
    }

    /// Starts a free watchdog. Returns its number, from 1.
    ///
    /// # Errors
    /// `ENOSPC` if none is free.
    pub(crate) fn start(&self, domain: &Arc<Domain>, seconds: u32) -> Result<u64, Errno> {
        let mut tokens = self.tokens.lock();
        let mut free = tokens.iter_mut().enumerate().filter(|(_, slot)| slot.is_none());
        let (number, slot) = free.next().ok_or(Errno::ENOSPC)?;
        *slot = Some(add(domain, number, seconds));
        Ok(number as u64 + 1)
    }

    /// Restarts watchdog `id` (from 1) with a timeout of `seconds`. Zero stops it.
    ///
    /// # Errors
    /// `EINVAL` if it is not in use.
    pub(crate) fn set_back(&self, domain: &Arc<Domain>, id: u32, seconds: u32) -> Result<(), Errno> {
        let mut tokens = self.tokens.lock();
        let number = (id as usize).checked_sub(1).ok_or(Errno::EINVAL)?;
        let slot = tokens.masked_mut(number).ok_or(Errno::EINVAL)?;
        timers::cancel(slot.take().ok_or(Errno::EINVAL)?);
        *slot = (seconds != 0).then(|| add(domain, number, seconds));
        Ok(())
    }
}

impl Default for Watchdogs {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Watchdogs {
    fn drop(&mut self) {
        // Pending timers would keep the domain's allocation alive until their deadlines.
        self.tokens.get_mut().iter().flatten().copied().for_each(timers::cancel);
    }
}

fn add(domain: &Arc<Domain>, number: usize, seconds: u32) -> Token {
    let deadline = time::now().saturating_add(u64::from(seconds) * 1_000_000_000);
    timers::add(deadline, Action::Domain(Arc::downgrade(domain), number, fire))
}

/// Ends the domain, whose watchdog has expired, unless it has been restarted meanwhile.
fn fire(domain: &Arc<Domain>, number: usize, token: Token) {
    let mut tokens = domain.watchdogs.tokens.lock();
    if tokens.masked_mut(number).and_then(|slot| slot.take_if(|own| *own == token)).is_none() {
        return;
    }
    drop(tokens);
    lifecycle::end(domain, EndReason::Watchdog);
}
