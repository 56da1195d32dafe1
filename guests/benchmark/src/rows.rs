//! The measured operations, one function each. A function gets the number of repetitions, prepares,
//! and passes the measured part to the meter.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::Duration;

use super::{NOTHING, PROGRAM};
use crate::devices;
use crate::meter::Meter;
use crate::system::{self, Child, Mapping, PAGE};

/// One operation.
pub(crate) struct Row {
    /// Its name, for scripts.
    pub(crate) name: &'static str,
    /// Repetitions in one round: few enough that the clock's tick seldom hits one.
    pub(crate) times: u32,
    /// Runs it.
    pub(crate) run: fn(&mut Meter<'_>),
}

const fn row(name: &'static str, times: u32, run: fn(&mut Meter<'_>)) -> Row {
    Row { name, times, run }
}

/// All rows.
pub(crate) const ROWS: &[Row] = &[
    row("getppid", 500, |meter| meter.each(system::parent)),
    row("read-1", 500, |meter| read(meter, 1)),
    row("read-4k", 100, |meter| read(meter, 4096)),
    row("write-null", 500, write),
    row("mmap", 12, |meter| meter.each(|| drop(Mapping::anonymous(16)))),
    row("mmap-touched", 5, |meter| meter.each(|| Mapping::anonymous(16).touch())),
    row("file-fault", 16, file_fault),
    row("protection-fault", 20, protection_fault),
    row("signal", 100, signal),
    row("pipe-processes", 50, |meter| pipe_processes(meter, || ())),
    row("pipe-threads", 50, pipe_threads),
    row("avx-switch", 50, avx_switch),
    row("futex-wake", 50, futex_wake),
    row("fork", 2, |meter| meter.each(|| drop(Child::new(|| ())))),
    row("fork-64m", 1, fork_large),
    row("exec", 1, exec),
    row("mprotect", 50, mprotect),
    row("clock", 500, |meter| meter.each(system::clock)),
    row("timer-1ms", 2, timer),
    row("shell", 1, shell),
    row("build", 1, build),
];

/// Rows that use a disk or a network; only run on request.
pub(crate) const DEVICE_ROWS: &[Row] = &[
    row("block-random", 32, devices::block_random),
    row("block-sequential", 4, devices::block_sequential),
    row("tcp-round-trip", 20, devices::round_trip),
    row("tcp-stream", 4, devices::stream),
];

/// Rows of a guest with a log of dirty pages; only run on request.
pub(crate) const LOGGED_ROWS: &[Row] = &[
    row("logged-getppid", 500, |meter| meter.each(system::parent)),
    row("logged-fork", 2, |meter| meter.each(|| drop(Child::new(|| ())))),
    row("logged-first-write", 1024, first_write),
];

/// Writes to pages for the first time in a round. The control domain starts rounds more often than
/// this waits.
fn first_write(meter: &mut Meter<'_>) {
    let mapping = Mapping::anonymous(meter.times() as usize);
    mapping.touch();
    thread::sleep(Duration::from_millis(500));
    meter.whole(|| mapping.touch());
}

fn read(meter: &mut Meter<'_>, length: usize) {
    let file = File::open("/dev/zero").expect("devices exist");
    let mut buffer = vec![0; length];
    meter.each(|| system::read(file.as_raw_fd(), &mut buffer));
}

fn write(meter: &mut Meter<'_>) {
    let file = File::options().write(true).open("/dev/null").expect("devices exist");
    meter.each(|| system::write(file.as_raw_fd(), b"x"));
}

/// Faults on pages of a file that are in memory; the kernel maps the sixteen pages around each.
fn file_fault(meter: &mut Meter<'_>) {
    const AROUND: usize = 16;
    let path = "/tmp/file-fault";
    let pages = AROUND * meter.times() as usize;
    std::fs::write(path, vec![1; pages * PAGE]).expect("there is space");
    let file = File::open(path).expect("written just now");
    let mapping = Mapping::file(file.as_raw_fd(), pages);
    meter.whole(|| mapping.look(AROUND));
}

/// A write to a read-only page, and the handler that allows it: two `mprotect`s, a fault, a signal.
fn protection_fault(meter: &mut Meter<'_>) {
    let mapping = Mapping::anonymous(1);
    mapping.touch();
    system::allow_on_fault(&mapping);
    meter.each(|| {
        mapping.protect(false);
        mapping.touch();
    });
}

fn signal(meter: &mut Meter<'_>) {
    system::count_signals();
    let before = system::signals();
    meter.each(system::signal_self);
    assert!(system::signals() == before + meter.times() as usize, "signals were lost");
}

/// Sends a byte to a child and back.
fn pipe_processes(meter: &mut Meter<'_>, between: fn()) {
    let ((there, to_child), (back, to_parent)) = (system::pipe(), system::pipe());
    let times = meter.times() + 1;
    let child = Child::new(|| {
        let mut byte = [0];
        for _ in 0..times {
            system::read(there, &mut byte);
            between();
            system::write(to_parent, &byte);
        }
    });
    let mut byte = [0];
    let mut turn = || {
        system::write(to_child, &byte);
        between();
        system::read(back, &mut byte);
    };
    turn();
    meter.each(turn);
    drop(child);
    for end in [there, to_child, back, to_parent] {
        system::close(end);
    }
}

fn pipe_threads(meter: &mut Meter<'_>) {
    let ((there, to_other), (back, to_first)) = (system::pipe(), system::pipe());
    let times = meter.times() + 1;
    let other = thread::spawn(move || {
        let mut byte = [0];
        for _ in 0..times {
            system::read(there, &mut byte);
            system::write(to_first, &byte);
        }
    });
    let mut byte = [0];
    let mut turn = || {
        system::write(to_other, &byte);
        system::read(back, &mut byte);
    };
    turn();
    meter.each(turn);
    other.join().expect("the other thread ends");
    for end in [there, to_other, back, to_first] {
        system::close(end);
    }
}

/// As between processes, which both use AVX registers.
fn avx_switch(meter: &mut Meter<'_>) {
    if system::has_wide_registers() {
        pipe_processes(meter, system::use_wide_registers);
    }
}

/// Two threads wake each other in turn.
fn futex_wake(meter: &mut Meter<'_>) {
    let word = Arc::new(AtomicU32::new(0));
    let times = meter.times() + 1;
    let others = Arc::clone(&word);
    let other = thread::spawn(move || {
        for turn in 0..times {
            system::wait_while(&others, 2 * turn);
            system::set_and_wake(&others, 2 * turn + 2);
        }
    });
    let mut turn = 0;
    let mut go = || {
        system::set_and_wake(&word, 2 * turn + 1);
        system::wait_while(&word, 2 * turn + 1);
        turn += 1;
    };
    go();
    meter.each(go);
    other.join().expect("the other thread ends");
}

fn fork_large(meter: &mut Meter<'_>) {
    let memory = Mapping::anonymous(64 << 20 >> 12);
    memory.touch();
    meter.each(|| drop(Child::new(|| ())));
}

fn exec(meter: &mut Meter<'_>) {
    let program = CString::new(PROGRAM).expect("no zero in it");
    let argument = CString::new(NOTHING).expect("no zero in it");
    meter.each(|| drop(Child::new(|| system::execute(&program, &argument))));
}

fn mprotect(meter: &mut Meter<'_>) {
    let mapping = Mapping::anonymous(16);
    mapping.touch();
    let mut writable = true;
    meter.each(|| {
        writable = !writable;
        mapping.protect(writable);
    });
}

/// The time that a sleep of a millisecond takes beyond the millisecond.
fn timer(meter: &mut Meter<'_>) {
    system::sleep_exactly();
    system::sleep(1_000_000);
    meter.each(|| system::sleep(1_000_000));
    meter.take_off(1_000_000);
}

/// A script that starts thirty small programs and moves files between them.
fn shell(meter: &mut Meter<'_>) {
    const SCRIPT: &str = "cd /tmp; for i in 1 2 3 4 5; do \
        busybox seq 1 300 > a; busybox sort -r a > b; busybox sed s/1/one/ b | busybox gzip > c.gz; \
        busybox gzip -dc c.gz | busybox md5sum > d; busybox rm a b c.gz d; done";
    meter.each(|| script(SCRIPT));
}

/// A small C program built by Debian's tcc: four files, linked, and run.
fn build(meter: &mut Meter<'_>) {
    const SCRIPT: &str = "cd /build; for part in text table system main; do \
        tcc -c $part.c -o /tmp/$part.o; done; \
        tcc -nostdlib -static -o /tmp/count /tmp/text.o /tmp/table.o /tmp/system.o /tmp/main.o; \
        test \"$(/tmp/count)\" = '32 the 11'";
    meter.each(|| script(SCRIPT));
}

fn script(text: &str) {
    let status = Command::new("/bin/busybox").args(["sh", "-ec", text]).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "the script failed");
}
