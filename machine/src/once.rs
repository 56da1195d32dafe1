#![expect(unsafe_code, reason = "returns shared references to a value written once")]
//! A value that is set once during boot and only read afterwards.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const WRITING: u8 = 1;
const READY: u8 = 2;

/// A cell that is set once, then read-only.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: only the caller that moved the state to WRITING writes the value, which is shared only
// after READY.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Once<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// Sets the value and returns it.
    ///
    /// # Panics
    /// If it has been set before, which is an error of start-up code.
    pub fn set(&self, value: T) -> &T {
        let first = self.state.compare_exchange(EMPTY, WRITING, Ordering::Acquire, Ordering::Relaxed);
        assert!(first.is_ok(), "a write-once value was set twice");
        // SAFETY: only this thread moved the state from EMPTY to WRITING, so nothing else reads or
        // writes the cell.
        unsafe { (*self.value.get()).write(value) };
        self.state.store(READY, Ordering::Release);
        self.get()
    }

    /// The value, initialised by `make` if it has not been set.
    pub fn get_or_set(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.try_get() {
            return value;
        }
        if self.state.load(Ordering::Acquire) == EMPTY {
            // Made before the cell is claimed, so that other CPUs do not wait for it. A second
            // value is dropped.
            let value = make();
            if self.state.compare_exchange(EMPTY, WRITING, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                // SAFETY: only this thread moved the state from EMPTY to WRITING, so nothing else
                // reads or writes the cell.
                unsafe { (*self.value.get()).write(value) };
                self.state.store(READY, Ordering::Release);
            }
        }
        while self.state.load(Ordering::Acquire) != READY {
            core::hint::spin_loop();
        }
        self.get()
    }

    /// The value, if it has been set.
    pub fn try_get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != READY {
            return None;
        }
        // SAFETY: READY is stored after the cell was written, and the cell is never written again,
        // so it may be shared.
        let value = unsafe { &*self.value.get() };
        // SAFETY: for the same reason it is initialised.
        Some(unsafe { value.assume_init_ref() })
    }

    /// The value.
    ///
    /// # Panics
    /// If it has not been set, which is an error of start-up code.
    pub fn get(&self) -> &T {
        self.try_get().expect("a write-once value is used before it is set")
    }
}
