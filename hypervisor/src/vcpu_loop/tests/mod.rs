//! The scheduler on the hosted back end, with threads as pCPUs and closures as guests.

mod core_scheduling;

use alloc::string::String;
use alloc::sync::Arc;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{sync, thread};

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::addr::{CpuId, CpuSet};
use machine::cpu;
use machine::hosted::time::{self as clock, advance};
use machine::time::now;

use super::{halt, idle_lazily, may_idle_lazily, next, poll};
use crate::domain::{Domain, EndReason, Port, Settings, Vcpu, VcpuId};
use crate::lifecycle;
use crate::scheduler;
use crate::scheduler::{
    SLICE, block, idle_cpus, kick, must_stop, resume, running_on, set_affinity, set_rate_limit, set_soft_affinity,
    set_weight, start_polling, wait_until_parked, wake, wake_pollers, yield_now,
};
use crate::testing::{rounds, start_machine};

/// A domain whose vCPUs are up. Only the closures of the tests run them.
fn domain(id: u16, vcpus: u32, weight: u16, cap: u16) -> Arc<Domain> {
    start_machine();
    let settings = Settings { name: String::from("scheduled"), privileged: false, vcpus, max_frames: 16, weight, cap };
    let domain = Domain::new(DomainId(id), settings).expect("memory for a domain");
    for vcpu in domain.vcpus() {
        vcpu.info().upcall_mask().store(0, Ordering::SeqCst);
        vcpu.set_up(true);
    }
    domain
}

fn only(cpu: CpuId) -> CpuSet {
    let mut set = CpuSet::EMPTY;
    set.insert(cpu);
    set
}

/// Runs `guest` as one vCPU until it has to stop, or halts until an event arrives.
fn step(cpu: CpuId, guest: impl FnOnce(&Arc<Vcpu>, &Arc<Domain>)) {
    if let Some((vcpu, domain)) = next(cpu) {
        guest(&vcpu, &domain);
        scheduler::put_back(cpu, &vcpu, &domain);
    }
}

/// A guest that never waits.
fn spin(vcpu: &Arc<Vcpu>) {
    loop {
        poll();
        if must_stop(vcpu) {
            return;
        }
        core::hint::spin_loop();
    }
}

/// A guest's wait for an event, like in `run_vcpu`. Returns `false` if the vCPU had to leave its
/// pCPU.
fn wait(vcpu: &Arc<Vcpu>) -> bool {
    let domain = vcpu.domain().expect("its domain runs it");
    block(vcpu);
    while must_stop(vcpu) {
        if !may_idle_lazily(vcpu, &domain) {
            return false;
        }
        idle_lazily(vcpu, &domain);
    }
    true
}

/// Threads that act as pCPUs until the value is dropped.
struct Cpus {
    stop: Arc<AtomicBool>,
    threads: Vec<(CpuId, thread::JoinHandle<()>)>,
}

impl Cpus {
    fn start(count: usize, guest: impl Fn(&Arc<Vcpu>) + Send + Sync + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let guest = Arc::new(guest);
        let threads = (0..count)
            .map(|_| {
                let (stop, guest) = (Arc::clone(&stop), Arc::clone(&guest));
                let (send, receive) = sync::mpsc::channel();
                let thread = thread::spawn(move || {
                    let cpu = cpu::current();
                    send.send(cpu).expect("the starter waits");
                    while !stop.load(Ordering::SeqCst) {
                        step(cpu, |vcpu, _| guest(vcpu));
                    }
                });
                (receive.recv().expect("the thread has started"), thread)
            })
            .collect();
        Self { stop, threads }
    }

    fn set(&self) -> CpuSet {
        self.threads.iter().fold(CpuSet::EMPTY, |mut set, (cpu, _)| {
            set.insert(*cpu);
            set
        })
    }

    /// Stops the threads. The vCPUs of all domains must be paused.
    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for (cpu, thread) in self.threads {
            while !thread.is_finished() {
                cpu::kick(cpu);
                thread::sleep(Duration::from_millis(1));
            }
            thread.join().expect("the thread of a pCPU did not panic");
        }
    }
}

fn start_on(domain: &Domain, cpus: CpuSet) {
    for vcpu in domain.vcpus() {
        set_affinity(vcpu, cpus).expect("pCPUs that run");
    }
    lifecycle::start(domain);
}

fn stop(domains: &[Arc<Domain>], cpus: Cpus) {
    for domain in domains {
        scheduler::pause(domain);
        for vcpu in domain.vcpus() {
            while !wait_until_parked(vcpu) {
                thread::yield_now();
            }
        }
    }
    cpus.stop();
}

#[test]
fn no_wake_up_is_lost() {
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    // The guest takes its event and waits for the next one.
    let cpus = Cpus::start(1, move |vcpu| {
        if vcpu.info().upcall_pending().swap(0, Ordering::SeqCst) != 0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
        block(vcpu);
    });
    let domain = domain(1, 1, 256, 0);
    start_on(&domain, cpus.set());
    for sent in 1..=20_000 {
        scheduler::notify(domain.vcpu(VcpuId::BOOT).expect("a vCPU"));
        let patience = Instant::now();
        while seen.load(Ordering::SeqCst) < sent {
            assert!(patience.elapsed() < Duration::from_secs(20), "event {sent} was lost");
            core::hint::spin_loop();
        }
    }
    stop(&[domain], cpus);
}

#[test]
fn no_wake_up_is_lost_in_lazy_idle() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    static LEFT: AtomicU64 = AtomicU64::new(0);
    let cpus = Cpus::start(1, move |vcpu| {
        loop {
            if vcpu.info().upcall_pending().swap(0, Ordering::SeqCst) != 0 {
                SEEN.fetch_add(1, Ordering::SeqCst);
            }
            if !wait(vcpu) {
                LEFT.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    });
    let domain = domain(1, 1, 256, 0);
    start_on(&domain, cpus.set());
    let vcpu = domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    for sent in 1..=20_000 {
        scheduler::notify(vcpu);
        let patience = Instant::now();
        while SEEN.load(Ordering::SeqCst) < sent {
            assert!(patience.elapsed() < Duration::from_secs(20), "event {sent} was lost");
            core::hint::spin_loop();
        }
    }
    assert_eq!(LEFT.load(Ordering::SeqCst), 0, "no other vCPU was runnable");
    let busy = vcpu.scheduling.run_time();
    thread::sleep(Duration::from_millis(200));
    assert!(vcpu.scheduling.run_time() < busy + 100_000_000, "waiting does not count as run time");
    stop(&[domain], cpus);
    assert_eq!(LEFT.load(Ordering::SeqCst), 1, "a pause unloads it");
}

#[test]
fn a_lazy_idle_vcpu_leaves_for_a_waiting_one() {
    static TURNS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    let cpus = Cpus::start(1, move |vcpu| {
        let number = vcpu.domain().map_or(0, |domain| usize::from(domain.id().0) - 1);
        loop {
            vcpu.info().upcall_pending().store(0, Ordering::SeqCst);
            TURNS[number].fetch_add(1, Ordering::SeqCst);
            if !wait(vcpu) {
                return;
            }
        }
    });
    let domains = [domain(1, 1, 256, 0), domain(2, 1, 256, 0)];
    domains.iter().for_each(|domain| start_on(domain, cpus.set()));
    for turn in 1..=5_000 {
        for (number, domain) in domains.iter().enumerate() {
            scheduler::notify(domain.vcpu(VcpuId::BOOT).expect("a vCPU"));
            let patience = Instant::now();
            while TURNS[number].load(Ordering::SeqCst) < turn {
                assert!(patience.elapsed() < Duration::from_secs(20), "{number} waits in turn {turn}");
                core::hint::spin_loop();
            }
        }
    }
    stop(&domains, cpus);
}

#[test]
fn a_cap_holds_in_lazy_idle() {
    let domain = domain(1, 1, 256, 10);
    start_on(&domain, only(cpu::current()));
    let vcpu = domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    // It works for a millisecond and waits; it is woken at once.
    simulate(5_000_000_000, |vcpu| {
        loop {
            poll();
            advance(1_000_000);
            scheduler::notify(vcpu);
            if !wait(vcpu) || must_stop(vcpu) {
                return;
            }
        }
    });
    let percent = vcpu.scheduling.run_time() / 50_000_000;
    assert!((9..=12).contains(&percent), "capped at a tenth, got {percent} %");
}

#[test]
fn a_poll_ends_for_its_own_ports_only() {
    let domain = domain(1, 1, 256, 0);
    let vcpu = domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    start_polling(vcpu, &domain, &[Port::new(5)]);
    assert!(vcpu.scheduling.is_blocked());
    wake_pollers(&domain, Port::new(6));
    assert!(vcpu.scheduling.is_blocked());
    wake_pollers(&domain, Port::new(5));
    assert!(!vcpu.scheduling.is_blocked());
    start_polling(vcpu, &domain, &[Port::new(5), Port::new(6)]);
    wake_pollers(&domain, Port::new(6));
    assert!(!vcpu.scheduling.is_blocked());
    assert_eq!(domain.scheduling.pollers.load(Ordering::SeqCst), 0);
    // A deliverable event ends the poll before it begins.
    vcpu.info().raise_upcall();
    start_polling(vcpu, &domain, &[Port::new(7)]);
    assert!(!vcpu.scheduling.is_blocked());
}

/// The run time of each domain's vCPUs, in microseconds.
fn run_times(domains: &[Arc<Domain>]) -> Vec<u64> {
    let time = |domain: &Arc<Domain>| domain.vcpus().iter().map(|vcpu| vcpu.scheduling.run_time() / 1000).sum();
    domains.iter().map(time).collect()
}

#[test]
fn three_busy_vcpus_share_two_cpus() {
    let cpus = Cpus::start(2, spin);
    let domains: Vec<_> = (1..=3).map(|id| domain(id, 1, 256, 0)).collect();
    domains.iter().for_each(|domain| start_on(domain, cpus.set()));
    thread::sleep(Duration::from_secs(3));
    let times = run_times(&domains);
    stop(&domains, cpus);
    let fair = times.iter().sum::<u64>() / 3;
    assert!(fair > 1_000_000, "two pCPUs for three seconds gave {times:?}");
    // Without balancing, one vCPU would get 50 % more. The scheduling of the host makes the rest
    // inexact.
    assert!(times.iter().all(|time| time.abs_diff(fair) < fair * 9 / 20), "{times:?}");
}

/// Runs this thread as a pCPU until its clock, which `guest` advances, is later by `time`.
fn simulate(time: u64, guest: impl Fn(&Arc<Vcpu>)) {
    let end = now() + time;
    while now() < end {
        step(cpu::current(), |vcpu, _| guest(vcpu));
    }
}

/// A guest that never waits, in simulated time. `each` is called every 100 µs.
fn work(vcpu: &Arc<Vcpu>, mut each: impl FnMut()) {
    loop {
        poll();
        if must_stop(vcpu) {
            return;
        }
        advance(100_000);
        each();
    }
}

#[test]
fn weight_and_cap_apply_per_domain() {
    // The first domain has twice the weight, shared by two vCPUs. The third is capped at a tenth of
    // the pCPU.
    let domains = [domain(1, 2, 512, 0), domain(2, 1, 256, 0), domain(3, 1, 256, 10)];
    domains.iter().for_each(|domain| start_on(domain, only(cpu::current())));
    simulate(20_000_000_000, |vcpu| work(vcpu, || ()));
    let times = run_times(&domains);
    let all: u64 = times.iter().sum();
    assert!((8..=12).contains(&(times[2] * 100 / all)), "capped at a tenth, got {times:?}");
    let ratio = times[0] * 100 / times[1];
    assert!((180..=220).contains(&ratio), "two to one, got {times:?}");
}

/// The waiting times of `sleeper` each time that it is woken after sleeping for `pause`, beside
/// other vCPUs that never wait; sorted.
fn waits_of(sleeper: &Arc<Vcpu>, pause: u64) -> Vec<u64> {
    // The pCPU is never idle, so nothing waits for time to pass by itself.
    clock::stop();
    let (next, sent) = (Cell::new(now() + 50_000_000), Cell::new(0));
    let waits = RefCell::new(Vec::new());
    simulate(5_000_000_000, |vcpu| {
        if Arc::ptr_eq(vcpu, sleeper) {
            if vcpu.info().upcall_pending().swap(0, Ordering::SeqCst) != 0 {
                waits.borrow_mut().push(now() - sent.get());
                next.set(now() + pause);
            }
            block(vcpu);
        } else {
            work(vcpu, || {
                if now() >= next.get() {
                    next.set(u64::MAX);
                    sent.set(now());
                    scheduler::notify(sleeper);
                }
            });
        }
    });
    let mut waits = waits.into_inner();
    waits.sort_unstable();
    assert!(waits.len() > 150, "woken {} times", waits.len());
    waits
}

#[test]
fn a_sleeper_wakes_soon_beside_busy_vcpus() {
    let domains: Vec<_> = [1, 2, 3, 9].map(|id| domain(id, 1, 256, 0)).into();
    domains.iter().for_each(|domain| start_on(domain, only(cpu::current())));
    let waits = waits_of(domains[3].vcpu(VcpuId::BOOT).expect("a vCPU"), 23_000_000);
    assert!(waits[waits.len() - 1] < 1_000_000, "{waits:?}");
}

#[test]
fn a_sleeper_wakes_soon_beside_a_busy_vcpu_of_its_own_domain() {
    let domain = domain(1, 2, 256, 0);
    start_on(&domain, only(cpu::current()));
    // The slice of the busy vCPU has not expired.
    let waits = waits_of(domain.vcpu(VcpuId::new(1)).expect("a vCPU"), 2_300_000);
    assert!(waits[waits.len() - 1] < 1_000_000, "{waits:?}");
}

/// Runs one vCPU that never waits beside a domain of eight vCPUs that take turns: each runs for
/// `turn` and wakes the next one before it sleeps. After a round all of them sleep for `rest`.
/// Returns the simulated run time of each domain, and the longest wait of the first vCPU.
fn beside_a_relay(turn: u64, rest: u64, weight: u16) -> ([u64; 2], u64) {
    const STEP: u64 = 100_000;
    let domains = [domain(1, 1, 256, 0), domain(2, 8, weight, 0)];
    let busy = domains[0].vcpu(VcpuId::BOOT).expect("a vCPU");
    domains.iter().for_each(|domain| start_on(domain, only(cpu::current())));
    let (holder, ran, resumes) = (Cell::new(0), Cell::new(0), Cell::new(u64::MAX));
    let (times, waited, longest) = ([Cell::new(0), Cell::new(0)], Cell::new(0), Cell::new(0));
    let wake_holder = || scheduler::notify(domains[1].vcpu(VcpuId::new(holder.get())).expect("a vCPU"));
    simulate(5_000_000_000, |vcpu| {
        if Arc::ptr_eq(vcpu, busy) {
            longest.set(longest.get().max(waited.replace(0)));
            return work(vcpu, || {
                times[0].set(times[0].get() + STEP);
                if now() >= resumes.get() {
                    resumes.set(u64::MAX);
                    wake_holder();
                }
            });
        }
        while holder.get() == vcpu.id().get() && resumes.get() == u64::MAX {
            poll();
            if must_stop(vcpu) {
                return;
            }
            advance(STEP);
            for sum in [&times[1], &waited, &ran] {
                sum.set(sum.get() + STEP);
            }
            if ran.get() >= turn {
                ran.set(0);
                holder.set((holder.get() + 1) % 8);
                if holder.get() == 0 && rest != 0 {
                    resumes.set(now() + rest);
                } else {
                    wake_holder();
                }
            }
        }
        vcpu.info().upcall_pending().store(0, Ordering::SeqCst);
        block(vcpu);
    });
    domains.iter().for_each(|domain| scheduler::pause(domain));
    (times.map(Cell::into_inner), longest.get())
}

#[test]
fn vcpus_that_wake_each_other_get_no_more_than_a_busy_one() {
    // No pCPU becomes idle here, so nothing waits for time to pass by itself.
    clock::stop();
    for turn in [500_000, 2_000_000, 4_900_000, 9_000_000] {
        for rest in [0, 50_000_000] {
            let (times, wait) = beside_a_relay(turn, rest, 256);
            assert!(times[1] < times[0] * 11 / 10, "turns of {turn} ns: {times:?}");
            assert!(wait <= SLICE * 3, "turns of {turn} ns kept a neighbour waiting for {wait} ns");
        }
    }
    let (times, _) = beside_a_relay(4_900_000, 0, 64);
    assert!(times[1] < times[0] * 11 / 40, "a quarter of the weight: {times:?}");
}

#[test]
fn a_running_vcpu_keeps_its_pcpu_for_the_rate_limit() {
    let domains: Vec<_> = [1, 2, 9].map(|id| domain(id, 1, 256, 0)).into();
    domains.iter().for_each(|domain| start_on(domain, only(cpu::current())));
    let sleeper = domains[2].vcpu(VcpuId::BOOT).expect("a vCPU");
    let short = || {
        let (next, runs) = (Cell::new(now() + 1_300_000), RefCell::new(Vec::new()));
        simulate(2_000_000_000, |vcpu| {
            if Arc::ptr_eq(vcpu, sleeper) {
                vcpu.info().upcall_pending().store(0, Ordering::SeqCst);
                return block(vcpu);
            }
            let start = now();
            work(vcpu, || {
                if now() >= next.get() {
                    next.set(now() + 1_300_000);
                    scheduler::notify(sleeper);
                }
            });
            runs.borrow_mut().push(now() - start);
        });
        let mut runs = runs.into_inner();
        runs.sort_unstable();
        // The shortest runs may be caused by other load of the host.
        runs[runs.len() / 10]
    };
    let free = short();
    assert!(free < 2_500_000, "a waking vCPU preempts only after {free} ns");
    set_rate_limit(4_000);
    let held = short();
    set_rate_limit(0);
    assert!(held >= 3_900_000, "taken after {held} ns");
}

#[test]
fn a_vcpu_wakes_on_its_soft_affinity() {
    static RAN_ON: AtomicU64 = AtomicU64::new(0);
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let cpus = Cpus::start(2, |vcpu| {
        if vcpu.info().upcall_pending().swap(0, Ordering::SeqCst) != 0 {
            RAN_ON.store(cpu::current().index() as u64, Ordering::SeqCst);
            RUNS.fetch_add(1, Ordering::SeqCst);
        }
        block(vcpu);
    });
    let domain = domain(1, 1, 256, 0);
    let vcpu = domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    start_on(&domain, cpus.set());
    let mut there = 0;
    for (sent, (cpu, _)) in (1..).zip(cpus.threads.iter().cycle().take(100)) {
        set_soft_affinity(vcpu, only(*cpu)).expect("a pCPU that runs");
        let patience = Instant::now();
        while !cpus.set().iter().all(|cpu| idle_cpus().contains(cpu)) {
            assert!(patience.elapsed() < Duration::from_secs(20), "both become idle again");
            thread::yield_now();
        }
        scheduler::notify(vcpu);
        let patience = Instant::now();
        while RUNS.load(Ordering::SeqCst) < sent {
            assert!(patience.elapsed() < Duration::from_secs(20), "event {sent} was lost");
            core::hint::spin_loop();
        }
        there += u64::from(RAN_ON.load(Ordering::SeqCst) == cpu.index() as u64);
    }
    // Occasionally the other pCPU looks for work at that moment and takes the vCPU.
    assert!(there > 75, "{there} of 100");
    stop(&[domain], cpus);
}

#[test]
fn settings_are_checked_and_take_effect() {
    let cpus = Cpus::start(2, spin);
    let domain = domain(1, 1, 256, 0);
    let vcpu = domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    assert_eq!(set_affinity(vcpu, CpuSet::EMPTY), Err(Errno::EINVAL));
    assert_eq!(set_affinity(vcpu, CpuSet::from_bits(1 << 63)), Err(Errno::EINVAL));
    assert_eq!(set_weight(&domain, 0), Err(Errno::EINVAL));
    start_on(&domain, cpus.set());
    for (cpu, _) in cpus.threads.iter().cycle().take(20) {
        set_affinity(vcpu, only(*cpu)).expect("a pCPU that runs");
        let patience = Instant::now();
        while running_on(vcpu) != Some(*cpu) {
            assert!(patience.elapsed() < Duration::from_secs(20), "the vCPU does not move to {cpu:?}");
            thread::yield_now();
        }
    }
    kick(vcpu);
    wake(vcpu);
    stop(&[domain], cpus);
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn random_operations_never_run_a_vcpu_twice_or_lose_it() {
    static INSIDE: [AtomicBool; 8] = [const { AtomicBool::new(false) }; 8];
    static TURNS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    let number = |vcpu: &Vcpu| vcpu.id().index();
    let cpus = Cpus::start(3, move |vcpu| {
        let own = number(vcpu);
        assert!(!INSIDE[own].swap(true, Ordering::SeqCst), "two pCPUs run one vCPU");
        let turn = TURNS[own].fetch_add(1, Ordering::SeqCst);
        vcpu.info().upcall_pending().store(0, Ordering::SeqCst);
        match (turn + own as u64) % 4 {
            0 => spin_until(vcpu, turn % 64),
            1 => yield_now(vcpu),
            2 => {
                wait(vcpu);
            }
            _ => block(vcpu),
        }
        INSIDE[own].store(false, Ordering::SeqCst);
    });
    let domain = domain(1, 8, 256, 0);
    let all = cpus.set();
    start_on(&domain, all);
    let mut random = Random(1);
    for _ in 0..rounds(300_000) {
        let vcpu = &domain.vcpus()[random.below(8) as usize];
        match random.below(16) {
            0 => {
                let some = CpuSet::from_bits(all.bits() & (1 + random.below(7)) << 1 | 1 << 1);
                // A set without one of the pCPUs is refused.
                let _ = set_affinity(vcpu, CpuSet::from_bits(some.bits() & all.bits()));
            }
            1 => {
                scheduler::pause(&domain);
                scheduler::unpause(&domain);
            }
            2 => {
                vcpu.set_up(false);
                kick(vcpu);
                if random.below(2) == 0 && wait_until_parked(vcpu) {
                    assert!(!INSIDE[number(vcpu)].load(Ordering::SeqCst), "parked and running");
                }
                vcpu.set_up(true);
                resume(vcpu);
            }
            3 => kick(vcpu),
            _ => scheduler::notify(vcpu),
        }
    }
    for vcpu in domain.vcpus() {
        set_affinity(vcpu, all).expect("pCPUs that run");
        let before = TURNS[number(vcpu)].load(Ordering::SeqCst);
        let patience = Instant::now();
        scheduler::notify(vcpu);
        while TURNS[number(vcpu)].load(Ordering::SeqCst) == before {
            assert!(
                patience.elapsed() < Duration::from_secs(20),
                "{:?} is lost: {:?}",
                vcpu.id(),
                vcpu.scheduling.state()
            );
            thread::yield_now();
        }
    }
    stop(&[domain], cpus);
}

/// A guest that is busy for some rounds.
fn spin_until(vcpu: &Arc<Vcpu>, rounds: u64) {
    for _ in 0..rounds * 16 {
        poll();
        if must_stop(vcpu) {
            return;
        }
        core::hint::spin_loop();
    }
}

/// The initial domain has ended. One pCPU destroys it and waits until another one has flushed its
/// TLB, while that one looks for work. Without an interrupt window in its loop, both wait forever
/// and the host does not power off.
#[test]
fn a_pcpu_without_a_runnable_vcpu_handles_flushes() {
    start_machine();
    let settings =
        Settings { name: String::from("initial"), privileged: true, vcpus: 1, max_frames: 16, weight: 256, cap: 0 };
    let domain = Domain::new(DomainId(0), settings).expect("memory for a domain");
    // It is never parked, so its destruction stays due and makes no progress.
    let context = domain.vcpus()[0].parked().take();
    lifecycle::end(&domain, EndReason::Poweroff);
    let stop = Arc::new(AtomicBool::new(false));
    let (send, receive) = sync::mpsc::channel();
    let other = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let cpu = cpu::current();
            machine::hosted::tlb::with_interrupts_off(|| {
                send.send(cpu).expect("the test waits");
                while !stop.load(Ordering::SeqCst) {
                    step(cpu, |_, _| panic!("no vCPU can run"));
                }
            });
        }
    });
    let target = receive.recv().expect("the other pCPU has started");
    let (done, flushed) = sync::mpsc::channel();
    thread::spawn(move || {
        (0..100).for_each(|_| machine::tlb::flush_cpus(only(target)));
        done.send(()).expect("the test waits");
    });
    flushed.recv_timeout(Duration::from_secs(60)).expect("a pCPU that looks for work handles the flush");
    stop.store(true, Ordering::SeqCst);
    other.join().expect("the thread of the other pCPU did not panic");
    drop(context);
}

#[test]
fn a_pcpu_polls_after_logging_before_it_halts() {
    start_machine();
    let (done, awake) = sync::mpsc::channel();
    thread::spawn(move || {
        let cpu = cpu::current();
        poll();
        machine::console::write(b"the domain is gone\n");
        halt(cpu);
        poll();
        done.send(crate::console::has_news()).expect("the test waits");
    });
    let is_left = awake.recv_timeout(Duration::from_secs(10)).expect("it polls before it halts");
    assert!(!is_left);
}
