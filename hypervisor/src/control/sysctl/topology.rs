//! Topology of pCPUs and memory: `cputopoinfo`, `numainfo`, `pcitopoinfo`. All memory is one node.

use abi::errno::Errno;
use abi::physdev::PciDevice;
use abi::sysctl::{CpuTopology, CpuTopologyInfo, MemoryInfo, NumaInfo, PciTopologyInfo, invalid};
use machine::addr::{CpuId, GuestVirt, PAGE_SIZE};
use machine::integers::saturating_u32;
use machine::{cpu, frames};

use super::Request;
use crate::call::{CallResult, Caller};

/// The distance of a node to itself in ACPI's SLIT.
const LOCAL_DISTANCE: u32 = 10;
/// Cost of a device in a list, in units of the budget.
const COST_OF_DEVICE: u32 = 16;

/// Number of low bits of an APIC id that select the thread in a core, and the thread and core in a
/// package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shifts {
    core: u32,
    package: u32,
}

impl Shifts {
    /// Computes the shifts from CPUID, as described in the manuals of Intel (leaf 11, otherwise 4
    /// and 1) and AMD (0x80000008 and 0x8000001e).
    fn of(host: impl Fn(u32, u32) -> [u32; 4]) -> Self {
        let (last, last_extended) = (host(0, 0)[0], host(0x8000_0000, 0)[0]);
        if last >= 0xb && host(0xb, 0)[1] & 0xffff != 0 {
            let (core, package) = (host(0xb, 0)[0] & 0x1f, host(0xb, 1)[0] & 0x1f);
            return Self { core, package: package.max(core) };
        }
        let bits = |count: u32| count.max(1).next_power_of_two().trailing_zeros();
        let [_, numbers, _, features] = host(1, 0);
        let logical = if features & 1 << 28 != 0 { bits(numbers >> 16 & 0xff) } else { 0 };
        if last >= 4 && host(4, 0)[0] & 0x1f != 0 {
            let cores = bits((host(4, 0)[0] >> 26) + 1);
            return Self { core: logical.saturating_sub(cores), package: logical.max(cores) };
        }
        if last_extended >= 0x8000_0008 {
            let numbers = host(0x8000_0008, 0)[2];
            let package = if numbers >> 12 & 0xf != 0 { numbers >> 12 & 0xf } else { bits((numbers & 0xff) + 1) };
            let threads = if last_extended >= 0x8000_001e { host(0x8000_001e, 0)[1] >> 8 & 0xff } else { 0 };
            return Self { core: bits(threads + 1).min(package), package };
        }
        Self { core: 0, package: logical }
    }

    /// The core number in the package, and the package number.
    fn place(self, apic_id: u32) -> (u32, u32) {
        let package = apic_id.checked_shr(self.package).unwrap_or(0);
        let in_package = apic_id & !u32::MAX.checked_shl(self.package).unwrap_or(0);
        (in_package.checked_shr(self.core).unwrap_or(0), package)
    }
}

fn place(cpu: CpuId) -> (u32, u32) {
    Shifts::of(cpu::cpuid).place(cpu::apic_id(cpu))
}

/// The numbers of online threads per core and cores per package.
pub(super) fn shape() -> (u32, u32) {
    let (core, package) = place(CpuId::BOOT);
    let in_package = cpu::all_online().map(place).filter(|place| place.1 == package);
    let (mut threads, mut all) = (0, 0);
    for place in in_package {
        all += 1;
        threads += u32::from(place.0 == core);
    }
    (threads.max(1), all / threads.max(1))
}

/// Returns core, package and node of each pCPU.
pub(super) fn cpu_topology(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: CpuTopologyInfo = request.argument();
    let (room, count) = (argument.cpu_count, saturating_u32(cpu::online()));
    argument.cpu_count = count;
    let list = GuestVirt::new(argument.topology);
    if list.get() != 0 && room >= count {
        for (index, cpu) in (0..).zip(cpu::all_online()) {
            let (core, socket) = place(cpu);
            caller.cpu.write_element(list, index, &CpuTopology { core, socket, node: 0 })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pcpu_is_found_in_its_core_and_package() {
        let intel = |leaf, subleaf| match (leaf, subleaf) {
            (0, _) => [0xb, 0, 0, 0],
            (0xb, 0) => [1, 2, 0x100, 0],
            (0xb, 1) => [4, 16, 0x201, 0],
            _ => [0; 4],
        };
        assert_eq!(Shifts::of(intel).place(0x1b), (5, 1));
        let older = |leaf, _| match leaf {
            0 => [4, 0, 0, 0],
            1 => [0, 8 << 16, 0, 1 << 28],
            4 => [3 << 26 | 1, 0, 0, 0],
            _ => [0; 4],
        };
        assert_eq!(Shifts::of(older), Shifts { core: 1, package: 3 });
        let amd = |leaf, _| match leaf {
            0 => [1, 0, 0, 0],
            0x8000_0000 => [0x8000_001e, 0, 0, 0],
            0x8000_0008 => [0, 0, 3 << 12 | 7, 0],
            0x8000_001e => [0, 1 << 8, 0, 0],
            _ => [0; 4],
        };
        assert_eq!(Shifts::of(amd), Shifts { core: 1, package: 3 });
        let plain = |_, _| [0; 4];
        assert_eq!(Shifts::of(plain).place(3), (0, 3));
    }
}
