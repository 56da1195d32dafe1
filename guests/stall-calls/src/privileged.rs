//! Calls of the initial domain.

use kernel::abi::domctl::{self, Domctl};
use kernel::abi::physdev::{Apic, GetFreePirq, PciDevice, SetupGsi, op as physdev_op};
use kernel::abi::platform::{
    GetIdleTime, PcpuInfo, PlatformOp, SetTime64, SymbolData, interface as platform_interface, op as platform_op,
};
use kernel::abi::sysctl::{self, GetDomainInfoList, ReadConsole, Sysctl};
use kernel::abi::xen::DomainId;
use kernel::call::number;
use kernel::memory::{pages, poke, zeroed};

use crate::Bench;

/// Capacity of the lists of CPUs and results.
const ROOM: usize = 8;

pub(crate) fn all(bench: &Bench) {
    let room = pages(ROOM);
    platform(bench, room);
    tools(bench, room);
    devices(bench);
}

/// The bytes of a request with `value` as its argument.
fn argument<T>(value: &T) -> [u8; 128] {
    let mut bytes = [0; 128];
    // SAFETY: all arguments are smaller than that, and have no unnamed padding.
    let value = unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) };
    bytes[..value.len()].copy_from_slice(value);
    bytes
}

fn platform(bench: &Bench, room: u64) {
    poke(room, u64::MAX);
    let request = |name: &str, command: u32, argument: [u8; 128]| {
        let place = bench.put(PlatformOp { command, interface_version: platform_interface::VERSION, argument });
        bench.same(name, number::PLATFORM_OP, [place, 0, 0]);
    };
    let time = SetTime64 { seconds: 1_700_000_000, ..zeroed() };
    request("platform_op settime64", platform_op::SETTIME64, argument(&time));
    let idle = GetIdleTime { cpu_bitmap: room, cpu_count: 64, idle_time: room + 4096, ..zeroed() };
    request("platform_op getidletime", platform_op::GETIDLETIME, argument(&idle));
    request("platform_op get_cpuinfo", platform_op::GET_CPUINFO, argument(&zeroed::<PcpuInfo>()));
    let symbol = SymbolData { name_length: 128, name: room, ..zeroed() };
    request("platform_op get_symbol", platform_op::GET_SYMBOL, argument(&symbol));
}

fn tools(bench: &Bench, room: u64) {
    let request = |name: &str, command: u32, argument: [u8; 128]| {
        let place = bench.put(Sysctl { command, interface_version: sysctl::interface::VERSION, argument });
        bench.same(name, number::SYSCTL, [place, 0, 0]);
    };
    request("sysctl physinfo", sysctl::op::PHYSINFO, [0; 128]);
    let list = GetDomainInfoList { max_domains: 16, buffer: room, ..zeroed() };
    request("sysctl getdomaininfolist", sysctl::op::GETDOMAININFOLIST, argument(&list));
    let console = ReadConsole { buffer: room, count: 8 * 4096, ..zeroed() };
    request("sysctl readconsole", sysctl::op::READCONSOLE, argument(&console));
    let request = |name: &str, command: u32, argument: [u8; 128]| {
        let place = bench.put(Domctl {
            command,
            interface_version: domctl::interface::VERSION,
            domain: DomainId(0),
            argument,
            ..zeroed()
        });
        bench.same(name, number::DOMCTL, [place, 0, 0]);
    };
    request("domctl getdomaininfo", domctl::op::GETDOMAININFO, [0; 128]);
}

fn devices(bench: &Bench) {
    let request = |name: &str, operation: u32, place: u64| {
        bench.same(name, number::PHYSDEV_OP, [operation.into(), place, 0]);
    };
    let apic = Apic { physical_base: 0xfec0_0000, register: 1, value: 0 };
    request("physdev_op apic_read", physdev_op::APIC_READ, bench.put(apic));
    let line = SetupGsi { gsi: 12, triggering: 1, polarity: 1, ..zeroed() };
    request("physdev_op setup_gsi", physdev_op::SETUP_GSI, bench.put(line));
    request("physdev_op get_free_pirq", physdev_op::GET_FREE_PIRQ, bench.put(zeroed::<GetFreePirq>()));
    let device = PciDevice { segment: 0, bus: 0, device_function: 0 };
    request("physdev_op prepare_msix", physdev_op::PREPARE_MSIX, bench.put(device));
    request("physdev_op restore_msi_ext", physdev_op::RESTORE_MSI_EXT, bench.put(device));
}
