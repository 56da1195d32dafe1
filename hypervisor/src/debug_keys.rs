//! Paravane's debug keys. Each key has one function, which prints its output on the serial line as
//! log lines of Paravane.

use alloc::string::String;
use alloc::vec::Vec;

use machine::counters::{self, Counter};
use machine::frames::dirty_log::{self, LogState};
use machine::{frames, heap};

use crate::console::print;
use crate::domain::{self, Domain, Vcpu};
use crate::{call, event_channel, grant_table, latency, scheduler};

/// A key, the description of its function, and the function.
type Key = (u8, &'static str, fn());

const KEYS: &[Key] = &[
    (b'h', "this help", help),
    (b'q', "domains and their vCPUs", domains),
    (b'0', "registers of vCPUs that do not run", registers),
    (b'm', "memory", memory),
    (b'l', "longest latencies, and counts of hypercalls", latencies),
    (b'p', "performance counters", counters),
    (b'e', "event channels", || print_lists(event_channel::describe)),
    (b'g', "grants", || print_lists(grant_table::describe)),
    (b'r', "run queues", || scheduler::describe().for_each(|line| print(format_args!("{line}")))),
    (b'R', "restart the machine", restart),
    (b'*', "all keys above, without the restart", everything),
];

/// Maximum number of lines that a key prints about one domain. A guest chooses the number of its
/// event channels and grants.
const MAX_LINES: usize = 512;

/// Prints the lines that `describe` returns for each domain.
fn print_lists(describe: fn(&Domain, usize) -> (Vec<String>, usize)) {
    domain::for_each(|domain| {
        let (lines, left_out) = describe(domain, MAX_LINES);
        print_list(domain, &lines, left_out);
    });
}

/// Prints a list about a domain, and the number of lines that were left out.
fn print_list(domain: &Domain, lines: &[String], left_out: usize) {
    let number = domain.id().0;
    for line in lines {
        print(format_args!("d{number} {line}"));
    }
    if left_out != 0 {
        print(format_args!("d{number} and {left_out} more"));
    }
}

/// Handles a key. An unknown printable key is reported.
pub(crate) fn press(key: u8) {
    match KEYS.iter().find(|(byte, ..)| *byte == key) {
        Some((.., act)) => act(),
        None if key.is_ascii_graphic() => print(format_args!("no key {}; h lists them", char::from(key))),
        None => {}
    }
}

fn latencies() {
    for line in latency::report() {
        print(format_args!("{line}"));
    }
    for call in call::counts() {
        print(format_args!(
            "{}: made {} times, {} of them continued, longest stretch {} us",
            call.name,
            call.made,
            call.continued,
            call.longest / 1000
        ));
    }
}

fn counters() {
    for &counter in Counter::ALL {
        print(format_args!("counter {} {}", counter.name(), counters::sum(counter)));
    }
}

fn help() {
    for (key, words, _) in KEYS {
        print(format_args!("{}  {words}", char::from(*key)));
    }
}

fn domains() {
    domain::for_each(|domain| {
        let (settings, share) = (domain.settings(), domain.scheduling.share());
        print(format_args!(
            "d{} {}: {:?}{}, {} of {} frames, {} vCPUs, weight {}, cap {}",
            domain.id().0,
            settings.name,
            domain.life(),
            if domain.is_paused() { ", paused" } else { "" },
            domain.frames.len(),
            domain.max_frames(),
            domain.vcpus().len(),
            share.0,
            share.1,
        ));
        for vcpu in domain.vcpus() {
            let (pending, masked) = {
                let info = vcpu.info();
                let load = |byte: &core::sync::atomic::AtomicU8| byte.load(core::sync::atomic::Ordering::Relaxed);
                (load(info.upcall_pending()), load(info.upcall_mask()))
            };
            let up = if vcpu.is_up() { "up" } else { "down" };
            let place = if vcpu.parked().is_some() { "parked" } else { "on a pCPU" };
            print(format_args!(
                "d{}v{}: {up}, {place}, event pending {pending}, masked {masked}",
                domain.id().0,
                vcpu.id().get()
            ));
        }
    });
}

fn registers() {
    domain::for_each(|domain| {
        domain.vcpus().iter().filter(|vcpu| vcpu.is_up()).for_each(|vcpu| vcpu_registers(domain, vcpu))
    });
}

fn vcpu_registers(domain: &Domain, vcpu: &Vcpu) {
    let (domain, number) = (domain.id().0, vcpu.id().get());
    let state = vcpu.parked().as_ref().map(|context| (*context.registers(), context.is_in_kernel()));
    let Some((r, in_kernel)) = state else {
        let how = if scheduler::end_lazy_idle(vcpu) {
            "was lazily idle on a pCPU; press again to see its registers"
        } else {
            "on a pCPU"
        };
        return print(format_args!("d{domain}v{number}: {how}"));
    };
    let mode = if in_kernel { "kernel" } else { "user" };
    print(format_args!("d{domain}v{number}: {mode} at {:04x}:{:016x} flags {:x}", r.cs, r.rip, r.rflags));
    print(format_args!(
        "  ss:rsp {:04x}:{:016x} rax {:016x} rbx {:016x} rcx {:016x}",
        r.ss, r.rsp, r.rax, r.rbx, r.rcx
    ));
    print(format_args!("  rdx {:016x} rsi {:016x} rdi {:016x} rbp {:016x}", r.rdx, r.rsi, r.rdi, r.rbp));
    print(format_args!("  r8 {:016x} r9 {:016x} r10 {:016x} r11 {:016x}", r.r8, r.r9, r.r10, r.r11));
    print(format_args!("  r12 {:016x} r13 {:016x} r14 {:016x} r15 {:016x}", r.r12, r.r13, r.r14, r.r15));
}

fn memory() {
    print(format_args!("{} of {} frames free", frames::free_frames(), frames::total_frames()));
    let (used, size) = heap::usage();
    print(format_args!("{} of {} KiB of Paravane's own heap in use", used >> 10, size >> 10));
    domain::for_each(|domain| {
        let id = domain.id();
        let (listed, held, mapped) = (domain.frames.len(), frames::owned_by(id), domain.grants.mapped());
        print(format_args!("d{}: {listed} frames listed, {held} held, {mapped} grants mapped", id.0));
        if let Some(LogState { pages, marked, held, frames, mirrors, faults }) = dirty_log::state(id) {
            print(format_args!(
                "d{}: log of dirty pages: {marked} of {pages} marked and {faults} faults in this round, {held} written \
                 by others, {mirrors} mirror tables in a pool of {frames} frames",
                id.0
            ));
        }
    });
}

fn restart() {
    print(format_args!("restart"));
    machine::power::reboot();
}

fn everything() {
    KEYS.iter().filter(|(key, ..)| !matches!(key, b'h' | b'R' | b'*')).for_each(|(.., act)| act());
}
