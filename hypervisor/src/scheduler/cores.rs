//! Core scheduling: which guests may run on the threads of a core at the same time.
//!
//! Each vCPU is in a [`Group`]: that of its domain if the domain has core scheduling, otherwise the
//! one that all other domains share. The threads of a core run vCPUs of one group at a time. Idle
//! threads do not count, nor do those that execute Paravane.
//!
//! A core serves groups in turns. If the first vCPU in a pCPU's queue is of another group than the
//! core serves, the pCPU reserves the next turn; then the current turn ends [`TURN`] after its
//! start. Until the core is free, the pCPU runs a vCPU of the current group from its queue or
//! another one's, or is idle though vCPUs wait: *forced idle*.
//!
//! - **CS-1** While a pCPU runs a guest, it is in its core's set `running`, and the vCPU is of the
//!   core's group. So the guests that run on a core are of one group. A pCPU enters the set when it
//!   takes a vCPU, and leaves it when the vCPU has stopped; a lazily idle one is not in the set.
//! - **CS-2** A group that waits for a core gets it when the turn ends. No pCPU joins a turn that
//!   is over, and only the pCPU with the reservation begins the next one. A pCPU that finds nothing
//!   to run gives its reservation up.
//! - **CS-3** No pCPU waits for a sibling in a loop. A pCPU that is forced idle halts, and is
//!   kicked by each change of the core that may allow it to run. It records that it waits
//!   under the core's lock, so no change is missed.
//!
//! On a machine that uses one thread per core, the scheduler only tests a flag
//! (`cores_are_shared`).

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::xen::DomainId;
use machine::addr::{CpuId, CpuSet, MAX_CPUS, PerCpu};
use machine::boot;
use machine::counters::{self, Counter};
use machine::sync::{Level, SpinLock, SpinLockGuard};
use machine::{cpu, time, topology};

use super::cpu::{both, home_queue, without};
use super::queue::RunQueue;
use super::share::SLICE;
use crate::domain::{Domain, Vcpu};

/// The time after which a group leaves the core if another one waits for it, in nanoseconds.
const TURN: u64 = SLICE;

/// vCPUs that may run on one core at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Group(u32);

impl Group {
    /// The domains without core scheduling.
    const SHARED: Self = Self(0);

    /// The group of a domain's vCPUs.
    pub(super) const fn of(domain: DomainId, core_scheduling: bool) -> Self {
        if core_scheduling { Self(domain.0 as u32 + 1) } else { Self::SHARED }
    }

    /// The group of a new domain's vCPUs, by the option `sched-gran=`.
    pub(crate) fn at_creation(domain: DomainId) -> Self {
        Self::of(domain, boot::options().core_scheduling)
    }

    /// Whether it is that of one domain.
    pub(super) fn is_domain(self) -> bool {
        self != Self::SHARED
    }

    pub(super) const fn number(self) -> u32 {
        self.0
    }

    pub(super) const fn numbered(number: u32) -> Self {
        Self(number)
    }
}

/// The turn of a core.
struct Core {
    /// The group that it serves, if `running` is not empty.
    group: Group,
    /// The pCPUs that run a vCPU.
    running: CpuSet,
    /// When the turn began.
    since: u64,
    /// The pCPU that begins the next turn.
    reserved: Option<CpuId>,
}

impl Core {
    const fn new() -> Self {
        Self { group: Group::SHARED, running: CpuSet::EMPTY, since: 0, reserved: None }
    }

    /// Whether the pCPU may run a vCPU of the group.
    fn admits(&self, cpu: CpuId, group: Group, now: u64) -> bool {
        if self.running.is_empty() {
            self.reserved.is_none_or(|reserved| reserved == cpu)
        } else {
            self.group == group && now < self.turn_end()
        }
    }

    /// When the turn ends, or `u64::MAX` if no group waits for that.
    const fn turn_end(&self) -> u64 {
        if self.reserved.is_some() { self.since + TURN } else { u64::MAX }
    }

    /// Adds a pCPU that runs a vCPU of the group, which is admitted. Returns whether a turn begins.
    fn enter(&mut self, cpu: CpuId, group: Group, now: u64) -> bool {
        let begins = self.running.is_empty();
        if begins {
            (self.group, self.since, self.reserved) = (group, now, None);
        }
        self.running.insert(cpu);
        begins
    }

    /// Removes a pCPU. Returns whether the core has become free.
    const fn leave(&mut self, cpu: CpuId) -> bool {
        let was_running = self.running.contains(cpu);
        self.running.remove(cpu);
        was_running && self.running.is_empty()
    }

    /// Reserves the next turn. Returns whether the current turn gets an end by that.
    fn reserve(&mut self, cpu: CpuId) -> bool {
        let first = self.reserved.is_none();
        self.reserved.get_or_insert(cpu);
        first
    }

    /// Gives up the pCPU's reservation. Returns whether it had one.
    fn give_up(&mut self, cpu: CpuId) -> bool {
        self.reserved.take_if(|reserved| *reserved == cpu).is_some()
    }
}

/// The cores, each under the number of its first thread.
static CORES: PerCpu<SpinLock<Core>> = PerCpu::new([const { SpinLock::new(Level::Core, Core::new()) }; MAX_CPUS]);

/// The pCPUs that are forced idle, or look for a vCPU and have found only some that are not
/// admitted. A bit changes under the lock of its core.
static FORCED_IDLE: AtomicU64 = AtomicU64::new(0);

fn core_of(cpu: CpuId) -> SpinLockGuard<'static, Core> {
    CORES[topology::core(cpu)].lock()
}

/// When each pCPU was last forced idle.
static FORCED_SINCE: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

/// Notes whether this pCPU is forced idle from now on, and counts the time until now.
fn force_idle(cpu: CpuId, forced: bool, now: u64) {
    let since = &FORCED_SINCE[cpu];
    if is_forced_idle(cpu) {
        counters::add(Counter::ForcedIdle, now.saturating_sub(since.load(Ordering::Relaxed)) / 1000);
    }
    let mut bit = CpuSet::EMPTY;
    bit.insert(cpu);
    if forced {
        since.store(now, Ordering::Relaxed);
        FORCED_IDLE.fetch_or(bit.bits(), Ordering::Relaxed);
    } else {
        FORCED_IDLE.fetch_and(!bit.bits(), Ordering::Relaxed);
    }
}

/// Whether the pCPU is forced idle.
#[inline]
pub(super) fn is_forced_idle(cpu: CpuId) -> bool {
    forced_idle().contains(cpu)
}

fn forced_idle() -> CpuSet {
    CpuSet::from_bits(FORCED_IDLE.load(Ordering::Relaxed))
}

/// The siblings of a pCPU that a change of its core may allow to run.
fn waiting_siblings(cpu: CpuId) -> CpuSet {
    both(forced_idle(), without(topology::siblings(cpu), cpu))
}

fn kick(set: CpuSet) {
    set.iter().for_each(cpu::kick);
}

/// Removes the first vCPU of this pCPU's queue that may run on its core, and makes the pCPU enter
/// the core's turn. [`leave`] must follow. The second result is the vCPU's virtual time, and the
/// third whether vCPUs before it were passed over.
#[inline]
pub(super) fn choose(cpu: CpuId, run: &mut RunQueue<Arc<Vcpu>>) -> Option<(Arc<Vcpu>, u64, bool)> {
    if topology::cores_are_shared() {
        return choose_admitted(cpu, run);
    }
    run.next().map(|(vcpu, virtual_time)| (vcpu, virtual_time, false))
}

#[inline(never)]
fn choose_admitted(cpu: CpuId, run: &mut RunQueue<Arc<Vcpu>>) -> Option<(Arc<Vcpu>, u64, bool)> {
    let now = time::now();
    let mut core = core_of(cpu);
    let mut refused = false;
    let chosen = run.next_where(|vcpu| {
        let admitted = core.admits(cpu, vcpu.scheduling.group(), now);
        refused |= !admitted;
        admitted
    });
    force_idle(cpu, refused && chosen.is_none(), now);
    let mut kicked = CpuSet::EMPTY;
    if refused && core.reserve(cpu) {
        kicked = without(core.running, cpu);
    }
    let changed = match &chosen {
        Some((vcpu, _)) => core.enter(cpu, vcpu.scheduling.group(), now),
        None => !refused && core.give_up(cpu),
    };
    if changed {
        kicked = waiting_siblings(cpu);
    }
    drop(core);
    kick(kicked);
    chosen.map(|(vcpu, virtual_time)| (vcpu, virtual_time, refused))
}

/// Makes this pCPU, on which the vCPU is lazily idle, enter its core's turn, if the vCPU is
/// admitted. Returns whether it is.
#[inline]
pub(super) fn resume(cpu: CpuId, vcpu: &Vcpu) -> bool {
    !topology::cores_are_shared() || enter_again(cpu, vcpu.scheduling.group())
}

#[inline(never)]
fn enter_again(cpu: CpuId, group: Group) -> bool {
    let now = time::now();
    let mut core = core_of(cpu);
    force_idle(cpu, false, now);
    if !core.admits(cpu, group, now) {
        return false;
    }
    let begins = core.enter(cpu, group, now);
    drop(core);
    if begins {
        kick(waiting_siblings(cpu));
    }
    true
}

/// Makes this pCPU leave its core's turn, since its vCPU has stopped. If it looks for another one
/// next, its reservation stays.
#[inline]
pub(super) fn leave(cpu: CpuId, looks_on: bool) {
    if topology::cores_are_shared() {
        leave_turn(cpu, looks_on);
    }
}

#[inline(never)]
fn leave_turn(cpu: CpuId, looks_on: bool) {
    let mut core = core_of(cpu);
    let freed = core.leave(cpu);
    let given_up = !looks_on && core.give_up(cpu);
    drop(core);
    if freed || given_up {
        kick(waiting_siblings(cpu));
    }
}

/// When the turn of the pCPU's core ends, or `u64::MAX` if no group waits for that.
#[inline]
pub(super) fn turn_end(cpu: CpuId) -> u64 {
    if topology::cores_are_shared() { locked_turn_end(cpu) } else { u64::MAX }
}

#[inline(never)]
fn locked_turn_end(cpu: CpuId) -> u64 {
    core_of(cpu).turn_end()
}

/// Whether this pCPU may run a vCPU that waits elsewhere. If not, the pCPU is kicked when that may
/// have changed.
#[inline]
pub(super) fn may_steal(cpu: CpuId, vcpu: &Vcpu) -> bool {
    !topology::cores_are_shared() || admits_or_kicks(cpu, vcpu.scheduling.group())
}

#[inline(never)]
fn admits_or_kicks(cpu: CpuId, group: Group) -> bool {
    let now = time::now();
    let core = core_of(cpu);
    let admitted = core.admits(cpu, group, now);
    if !admitted {
        force_idle(cpu, true, now);
    }
    admitted
}

/// The idle pCPUs of the set on which the vCPU may run at once: those on idle cores, or else those
/// whose core serves its group. A hint.
#[inline]
pub(super) fn best_idle(idle: CpuSet, of: CpuSet, vcpu: &Vcpu) -> CpuSet {
    let candidates = both(idle, of);
    if candidates.is_empty() || !topology::cores_are_shared() { candidates } else { best_of(idle, candidates, vcpu) }
}

#[inline(never)]
fn best_of(idle: CpuSet, candidates: CpuSet, vcpu: &Vcpu) -> CpuSet {
    let whole = filter(candidates, |cpu| both(topology::siblings(cpu), idle) == topology::siblings(cpu));
    if whole.is_empty() { open_to(candidates, vcpu) } else { whole }
}

/// The pCPUs of the set whose core admits the vCPU. A hint.
#[inline]
pub(super) fn open_to(idle: CpuSet, vcpu: &Vcpu) -> CpuSet {
    if topology::cores_are_shared() { admitting(idle, vcpu.scheduling.group()) } else { idle }
}

#[inline(never)]
fn admitting(idle: CpuSet, group: Group) -> CpuSet {
    let now = time::now();
    filter(idle, |cpu| core_of(cpu).admits(cpu, group, now))
}

fn filter(set: CpuSet, keep: impl Fn(CpuId) -> bool) -> CpuSet {
    set.iter().filter(|cpu| keep(*cpu)).fold(CpuSet::EMPTY, |mut kept, cpu| {
        kept.insert(cpu);
        kept
    })
}

/// Chooses whether a domain has core scheduling. Its vCPUs that run soon leave their pCPUs, and
/// run by the choice from then on.
pub(crate) fn set_core_scheduling(domain: &Domain, on: bool) {
    let group = Group::of(domain.id(), on);
    for vcpu in domain.vcpus() {
        let state = &vcpu.scheduling;
        // The lock keeps pCPUs from taking the vCPU between both changes.
        let (_, queue) = home_queue(vcpu);
        state.set_group(group);
        if state.has_cpu() {
            state.preempt.store(true, Ordering::SeqCst);
        }
        drop(queue);
        super::kick(vcpu);
    }
}

/// Whether a domain has core scheduling.
pub(crate) fn has_core_scheduling(domain: &Domain) -> bool {
    domain.vcpus().first().is_some_and(|vcpu| vcpu.scheduling.group().is_domain())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::VcpuId;
    use crate::testing::Guest;
    use alloc::vec::Vec;

    const GROUPS: u32 = 3;

    /// Drives a core with `threads` pCPUs at random and compares it with a list of what runs. Each
    /// pCPU wants to run a vCPU of some group, and leaves at the end of a turn or earlier. Returns
    /// the longest wait.
    fn drive(threads: u32, seed: u64) -> u64 {
        /// How late a pCPU notices that a turn has ended, or that the core is free.
        const DELAY: u64 = TURN / 10;
        let cpus: Vec<CpuId> = (0..threads).filter_map(CpuId::new).collect();
        let mut core = Core::new();
        let mut running: Vec<Option<Group>> = cpus.iter().map(|_| None).collect();
        let mut wishes: Vec<(Group, u64)> = cpus.iter().map(|_| (Group(0), 0)).collect();
        let (mut now, mut random, mut longest) = (0, seed, 0);
        let mut draw = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random
        };
        for _ in 0..2000 {
            let random = draw();
            now += (random >> 33) % (DELAY / u64::from(threads));
            // Every pCPU looks at the core within the delay.
            let index = (random >> 20) as usize % cpus.len();
            for index in (0..cpus.len()).map(|other| (other + index) % cpus.len()) {
                let (cpu, (wish, since), random) = (cpus[index], wishes[index], draw());
                if running[index].is_some() && (now >= core.turn_end() || random >> 56 == 0) {
                    running[index] = None;
                    core.leave(cpu);
                    wishes[index] = (Group((random >> 40) as u32 % GROUPS), now);
                } else if running[index].is_none() && core.admits(cpu, wish, now) {
                    core.enter(cpu, wish, now);
                    running[index] = Some(wish);
                    longest = longest.max(now - since);
                } else if running[index].is_none() {
                    core.reserve(cpu);
                }
                let mut groups = running.iter().flatten();
                if let Some(first) = groups.next() {
                    assert!(groups.all(|group| group == first), "CS-1: {running:?}");
                    assert_eq!(core.group, *first);
                }
                let ran = running.iter().zip(&cpus).filter(|(group, _)| group.is_some());
                assert!(ran.map(|(_, cpu)| *cpu).eq(core.running.iter()));
            }
        }
        longest
    }

    #[test]
    fn a_core_serves_one_group_at_a_time_and_none_waits_longer_than_a_turn() {
        for seed in 0..100 {
            drive(4, seed);
            let longest = drive(2, seed);
            assert!(longest <= TURN + TURN / 2, "{longest}");
            assert!(longest > TURN / 2, "there were waits: {longest}");
        }
    }

    #[test]
    fn a_reservation_is_given_up_by_the_pcpu_that_has_it_only() {
        let [one, two] = [0, 1].map(|number| CpuId::new(number).expect("a number in range"));
        let mut core = Core::new();
        assert!(core.enter(one, Group(1), 0));
        assert!(core.reserve(two) && !core.reserve(two));
        assert_eq!(core.turn_end(), TURN);
        assert!(core.leave(one));
        assert!(!core.admits(one, Group(1), 1), "the turn is reserved");
        assert!(!core.give_up(one) && core.give_up(two) && !core.give_up(two));
        assert!(core.admits(one, Group(1), 1));
    }

    #[test]
    fn a_waking_vcpu_prefers_an_idle_core() {
        machine::hosted::cpus::set_thread_bits(1);
        let guest = Guest::new(1, 1);
        let vcpu = guest.domain.vcpu(VcpuId::BOOT).expect("a vCPU");
        let set = CpuSet::from_bits;
        let all = CpuSet::ALL;
        // pCPU 20 is busy, and so is 24.
        assert_eq!(best_idle(set(0xe0_0000), all, vcpu), set(0xc0_0000));
        assert_eq!(best_idle(set(0x220_0000), all, vcpu), set(0x220_0000), "no core is idle");
        assert_eq!(best_idle(set(0xe0_0000), set(0x20_0000), vcpu), set(0x20_0000), "no idle core is allowed");
        // pCPU 20 runs a domain with core scheduling.
        let busy = CpuId::new(20).expect("a number in range");
        core_of(busy).enter(busy, Group(9), time::now());
        assert_eq!(best_idle(set(0x220_0000), all, vcpu), set(0x200_0000));
        assert_eq!(best_idle(set(0x20_0000), all, vcpu), CpuSet::EMPTY);
        core_of(busy).leave(busy);
        machine::hosted::cpus::set_thread_bits(0);
    }
}
