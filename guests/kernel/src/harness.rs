//! Counts checks, and prints the one line with the guest's result.

use core::fmt::{self, Debug};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::{call, console, say};

static CHECKS: AtomicU32 = AtomicU32::new(0);
static FAILED: AtomicU32 = AtomicU32::new(0);
static FIRST_FAILED: AtomicU32 = AtomicU32::new(0);
const MAX_LINES: u32 = 200;

fn count(good: bool) -> u32 {
    let number = CHECKS.fetch_add(1, Relaxed) + 1;
    if !good && FAILED.fetch_add(1, Relaxed) == 0 {
        FIRST_FAILED.store(number, Relaxed);
    }
    number
}

/// Counts a check; prints a line if it failed.
pub fn check(good: bool, what: fmt::Arguments<'_>, place: &str, line: u32) -> bool {
    let number = count(good);
    if !good && FAILED.load(Relaxed) <= MAX_LINES {
        say!("FAIL {number} ({place}:{line}): {what}");
    }
    good
}

/// Counts a comparison; prints the actual and the expected value if they differ.
pub fn check_eq<T: Debug>(good: bool, got: T, due: T, what: fmt::Arguments<'_>, place: &str, line: u32) -> bool {
    let number = count(good);
    if !good && FAILED.load(Relaxed) <= MAX_LINES {
        say!("FAIL {number} ({place}:{line}): {what}: got {got:x?}, expected {due:x?}");
    }
    good
}

/// `check!(condition, "what", …)`: one numbered check.
#[macro_export]
macro_rules! check {
    ($good:expr, $($what:tt)+) => {
        $crate::harness::check($good, format_args!($($what)+), file!(), line!())
    };
}

/// `check_eq!(got, due, "what", …)`: one numbered comparison.
#[macro_export]
macro_rules! check_eq {
    ($got:expr, $due:expr, $($what:tt)+) => {{
        let (got, due) = ($got, $due);
        $crate::harness::check_eq(got == due, got, due, format_args!($($what)+), file!(), line!())
    }};
}

/// Ends the guest with success if every check passed.
pub fn finish() -> ! {
    let (checks, failed) = (CHECKS.load(Relaxed), FAILED.load(Relaxed));
    say!("checks: {checks}");
    if failed == 0 && checks > 0 {
        say!("RESULT: success");
    } else if failed == 0 {
        say!("RESULT: error: nothing was checked");
    } else {
        say!("RESULT: failure: {failed} of {checks} checks, the first is number {}", FIRST_FAILED.load(Relaxed));
    }
    end()
}

/// Ends the guest as not applicable here.
pub fn skip(why: &str) -> ! {
    say!("RESULT: skip: {why}");
    end()
}

/// Ends the guest with an error of its own.
pub fn error(why: fmt::Arguments<'_>) -> ! {
    say!("RESULT: error: {why}");
    end()
}

fn end() -> ! {
    console::flush();
    call::shutdown(0)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    static DEPTH: AtomicU32 = AtomicU32::new(0);
    if DEPTH.fetch_add(1, Relaxed) > 0 {
        call::shutdown(3);
    }
    match info.location() {
        Some(place) => error(format_args!("panic at {}:{}: {}", place.file(), place.line(), info.message())),
        None => error(format_args!("panic: {}", info.message())),
    }
}
