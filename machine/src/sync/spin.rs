#![expect(unsafe_code, reason = "a lock returns exclusive references to its data")]
//! A fair spin lock with a rank in the lock order.
//!
//! Each CPU draws a ticket and waits until that number is served, so CPUs get the lock in the order
//! of their requests. A CPU that takes the lock repeatedly cannot starve another one.
//!
//! - **SL-1** Only the holder changes `serving`, by incrementing it. `next` is never less than
//!   `serving`, and equal when no CPU holds the lock or waits for it.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

use super::level::{self, Level};

/// A first-come, first-served spin lock; see [`Level`] for the order of locks.
pub struct SpinLock<T> {
    /// The next ticket. There are far fewer CPUs than tickets, so no two waiting CPUs have the same
    /// one.
    next: AtomicU32,
    /// The ticket of the holder.
    serving: AtomicU32,
    level: Level,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives `&mut T` to one holder at a time, so sharing the lock requires only that
// `T` may be sent.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// A lock of `level` around `value`.
    pub const fn new(level: Level, value: T) -> Self {
        Self { next: AtomicU32::new(0), serving: AtomicU32::new(0), level, value: UnsafeCell::new(value) }
    }

    /// Takes the lock, spinning until it is free.
    #[inline]
    pub fn lock(&self) -> SpinLockGuard<'_, T> {
        self.lock_as(self.level)
    }

    /// Takes the lock with another level: for the second of two locks of the same kind, which has a
    /// level of its own.
    #[inline]
    pub fn lock_as(&self, level: Level) -> SpinLockGuard<'_, T> {
        level::acquire(level);
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        // Acquire: makes the previous holder's writes visible. Drawing the ticket orders nothing.
        if self.serving.load(Ordering::Acquire) != ticket {
            self.wait(ticket);
        }
        SpinLockGuard { lock: self, level }
    }

    /// Waits until `ticket` is served.
    #[cold]
    fn wait(&self, ticket: u32) {
        while self.serving.load(Ordering::Acquire) != ticket {
            crate::tlb::serve();
            core::hint::spin_loop();
        }
    }

    /// Takes the lock if no CPU holds it or waits for it.
    pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
        let serving = self.serving.load(Ordering::Acquire);
        // If `next` still has this value, `serving` has it too (SL-1).
        let drawn = self.next.compare_exchange(serving, serving.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        drawn.ok()?;
        level::acquire(self.level);
        Some(SpinLockGuard { lock: self, level: self.level })
    }

    /// Mutable access to the value without locking.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Exclusive access until dropped.
pub struct SpinLockGuard<'a, T> {
    lock: &'a SpinLock<T>,
    level: Level,
}

impl<T> Deref for SpinLockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its ticket is served (SL-1), so there is no other
        // reference to the value.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; in addition, `&mut self` makes this the guard's only reference.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Only the holder changes it, so no locked instruction is needed (SL-1).
        let ticket = self.lock.serving.load(Ordering::Relaxed);
        self.lock.serving.store(ticket.wrapping_add(1), Ordering::Release);
        level::release(self.level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::vec::Vec;

    /// Waits until this many tickets have been drawn.
    fn wait_for_tickets<T>(lock: &SpinLock<T>, count: u32) {
        while lock.next.load(Ordering::SeqCst) != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn waiting_cpus_get_the_lock_in_the_order_of_their_requests() {
        let lock = SpinLock::new(Level::Domains, Vec::new());
        std::thread::scope(|scope| {
            let held = lock.lock();
            for number in 0..4u32 {
                let lock = &lock;
                scope.spawn(move || lock.lock().push(number));
                wait_for_tickets(lock, number + 2);
            }
            drop(held);
            // Requested immediately after the release, but later than the others.
            lock.lock().push(4);
        });
        assert_eq!(*lock.lock(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_cpu_that_takes_the_lock_repeatedly_does_not_starve_another() {
        let lock = SpinLock::new(Level::Domains, 0u32);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    *lock.lock() += 1;
                }
            });
            for _ in 0..50 {
                // After this ticket is drawn, the other thread gets the lock at most once more.
                let ticket = lock.next.fetch_add(1, Ordering::SeqCst);
                let before = lock.serving.load(Ordering::SeqCst);
                assert!(ticket.wrapping_sub(before) <= 1, "{ticket} drawn while {before} is served");
                lock.wait(ticket);
                level::acquire(lock.level);
                drop(SpinLockGuard { lock: &lock, level: lock.level });
            }
            over.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn one_cpu_at_a_time_holds_the_lock_and_sees_earlier_writes() {
        const THREADS: u32 = 4;
        const TURNS: u32 = if cfg!(miri) { 20 } else { 2000 };
        // Two halves that are equal whenever the lock is free. The tickets start shortly before
        // they wrap.
        let lock = SpinLock::new(Level::Domains, (0u32, 0u32));
        let start = u32::MAX - 10;
        lock.next.store(start, Ordering::SeqCst);
        lock.serving.store(start, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for turn in 0..TURNS {
                        let mut pair = match lock.try_lock() {
                            Some(pair) if turn % 2 == 0 => pair,
                            tried => {
                                drop(tried);
                                lock.lock()
                            }
                        };
                        pair.0 += 1;
                        std::thread::yield_now();
                        assert_eq!(pair.0, pair.1 + 1);
                        pair.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (THREADS * TURNS, THREADS * TURNS));
    }

    #[test]
    fn try_lock_fails_while_the_lock_is_held_or_waited_for() {
        let lock = SpinLock::new(Level::Domains, ());
        let held = lock.try_lock().expect("a free lock");
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(lock.try_lock().is_none()));
        });
        drop(held);
        let ticket = lock.next.fetch_add(1, Ordering::SeqCst);
        assert!(lock.try_lock().is_none());
        lock.serving.store(ticket.wrapping_add(1), Ordering::SeqCst);
        assert!(lock.try_lock().is_some());
    }
}
