#![expect(unsafe_code, reason = "a lock hands out exclusive references to what it protects")]
//! A spin lock with a place in the lock order.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

use super::level::{self, Level};

/// Mutual exclusion by spinning; see [`Level`] for the order.
pub struct SpinLock<T> {
    taken: AtomicBool,
    level: Level,
    value: UnsafeCell<T>,
}

// SAFETY: the lock gives `&mut T` to one holder at a time, so sharing it needs of T only that it may be sent.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// A lock of `level` around `value`.
    pub const fn new(level: Level, value: T) -> Self {
        Self { taken: AtomicBool::new(false), level, value: UnsafeCell::new(value) }
    }

    /// Takes the lock, spinning until it is free.
    pub fn lock(&self) -> SpinLockGuard<'_, T> {
        self.lock_as(self.level)
    }

    /// Takes the lock as one of another level: the second of two locks of the same kind, which has a level of its own.
    pub fn lock_as(&self, level: Level) -> SpinLockGuard<'_, T> {
        level::acquire(level);
        while self.taken.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            while self.taken.load(Ordering::Relaxed) {
                crate::tlb::serve();
                core::hint::spin_loop();
            }
        }
        SpinLockGuard { lock: self, level }
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<SpinLockGuard<'_, T>> {
        self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        level::acquire(self.level);
        Some(SpinLockGuard { lock: self, level: self.level })
    }

    /// The value, when nobody else can reach the lock.
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
        // SAFETY: the guard exists only while `taken` is ours, so no other reference to the value does.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinLockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes this the guard's only reference.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for SpinLockGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
        level::release(self.level);
    }
}
