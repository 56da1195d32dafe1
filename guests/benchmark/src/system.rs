//! System calls that Rust's library does not have, or wraps in further work.
#![expect(unsafe_code, reason = "system calls on raw memory, signals and processes")]

use std::arch::asm;
use std::ffi::CString;
use std::fs::File;
use std::io::Error;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Opens a file for access that bypasses the kernel's page cache.
pub(crate) fn open_direct(path: &str) -> File {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT).open(path).expect("a disk")
}

/// Reads the mapping from the file, or writes it to the file, in one call.
pub(crate) fn transfer(file: &File, memory: &Mapping, offset: usize, write: bool) {
    let (start, length, offset) = (memory.start.cast(), memory.length, offset as i64);
    let result = if write {
        // SAFETY: the mapping is valid.
        unsafe { libc::pwrite(file.as_raw_fd(), start, length, offset) }
    } else {
        // SAFETY: as above, and no reference to it exists.
        unsafe { libc::pread(file.as_raw_fd(), start, length, offset) }
    };
    assert!(must(result as i64, "transfer") == length as i64, "only a part was transferred");
}

/// Size of a page in bytes.
pub(crate) const PAGE: usize = 4096;

/// The time-stamp counter. Under QEMU's `-icount shift=0` it counts instructions.
pub(crate) fn ticks() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn must(result: i64, what: &str) -> i64 {
    assert!(result != -1, "{what}: {}", Error::last_os_error());
    result
}

/// `getppid`, the shortest system call.
pub(crate) fn parent() {
    // SAFETY: takes no arguments.
    unsafe { libc::getppid() };
}

/// Reads from a descriptor.
pub(crate) fn read(descriptor: i32, buffer: &mut [u8]) {
    // SAFETY: the pointer and length are a slice's.
    let result = unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) };
    must(result as i64, "read");
}

/// Writes to a descriptor.
pub(crate) fn write(descriptor: i32, buffer: &[u8]) {
    // SAFETY: the pointer and length are a slice's.
    let result = unsafe { libc::write(descriptor, buffer.as_ptr().cast(), buffer.len()) };
    must(result as i64, "write");
}

/// A mapping that is removed when the value is dropped.
pub(crate) struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    fn new(length: usize, flags: i32, descriptor: i32) -> Self {
        // SAFETY: the kernel chooses the address.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | flags,
                descriptor,
                0,
            )
        };
        must(start as i64, "mmap");
        Self { start: start.cast(), length }
    }

    /// Anonymous, untouched memory.
    pub(crate) fn anonymous(pages: usize) -> Self {
        Self::new(pages * PAGE, libc::MAP_ANONYMOUS, -1)
    }

    /// The first pages of a file.
    pub(crate) fn file(descriptor: i32, pages: usize) -> Self {
        Self::new(pages * PAGE, 0, descriptor)
    }

    /// Writes a byte into every page.
    pub(crate) fn touch(&self) {
        for offset in (0..self.length).step_by(PAGE) {
            // SAFETY: the byte is in the mapping, to which no reference exists.
            unsafe { self.start.wrapping_add(offset).write_volatile(1) };
        }
    }

    /// Reads one byte per `pages` pages.
    pub(crate) fn look(&self, pages: usize) {
        for offset in (0..self.length).step_by(PAGE * pages) {
            // SAFETY: as above.
            unsafe { self.start.wrapping_add(offset).read_volatile() };
        }
    }

    /// Sets write permission.
    pub(crate) fn protect(&self, writable: bool) {
        let access = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: the mapping is valid and no reference to it exists.
        let result = unsafe { libc::mprotect(self.start.cast(), self.length, access) };
        must(result.into(), "mprotect");
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is valid and no reference to it exists any more.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

static SIGNALS: AtomicUsize = AtomicUsize::new(0);
static FAULTING: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn allow_writing(_: i32) {
    let start = FAULTING.load(Ordering::Relaxed) as *mut libc::c_void;
    // SAFETY: the page belongs to a mapping that outlives the fault.
    unsafe { libc::mprotect(start, PAGE, libc::PROT_READ | libc::PROT_WRITE) };
}

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: all zero is a valid action.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the handlers above only use atomics and system calls.
    let result = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    must(result.into(), "sigaction");
}

/// Counts signals to this process from now on.
pub(crate) fn count_signals() {
    handle(libc::SIGUSR1, count_signal);
}

/// Sends this process a signal, which has been handled on return.
pub(crate) fn signal_self() {
    let own = std::process::id().cast_signed();
    // SAFETY: the signal has a handler.
    unsafe { libc::kill(own, libc::SIGUSR1) };
}

/// Signals handled so far.
pub(crate) fn signals() -> usize {
    SIGNALS.load(Ordering::Relaxed)
}

/// Installs a handler that permits a write to the mapping's first page when it faults, and restarts
/// it.
pub(crate) fn allow_on_fault(mapping: &Mapping) {
    FAULTING.store(mapping.start as usize, Ordering::Relaxed);
    handle(libc::SIGSEGV, allow_writing);
}

/// A child process that runs `work` and exits. Dropping the value waits for it.
pub(crate) struct Child(i32);

impl Child {
    /// Forks.
    pub(crate) fn new(work: impl FnOnce()) -> Self {
        // SAFETY: all callers are single-threaded; the child only makes system calls and exits.
        let pid = unsafe { libc::fork() };
        must(pid.into(), "fork");
        if pid == 0 {
            work();
            // SAFETY: ends the process immediately.
            unsafe { libc::_exit(0) };
        }
        Self(pid)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: the status is a local variable.
        let result = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        must(result.into(), "waitpid");
        assert!(status == 0, "a child ended with status {status:#x}");
    }
}

/// Executes another program.
pub(crate) fn execute(program: &CString, argument: &CString) {
    let arguments = [program.as_ptr(), argument.as_ptr(), ptr::null()];
    let environment = [ptr::null()];
    // SAFETY: both lists end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
}

/// A pipe: the read end and the write end.
pub(crate) fn pipe() -> (i32, i32) {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors.
    let result = unsafe { libc::pipe(ends.as_mut_ptr()) };
    must(result.into(), "pipe");
    (ends[0], ends[1])
}

/// Closes a descriptor.
pub(crate) fn close(descriptor: i32) {
    // SAFETY: the caller does not use it any more.
    unsafe { libc::close(descriptor) };
}

/// Waits until the word differs from `value`.
pub(crate) fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        // SAFETY: the word lives during the call.
        unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, value, 0, 0, 0)
        };
    }
}

/// Sets the word and wakes one waiter.
pub(crate) fn set_and_wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // SAFETY: the word lives during the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1, 0, 0, 0) };
}

/// Reads the clock.
pub(crate) fn clock() {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
}

/// Sets the timer slack of sleeps to the minimum.
pub(crate) fn sleep_exactly() {
    // SAFETY: takes only numbers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Sleeps.
pub(crate) fn sleep(nanoseconds: i64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
    // SAFETY: the time is a local variable and the remaining time is not requested.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

/// Whether the processor has AVX and the kernel supports it.
pub(crate) fn has_wide_registers() -> bool {
    std::is_x86_feature_detected!("avx")
}

/// Uses an AVX register.
pub(crate) fn use_wide_registers() {
    // SAFETY: the caller has checked for AVX; the register is declared as clobbered.
    unsafe { asm!("vcmptrueps ymm7, ymm7, ymm7", out("ymm7") _, options(nomem, nostack)) };
}
