//! Each operation as the control domain's tools call it, on the hosted back end.

use std::string::String;
use std::vec;
use std::vec::Vec;

use abi::arch_x86_64::CpuidLeaf;
use abi::sysctl::*;
use abi::xen::CpuBitmap;
use machine::{console, cpu};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;
use crate::call::{CallError, Caller};
use crate::testing::{Guest, hypercall};
use abi::xen::hypercall as number;

/// Page for lists; the first page holds the request.
const LISTS: usize = 1;
/// An address that is not mapped.
const NOWHERE: u64 = 0x10_0000;

fn control_domain() -> Guest {
    Guest::privileged(0, 4)
}

fn with_budget(guest: &mut Guest, budget: u32, command: u32, argument: &[u8]) -> (Result<u64, Option<Errno>>, Vec<u8>) {
    let mut bytes = [0; 128];
    bytes[..argument.len()].copy_from_slice(argument);
    let request = Sysctl { command, interface_version: interface::VERSION, argument: bytes };
    let place = guest.put(&request);
    let Caller { .. } = guest.caller();
    let result = match hypercall(&mut guest.caller_with(budget), number::SYSCTL, [place.get()]) {
        Ok(value) => Ok(value),
        Err(CallError::Errno(errno)) => Err(Some(errno)),
        Err(CallError::Continue(_)) => Err(None),
        Err(CallError::Kill(why)) => panic!("{why}"),
    };
    (result, guest.read::<Sysctl>(place).argument.to_vec())
}

/// Makes a call. Returns the result, and the argument afterwards.
fn call<T>(guest: &mut Guest, command: u32, argument: &T) -> Result<T, Errno>
where
    T: FromBytes + IntoBytes + Immutable,
{
    let (result, bytes) = with_budget(guest, 1 << 20, command, argument.as_bytes());
    match result {
        Ok(0) => Ok(T::read_from_prefix(&bytes).expect("an argument fits").0),
        Ok(value) => panic!("{value}"),
        Err(errno) => Err(errno.expect("enough budget")),
    }
}

fn zeros<T: FromBytes>() -> T {
    T::new_zeroed()
}

fn list<T: FromBytes + IntoBytes>(guest: &mut Guest, count: u64) -> Vec<T> {
    let base = guest.address(LISTS);
    (0..count).map(|index| guest.caller().cpu.read_element(base, index).expect("a mapped page")).collect()
}

#[test]
fn missing_features_return_the_errors_of_a_xen_built_without_them() {
    let guest = &mut control_domain();
    let expected = [
        (op::TBUF_OP, Errno::ENOSYS),
        (op::LOCKPROF_OP, Errno::ENOSYS),
        (op::PAGE_OFFLINE_OP, Errno::EOPNOTSUPP),
        (op::COVERAGE_OP, Errno::EOPNOTSUPP),
        (op::LIVEPATCH_OP, Errno::EOPNOTSUPP),
        (op::PSR_CMT_OP, Errno::ENODEV),
        (op::PSR_ALLOC, Errno::ENODEV),
        (op::GET_PMSTAT, Errno::ENODEV),
        (op::CPU_HOTPLUG, Errno::EOPNOTSUPP),
        (13, Errno::ENOSYS),
        (24, Errno::ENOSYS),
        (28, Errno::ENOSYS),
        (u32::MAX, Errno::ENOSYS),
    ];
    for (command, errno) in expected {
        assert_eq!(call(guest, command, &[0u64; 16]).err(), Some(errno), "{command}");
    }
    let pm = |command, cpu| PowerManagementOp { command, cpu, argument: [0; 15] };
    assert_eq!(call(guest, op::PM_OP, &pm(0x11, 0)).err(), Some(Errno::ENODEV));
    assert_eq!(call(guest, op::PM_OP, &pm(power_management::GET_MAX_CSTATE, 0)).err(), Some(Errno::EOPNOTSUPP));
    assert_eq!(call(guest, op::PM_OP, &pm(0x11, 64)).err(), Some(Errno::EINVAL));
}

#[test]
fn counters_are_named_read_and_reset() {
    let guest = &mut control_domain();
    let names = guest.address(LISTS).get();
    let values = guest.address(LISTS + 1).get();
    let ask = |command, counters, values| PerformanceCounterOp { command, counters, values, ..zeros() };
    let query = |counters, values| ask(performance_counter::QUERY, counters, values);
    let counters = machine::counters::Counter::ALL;
    let cpus = cpu::online();

    let answer = call(guest, op::PERFC_OP, &query(0, 0)).expect("the length query");
    // The counters, and the two values of the latency meter.
    let rows = counters.len() + 2;
    assert_eq!((answer.counter_count, answer.value_count), (rows as u32, (rows * cpus) as u32));

    machine::counters::count(counters[1]);
    assert!(call(guest, op::PERFC_OP, &query(names, values)).is_ok());
    let second = &list::<PerformanceCounter>(guest, 2)[1];
    assert!(second.name.starts_with(counters[1].name().as_bytes()) && second.name.ends_with(&[0]));
    assert_eq!(second.value_count as usize, cpus);
    let value = |guest: &mut Guest| -> u32 {
        let own = cpus + machine::cpu::current().index();
        guest.caller().cpu.read_element(machine::addr::GuestVirt::new(values), own as u64).expect("a mapped page")
    };
    assert!(value(guest) >= 1);

    assert!(call(guest, op::PERFC_OP, &ask(performance_counter::RESET, 0, 0)).is_ok());
    assert!(call(guest, op::PERFC_OP, &query(0, values)).is_ok());
    assert_eq!(value(guest), 0);

    assert_eq!(call(guest, op::PERFC_OP, &ask(3, 0, 0)).err(), Some(Errno::EINVAL));
    assert_eq!(call(guest, op::PERFC_OP, &query(NOWHERE, 0)).err(), Some(Errno::EFAULT));
    assert_eq!(call(guest, op::PERFC_OP, &query(0, NOWHERE)).err(), Some(Errno::EFAULT));
}

#[test]
fn domains_are_listed_in_order_across_calls() {
    let guest = &mut control_domain();
    let others: Vec<_> = [3, 7].map(|id| Guest::new(id, 2)).into();
    let ask = GetDomainInfoList { max_domains: 9, buffer: guest.address(LISTS).get(), ..zeros() };
    let answer = call(guest, op::GETDOMAININFOLIST, &ask).expect("known");
    let numbers = |guest: &mut Guest, count| -> Vec<u16> {
        list::<abi::domctl::GetDomainInfo>(guest, count).iter().map(|info| info.domain.0).collect()
    };
    assert_eq!((answer.domain_count, numbers(guest, 3)), (3, vec![0, 3, 7]));
    let ask = GetDomainInfoList { first_domain: abi::xen::DomainId(1), max_domains: 1, ..ask };
    assert_eq!(call(guest, op::GETDOMAININFOLIST, &ask).expect("known").domain_count, 1);
    assert_eq!(numbers(guest, 1), [3]);
    let last = GetDomainInfoList { first_domain: abi::xen::DomainId(u16::MAX), ..ask };
    assert_eq!(call(guest, op::GETDOMAININFOLIST, &last).expect("known").domain_count, 0);
    let (result, bytes) =
        with_budget(guest, 1, op::GETDOMAININFOLIST, GetDomainInfoList { max_domains: 9, ..ask }.as_bytes());
    let answer = GetDomainInfoList::read_from_prefix(&bytes).expect("an argument").0;
    assert_eq!((result, answer.domain_count), (Ok(0), 1), "the tools ask for the rest");
    let bad = GetDomainInfoList { buffer: NOWHERE, ..ask };
    assert_eq!(call(guest, op::GETDOMAININFOLIST, &bad).err(), Some(Errno::EFAULT));
    drop(others);
}

#[test]
fn the_log_is_read_incrementally() {
    let guest = &mut control_domain();
    console::write(b"[a] first line\n");
    let buffer = guest.address(LISTS).get();
    let mut argument = ReadConsole { buffer, count: 8, ..zeros() };
    argument = call(guest, op::READCONSOLE, &argument).expect("read");
    assert_eq!((argument.count, argument.index), (8, 8));
    argument = ReadConsole { incremental: 1, count: 4000, clear: 1, ..argument };
    argument = call(guest, op::READCONSOLE, &argument).expect("read");
    let text: Vec<u8> = list(guest, argument.count.into());
    assert_eq!(String::from_utf8_lossy(&text), "t line\n");
    argument.count = 4000;
    argument.incremental = 0;
    assert_eq!(call(guest, op::READCONSOLE, &argument).expect("read").count, 0, "it was cleared");
    console::write(b"x\n");
    let argument = ReadConsole { buffer: NOWHERE, count: u32::MAX, clear: 1, ..zeros() };
    assert_eq!(call(guest, op::READCONSOLE, &argument).err(), Some(Errno::EFAULT));
    let argument = ReadConsole { buffer, count: 16, ..zeros() };
    assert_eq!(call(guest, op::READCONSOLE, &argument).expect("read").count, 2, "nothing was lost");
}

#[test]
fn debug_keys_are_handled_in_order() {
    let guest = &mut control_domain();
    let buffer = guest.address(LISTS);
    guest.caller().cpu.write_bytes(buffer, b"hm").expect("a mapped page");
    let argument = DebugKeys { keys: buffer.get(), key_count: 2, _pad: 0 };
    console::history::clear(u32::MAX);
    assert!(call(guest, op::DEBUG_KEYS, &argument).is_ok());
    let mut bytes = vec![0; 4096];
    let (_, length) = console::history::read(console::history::start(), &mut bytes);
    let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(said.contains("h  this help") && said.contains("frames free"), "{said}");
    // With a small budget the rest is left for the restarted call.
    let (result, bytes) = with_budget(guest, 1, op::DEBUG_KEYS, argument.as_bytes());
    assert_eq!(result, Err(None));
    let rest = DebugKeys::read_from_prefix(&bytes).expect("an argument").0;
    assert_eq!((rest.keys, rest.key_count), (buffer.get() + 1, 1));
    let argument = DebugKeys { keys: NOWHERE, key_count: 1, _pad: 0 };
    assert_eq!(call(guest, op::DEBUG_KEYS, &argument).err(), Some(Errno::EFAULT));
}

#[test]
fn the_host_is_described_as_one_of_pv_guests() {
    let guest = &mut control_domain();
    let info: PhysicalInfo = call(guest, op::PHYSINFO, &zeros()).expect("known");
    assert_eq!(info.capabilities, 0x102);
    assert_eq!((info.arch_capabilities, info.node_count, info.scrub_pages), (0, 1, 0));
    assert_eq!(info.max_cpu_id + 1, info.cpu_count);
    assert!(info.free_pages < info.total_pages && info.total_pages <= 4096);
    assert_eq!(info.free_pages, machine::frames::free_frames());
    assert_eq!(u64::from(info.cpu_khz), machine::time::scale().frequency() / 1000);
    let id: SchedulerId = call(guest, op::SCHED_ID, &zeros()).expect("known");
    assert_eq!(id.scheduler, 6);
    let levelling: CpuLevellingCaps = call(guest, op::GET_CPU_LEVELLING_CAPS, &zeros()).expect("known");
    assert_eq!(levelling.capabilities, 0);
    for (node, max_bit_width, there) in [(-1, 0, true), (0, 64, true), (0, 16, false), (1, 0, false)] {
        let heap = AvailableHeap { node, max_bit_width, ..zeros() };
        let heap: AvailableHeap = call(guest, op::AVAILHEAP, &heap).expect("known");
        assert_eq!(heap.available_bytes != 0, there, "node {node}");
    }
}

#[test]
fn the_topology_shows_threads_and_omits_parked_cpus() {
    let guest = &mut control_domain();
    machine::hosted::cpus::set_thread_bits(1);
    machine::hosted::cpus::set_parked(1);
    // Four threads are pCPUs at the same time.
    let barrier = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                cpu::current();
                barrier.wait();
            });
        }
    });
    let place = guest.address(LISTS).get();
    let argument = CpuTopologyInfo { cpu_count: 8, _pad: 0, topology: place };
    assert_eq!(call(guest, op::CPUTOPOINFO, &argument).expect("known").cpu_count, 5);
    let list: Vec<_> = list::<CpuTopology>(guest, 5).iter().map(|cpu| (cpu.core, cpu.socket, cpu.node)).collect();
    assert_eq!(list, [(0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0), (u32::MAX, u32::MAX, u32::MAX)]);
    let info: PhysicalInfo = call(guest, op::PHYSINFO, &zeros::<PhysicalInfo>()).expect("known");
    assert_eq!((info.threads_per_core, info.cores_per_socket), (2, 2));
    assert_eq!((info.cpu_count, info.max_cpu_id), (4, 4));
}

#[test]
fn lists_of_cpus_and_nodes_return_their_lengths() {
    let guest = &mut control_domain();
    let cpus = cpu::online() as u32;
    let place = guest.address(LISTS).get();
    let info: GetCpuInfo =
        call(guest, op::GETCPUINFO, &GetCpuInfo { max_cpus: u32::MAX, info: place, ..zeros() }).expect("known");
    assert_eq!(info.cpu_count, cpus);
    let bad = GetCpuInfo { max_cpus: 1, info: NOWHERE, ..zeros() };
    assert_eq!(call(guest, op::GETCPUINFO, &bad).err(), Some(Errno::EFAULT));

    let topology = |cpu_count, topology| CpuTopologyInfo { cpu_count, _pad: 0, topology };
    assert_eq!(call(guest, op::CPUTOPOINFO, &topology(0, 0)).expect("known").cpu_count, cpus);
    assert_eq!(call(guest, op::CPUTOPOINFO, &topology(cpus + 9, place)).expect("known").cpu_count, cpus);
    assert_eq!(list::<CpuTopology>(guest, 1)[0].node, 0);
    assert_eq!(call(guest, op::CPUTOPOINFO, &topology(cpus - 1, place)).err(), Some(Errno::ENOBUFS));
    assert_eq!(call(guest, op::CPUTOPOINFO, &topology(cpus, NOWHERE)).err(), Some(Errno::EFAULT));

    let numa = |node_count, memory, distances| NumaInfo { node_count, _pad: 0, memory, distances };
    assert_eq!(call(guest, op::NUMAINFO, &numa(0, 0, 0)).expect("known").node_count, 1);
    assert_eq!(call(guest, op::NUMAINFO, &numa(0, place, 0)).err(), Some(Errno::ENOBUFS));
    assert_eq!(call(guest, op::NUMAINFO, &numa(4, place, place + 64)).expect("known").node_count, 1);
    assert_eq!(list::<MemoryInfo>(guest, 1)[0].size, machine::frames::total_frames() * 4096);
    assert_eq!(list::<u32>(guest, 17)[16], 10);
    assert_eq!(call(guest, op::NUMAINFO, &numa(1, NOWHERE, 0)).err(), Some(Errno::EFAULT));

    let devices = |device_count, devices, nodes| PciTopologyInfo { device_count, _pad: 0, devices, nodes };
    assert_eq!(call(guest, op::PCITOPOINFO, &devices(1, 0, place)).err(), Some(Errno::EINVAL));
    assert_eq!(call(guest, op::PCITOPOINFO, &devices(9, place, place)).expect("known").device_count, 9);
    let (result, bytes) = with_budget(guest, 40, op::PCITOPOINFO, devices(u32::MAX, place, place).as_bytes());
    let done = PciTopologyInfo::read_from_prefix(&bytes).expect("an argument").0.device_count;
    assert_eq!((result, done), (Ok(0), 3), "a long list is done in pieces");
}

#[test]
fn there_is_one_pool_with_all_cpus() {
    let guest = &mut control_domain();
    let bitmap = CpuBitmap { bitmap: guest.address(LISTS).get(), bit_count: 64, _pad: 0 };
    let pool = |operation, cpupool| CpuPoolOp { operation, cpupool, cpus: bitmap, ..zeros() };
    let info: CpuPoolOp = call(guest, op::CPUPOOL_OP, &pool(cpupool::INFO, 0)).expect("there");
    assert_eq!((info.cpupool, info.scheduler, info.domain_count), (0, 6, 1));
    assert_eq!(list::<u64>(guest, 1)[0].count_ones() as usize, cpu::online());
    assert_eq!(call(guest, op::CPUPOOL_OP, &pool(cpupool::INFO, 1)).err(), Some(Errno::ENOENT));
    assert!(call(guest, op::CPUPOOL_OP, &pool(cpupool::FREEINFO, 0)).is_ok());
    assert_eq!(list::<u64>(guest, 1)[0], 0);
    let refused = [
        (pool(cpupool::CREATE, u32::MAX), Errno::EOPNOTSUPP),
        (pool(cpupool::DESTROY, 0), Errno::EBUSY),
        (pool(cpupool::DESTROY, 1), Errno::ENOENT),
        (pool(cpupool::ADDCPU, 0), Errno::EBUSY),
        (CpuPoolOp { cpu: u32::MAX, ..pool(cpupool::ADDCPU, 0) }, Errno::EINVAL),
        (CpuPoolOp { cpu: 63, ..pool(cpupool::ADDCPU, 0) }, Errno::ENODEV),
        (pool(cpupool::RMCPU, 0), Errno::EOPNOTSUPP),
        (pool(cpupool::MOVEDOMAIN, 1), Errno::ENOENT),
        (CpuPoolOp { domain: 7, ..pool(cpupool::MOVEDOMAIN, 0) }, Errno::ESRCH),
        (CpuPoolOp { domain: 1 << 16, ..pool(cpupool::MOVEDOMAIN, 0) }, Errno::ESRCH),
        (pool(8, 0), Errno::ENOSYS),
    ];
    for (argument, errno) in refused {
        assert_eq!(call(guest, op::CPUPOOL_OP, &argument).err(), Some(errno), "{argument:?}");
    }
    assert!(call(guest, op::CPUPOOL_OP, &pool(cpupool::MOVEDOMAIN, 0)).is_ok());
}

#[test]
fn the_scheduler_is_set_as_credit2() {
    let guest = &mut control_domain();
    let settings = |command, rate_limit_us| SchedulerCredit2 { scheduler: 6, command, rate_limit_us, ..zeros() };
    let get = settings(scheduler_command::GETINFO, 9);
    assert_eq!(call(guest, op::SCHEDULER_OP, &get).expect("known").rate_limit_us, 0);
    assert!(call(guest, op::SCHEDULER_OP, &settings(scheduler_command::PUTINFO, 1000)).is_ok());
    for bad in [99, 500_001] {
        assert_eq!(
            call(guest, op::SCHEDULER_OP, &settings(scheduler_command::PUTINFO, bad)).err(),
            Some(Errno::EINVAL)
        );
    }
    assert_eq!(call(guest, op::SCHEDULER_OP, &get).expect("known").rate_limit_us, 1000);
    assert!(call(guest, op::SCHEDULER_OP, &settings(scheduler_command::PUTINFO, 0)).is_ok());
    for (argument, errno) in [
        (SchedulerCredit2 { cpupool: 1, ..get }, Errno::ESRCH),
        (SchedulerCredit2 { scheduler: 5, ..get }, Errno::EINVAL),
        (SchedulerCredit2 { command: 2, ..get }, Errno::EINVAL),
    ] {
        assert_eq!(call(guest, op::SCHEDULER_OP, &argument).err(), Some(errno));
    }
}

#[test]
fn policies_exist_for_pv_guests_only() {
    let guest = &mut control_domain();
    let place = guest.address(LISTS).get();
    let features = |index, word_count, features| CpuFeatureSet { index, word_count, features };
    assert_eq!(call(guest, op::GET_CPU_FEATURESET, &features(99, 0, 0)).expect("the length query").word_count, 19);
    for (index, errno) in [
        (0, None),
        (1, None),
        (2, None),
        (3, Some(Errno::EOPNOTSUPP)),
        (4, None),
        (5, Some(Errno::EOPNOTSUPP)),
        (6, Some(Errno::EINVAL)),
    ] {
        assert_eq!(call(guest, op::GET_CPU_FEATURESET, &features(index, 40, place)).err(), errno, "{index}");
    }
    assert_eq!(call(guest, op::GET_CPU_FEATURESET, &features(0, 3, place)).err(), Some(Errno::ENOBUFS));
    assert_eq!(call(guest, op::GET_CPU_FEATURESET, &features(0, 19, NOWHERE)).err(), Some(Errno::EFAULT));

    let policy =
        |index, leaf_count, leaves| CpuPolicy { index, leaf_count, leaves, msr_count: 2, msrs: place, ..zeros() };
    let ask = CpuPolicy { msrs: 0, ..policy(0, 0, 0) };
    let most = call(guest, op::GET_CPU_POLICY, &ask).expect("the length query");
    assert_eq!(most.msr_count, 2);
    for (index, errno) in [
        (0, None),
        (1, None),
        (2, None),
        (3, Some(Errno::EOPNOTSUPP)),
        (4, None),
        (5, Some(Errno::EOPNOTSUPP)),
        (6, Some(Errno::EINVAL)),
    ] {
        let answer = call(guest, op::GET_CPU_POLICY, &policy(index, most.leaf_count, place + 64));
        assert_eq!(answer.as_ref().err(), errno.as_ref(), "{index}");
        if let Ok(answer) = answer {
            assert!(answer.leaf_count > 4 && answer.leaf_count <= most.leaf_count);
        }
    }
    let base = machine::addr::GuestVirt::new(place + 64);
    let first: CpuidLeaf = guest.caller().cpu.read(base).expect("a mapped page");
    assert_eq!((first.leaf, first.subleaf), (0, u32::MAX));
    assert_eq!(call(guest, op::GET_CPU_POLICY, &policy(0, 3, place + 64)).err(), Some(Errno::ENOBUFS));
    assert_eq!(
        call(guest, op::GET_CPU_POLICY, &CpuPolicy { msr_count: 1, ..policy(0, 0, 0) }).err(),
        Some(Errno::ENOBUFS)
    );
    assert_eq!(call(guest, op::GET_CPU_POLICY, &policy(0, 200, NOWHERE)).err(), Some(Errno::EFAULT));
    assert_eq!(
        call(guest, op::GET_CPU_POLICY, &CpuPolicy { _reserved: 1, ..policy(0, 0, 0) }).err(),
        Some(Errno::EINVAL)
    );
}
