//! Core scheduling, with pairs of threads of the process as the threads of a core.

use core::sync::atomic::AtomicU32;

use machine::addr::MAX_CPUS;
use machine::counters::{self, Counter};
use machine::topology;

use super::*;
use crate::scheduler::set_core_scheduling;

/// Starts pCPUs that run `guest`, two per core. Returns them and the full cores.
fn start_cores(count: usize, guest: impl Fn(&Arc<Vcpu>) + Send + Sync + 'static) -> (Cpus, Vec<CpuSet>) {
    start_machine();
    machine::hosted::cpus::set_thread_bits(1);
    // The core of the test's own thread may be incomplete.
    let cpus = Cpus::start(2 * count + 1, guest);
    let all = cpus.set();
    let firsts = all.iter().filter(|cpu| topology::core(*cpu) == *cpu);
    let cores = firsts.map(topology::siblings).filter(|core| core.iter().all(|cpu| all.contains(cpu)));
    let cores: Vec<_> = cores.take(count).collect();
    assert_eq!(cores.len(), count);
    (cpus, cores)
}

fn all_of(cores: &[CpuSet]) -> CpuSet {
    CpuSet::from_bits(cores.iter().fold(0, |bits, core| bits | core.bits()))
}

/// The guest that each pCPU runs: one more than the number of its domain, or [`SHARED`].
static RUNNING: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
const SHARED: u64 = u64::MAX;
static MEETINGS: AtomicU64 = AtomicU64::new(0);
static VIOLATIONS: AtomicU64 = AtomicU64::new(0);

/// Executes code of a guest for a moment, and watches the other thread of the core.
fn guest_code(mark: u64) {
    let here = cpu::current();
    RUNNING[here.index()].store(mark, Ordering::SeqCst);
    for _ in 0..20 {
        for sibling in topology::siblings(here).iter().filter(|cpu| *cpu != here) {
            match RUNNING[sibling.index()].load(Ordering::SeqCst) {
                0 => {}
                other if other == mark => _ = MEETINGS.fetch_add(1, Ordering::Relaxed),
                _ => _ = VIOLATIONS.fetch_add(1, Ordering::Relaxed),
            }
        }
        core::hint::spin_loop();
    }
    RUNNING[here.index()].store(0, Ordering::SeqCst);
}

/// CS-1, with random wakes, waits and slices, and domains that change their choice.
#[test]
fn guests_of_different_domains_never_run_on_a_core_at_the_same_time() {
    /// By domain number, whether it has core scheduling.
    static CHOSEN: [AtomicBool; 5] = [const { AtomicBool::new(false) }; 5];
    static ROUNDS: [AtomicU32; 5] = [const { AtomicU32::new(0) }; 5];
    let (cpus, cores) = start_cores(2, |vcpu| {
        let number = vcpu.domain().map_or(0, |domain| usize::from(domain.id().0));
        let mut work = now() ^ number as u64;
        loop {
            poll();
            if must_stop(vcpu) {
                return;
            }
            let mark = if CHOSEN[number].load(Ordering::SeqCst) { number as u64 + 1 } else { SHARED };
            guest_code(mark);
            ROUNDS[number].fetch_add(1, Ordering::Relaxed);
            work = work.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Every fourth domain never waits.
            if number % 4 != 0 && work >> 60 == 0 {
                vcpu.info().upcall_pending().store(0, Ordering::SeqCst);
                if !wait(vcpu) {
                    return;
                }
            }
        }
    });
    let domains: Vec<_> = (1..=4).map(|id| domain(id, 2, 256, 0)).collect();
    for (domain, on) in domains.iter().zip([true, true, false, true]) {
        CHOSEN[usize::from(domain.id().0)].store(on, Ordering::SeqCst);
        set_core_scheduling(domain, on);
        start_on(domain, all_of(&cores));
    }
    let start = Instant::now();
    let mut random = 1u64;
    while start.elapsed() < Duration::from_secs(4) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let domain = &domains[(random >> 40) as usize % 4];
        scheduler::notify(domain.vcpu(VcpuId::new((random >> 50) as u32 % 2)).expect("a vCPU"));
        if random >> 58 == 0 {
            let chosen = &CHOSEN[usize::from(domain.id().0)];
            scheduler::pause(domain);
            for vcpu in domain.vcpus() {
                while !wait_until_parked(vcpu) {
                    thread::yield_now();
                }
            }
            let on = !chosen.fetch_xor(true, Ordering::SeqCst);
            set_core_scheduling(domain, on);
            scheduler::unpause(domain);
        }
        thread::sleep(Duration::from_micros(random >> 55));
    }
    stop(&domains, cpus);
    assert_eq!(VIOLATIONS.load(Ordering::Relaxed), 0);
    assert!(MEETINGS.load(Ordering::Relaxed) > 0, "vCPUs of one domain share a core");
    for rounds in &ROUNDS[1..] {
        assert!(rounds.load(Ordering::Relaxed) > 100, "{ROUNDS:?}");
    }
}

#[test]
fn busy_domains_take_turns_on_a_core() {
    let (cpus, cores) = start_cores(1, spin);
    let domains = [domain(1, 1, 256, 0), domain(2, 1, 256, 0)];
    let forced = counters::sum(Counter::ForcedIdle);
    for (domain, cpu) in domains.iter().zip(cores[0].iter()) {
        set_core_scheduling(domain, true);
        start_on(domain, only(cpu));
    }
    thread::sleep(Duration::from_secs(3));
    let times = run_times(&domains);
    stop(&domains, cpus);
    let all: u64 = times.iter().sum();
    assert!(all < 3_300_000, "only one runs at a time: {times:?}");
    assert!(times.iter().all(|time| *time > all * 7 / 20), "both get about the same: {times:?}");
    let forced = counters::sum(Counter::ForcedIdle) - forced;
    // Threads of the host that are not scheduled do not count as idle.
    assert!(forced > all / 20, "one thread is forced idle: {forced} of {times:?}");
}

#[test]
fn vcpus_of_a_domain_share_a_core() {
    let (cpus, cores) = start_cores(1, spin);
    let domain = domain(1, 2, 256, 0);
    set_core_scheduling(&domain, true);
    for (vcpu, cpu) in domain.vcpus().iter().zip(cores[0].iter()) {
        set_affinity(vcpu, only(cpu)).expect("a pCPU that runs");
    }
    let before = counters::sum(Counter::ForcedIdle);
    lifecycle::start(&domain);
    thread::sleep(Duration::from_secs(1));
    let times: Vec<u64> = domain.vcpus().iter().map(|vcpu| vcpu.scheduling.run_time() / 1000).collect();
    stop(&[domain], cpus);
    assert!(times.iter().all(|time| *time > 600_000), "{times:?}");
    assert_eq!(counters::sum(Counter::ForcedIdle), before);
}

/// A sleeper wakes on a core that another domain keeps busy. Without turns it would wait forever.
#[test]
fn a_sleeper_beside_a_busy_domain_gets_a_turn() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let (cpus, cores) = start_cores(1, |vcpu| {
        if vcpu.domain().is_some_and(|domain| domain.id() == DomainId(1)) {
            return spin(vcpu);
        }
        if vcpu.info().upcall_pending().swap(0, Ordering::SeqCst) != 0 {
            SEEN.fetch_add(1, Ordering::SeqCst);
        }
        block(vcpu);
    });
    let domains = [domain(1, 1, 256, 0), domain(2, 1, 256, 0)];
    for (domain, cpu) in domains.iter().zip(cores[0].iter()) {
        set_core_scheduling(domain, true);
        start_on(domain, only(cpu));
    }
    for sent in 1..=200 {
        let start = Instant::now();
        scheduler::notify(domains[1].vcpu(VcpuId::BOOT).expect("a vCPU"));
        while SEEN.load(Ordering::SeqCst) < sent {
            assert!(start.elapsed() < Duration::from_secs(20), "event {sent} was lost");
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(sent % 8));
    }
    stop(&domains, cpus);
}
