//! Topology of pCPUs and memory: `cputopoinfo`, `numainfo`, `pcitopoinfo`. All memory is one node.

use abi::errno::Errno;
use abi::physdev::PciDevice;
use abi::sysctl::{CpuTopology, CpuTopologyInfo, MemoryInfo, NumaInfo, PciTopologyInfo, invalid};
use machine::addr::{CpuId, GuestVirt, PAGE_SIZE};
use machine::integers::saturating_u32;
use machine::{cpu, frames, topology};

use super::Request;
use crate::call::{CallResult, Caller};

/// The distance of a node to itself in ACPI's SLIT.
const LOCAL_DISTANCE: u32 = 10;
/// Cost of a device in a list, in units of the budget.
const COST_OF_DEVICE: u32 = 16;

/// The numbers of online threads per core and cores per package.
pub(super) fn shape() -> (u32, u32) {
    let boot = topology::place(CpuId::BOOT);
    let in_package = cpu::all_online().map(topology::place).filter(|place| place.package == boot.package);
    let (mut threads, mut all) = (0, 0);
    for place in in_package {
        all += 1;
        threads += u32::from(place.core == boot.core);
    }
    (threads.max(1), all / threads.max(1))
}

/// Returns core, package and node of each pCPU. A parked one has none.
pub(super) fn cpu_topology(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: CpuTopologyInfo = request.argument();
    let (room, count) = (argument.cpu_count, saturating_u32(cpu::online() + cpu::parked()));
    argument.cpu_count = count;
    let list = GuestVirt::new(argument.topology);
    if list.get() != 0 && room >= count {
        let online = cpu::all_online().map(topology::place);
        let online = online.map(|place| CpuTopology { core: place.core, socket: place.package, node: 0 });
        let parked = CpuTopology { core: invalid::CORE_ID, socket: invalid::SOCKET_ID, node: invalid::NODE_ID };
        for (index, entry) in (0..count).zip(online.chain(core::iter::repeat(parked))) {
            caller.cpu.write_element(list, index.into(), &entry)?;
        }
    }
    request.answer(caller, &argument)?;
    if list.get() != 0 && room < count { Err(Errno::ENOBUFS.into()) } else { Ok(0) }
}

/// Returns the memory of the only node, and its distance to itself.
pub(super) fn numa(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: NumaInfo = request.argument();
    let wanted = argument.memory != 0 || argument.distances != 0;
    let room = core::mem::replace(&mut argument.node_count, 1);
    if wanted && room >= 1 {
        let page = PAGE_SIZE as u64;
        let info = MemoryInfo { size: frames::total_frames() * page, free: frames::free_frames() * page };
        if argument.memory != 0 {
            caller.cpu.write(GuestVirt::new(argument.memory), &info)?;
        }
        if argument.distances != 0 {
            caller.cpu.write(GuestVirt::new(argument.distances), &LOCAL_DISTANCE)?;
        }
    }
    request.answer(caller, &argument)?;
    if wanted && room < 1 { Err(Errno::ENOBUFS.into()) } else { Ok(0) }
}

/// Returns the nodes of devices: none is assigned to a node.
pub(super) fn pci_topology(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: PciTopologyInfo = request.argument();
    if argument.devices == 0 || argument.nodes == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut done = 0;
    // The caller repeats the call for devices that were not reached.
    while done < argument.device_count && !caller.budget.is_exhausted() {
        let _: PciDevice = caller.cpu.read_element(GuestVirt::new(argument.devices), done.into())?;
        caller.cpu.write_element(GuestVirt::new(argument.nodes), done.into(), &invalid::NODE_ID)?;
        caller.budget.spend(COST_OF_DEVICE);
        done += 1;
    }
    argument.device_count = done;
    request.answer(caller, &argument)?;
    Ok(0)
}
