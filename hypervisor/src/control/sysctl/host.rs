//! Description of the host: `physinfo`, `getcpuinfo`, `availheap`.

use abi::sysctl::{AvailableHeap, CpuInfo, GetCpuInfo, PhysicalInfo, physical_capabilities};
use machine::addr::{GuestVirt, PAGE_SIZE};
use machine::integers::{low_u32, saturating_u32};
use machine::{cpu, frames, time};

use super::{Request, topology};
use crate::call::{CallResult, Caller};
use crate::cpu_policy::{feature_set, system};
use crate::memory::claim;
use crate::scheduler;

/// PV guests and grant tables of version 1. Capabilities that need hardware support are not
/// offered.
const CAPABILITIES: u32 = physical_capabilities::PV | physical_capabilities::GNTTAB_V1;

/// Describes the machine.
pub(super) fn physical_info(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let online = saturating_u32(cpu::online());
    let (threads_per_core, cores_per_socket) = topology::shape();
    let mut hardware_capabilities = [0; 8];
    hardware_capabilities.iter_mut().zip(feature_set(&system().host)).for_each(|(to, word)| *to = word);
    let answer = PhysicalInfo {
        threads_per_core,
        cores_per_socket,
        cpu_count: online,
        max_cpu_id: saturating_u32(cpu::online() + cpu::parked() - 1),
        node_count: 1,
        max_node_id: 0,
        // Frequencies below 4 THz fit.
        cpu_khz: low_u32(time::scale().frequency() / 1000),
        capabilities: CAPABILITIES,
        arch_capabilities: 0,
        _pad: 0,
        total_pages: frames::total_frames(),
        free_pages: frames::free_frames(),
        // Frames are cleared when they are allocated.
        scrub_pages: 0,
        outstanding_pages: claim::outstanding(),
        max_mfn: frames::table_size().saturating_sub(1),
        hardware_capabilities,
    };
    request.answer(caller, &answer)?;
    Ok(0)
}

/// Returns the idle time of each pCPU.
pub(super) fn cpu_info(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: GetCpuInfo = request.argument();
    let mut count = 0;
    for cpu in cpu::all_online().take(usize::try_from(argument.max_cpus).unwrap_or(usize::MAX)) {
        let info = CpuInfo { idle_time: scheduler::idle_time(cpu) };
        caller.cpu.write_element(GuestVirt::new(argument.info), count.into(), &info)?;
        count += 1;
    }
    argument.cpu_count = count;
    request.answer(caller, &argument)?;
    Ok(0)
}

/// Returns the free memory. The host has one node, and guests can use all its memory.
pub(super) fn available_heap(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: AvailableHeap = request.argument();
    let bits = (frames::table_size() * PAGE_SIZE as u64).next_power_of_two().trailing_zeros();
    let everywhere = argument.min_bit_width <= 12 && (argument.max_bit_width == 0 || argument.max_bit_width >= bits);
    argument.available_bytes = match argument.node {
        ..=0 if everywhere => frames::free_frames() * PAGE_SIZE as u64,
        // Free memory is not counted by address range.
        _ => 0,
    };
    request.answer(caller, &argument)?;
    Ok(0)
}
