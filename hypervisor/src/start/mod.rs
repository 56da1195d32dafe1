//! Start of the host: builds and starts the domains that the boot modules describe, then passes
//! each pCPU to the scheduler.

mod plan;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::xen::DomainId;
use machine::addr::{CpuSet, PAGE_SIZE};
use machine::boot;
use machine::boot::options::{Amount, Dom0Memory};
use machine::boot_modules::ModuleContents;
use machine::integers::saturating_u32;
use machine::{cpu, frames, heap};

use crate::builder::{self, Image};
use crate::domain::{self, Domain, MAX_VCPUS, Settings};
use crate::guest_log::host_log;
use crate::lifecycle;
use crate::{scheduler, vcpu_loop};
pub(crate) use plan::MAX_NAME;
use plan::{Guest, InitialDomain, Plan};

/// Parses the arguments of modules, for the fuzz targets.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn plan_of(modules: &[&str]) {
    drop(plan::Plan::new(modules, None));
}

/// The default reserve that is not given to the initial domain: this fraction of the memory, up to
/// a maximum in frames.
const RESERVE_FRACTION: u64 = 16;
const LARGEST_RESERVE: u64 = (128 << 20) / PAGE_SIZE as u64;
/// Frames that the builder may need temporarily, in addition to the domain's list.
const BUILDER_FRAMES: u64 = 1024;

/// Entry point on the boot CPU after the machine has been initialised.
pub fn main() -> ! {
    crate::guest_log::init();
    crate::console::init();
    crate::cpu_policy::init();
    let info = boot::info();
    let modules = info.modules();
    host_log!(
        Info,
        "{} MiB of memory free, {} boot modules",
        (frames::free_frames() * PAGE_SIZE as u64) >> 20,
        modules.len()
    );
    let arguments: Vec<_> = modules.iter().map(|module| info.arguments(module)).collect();
    let microcode = boot::options().microcode.source.module(modules.len());
    // It has been loaded.
    microcode.and_then(ModuleContents::take).map(ModuleContents::release);
    if start_guests(Plan::new(&arguments, microcode)) == 0 {
        host_log!(Error, "no guest could be started; powering off");
        machine::power::off();
    }
    crate::console::serve_devices();
    cpu::start_others(vcpu_loop::run_cpu);
    if boot::options().dom0_vcpus_pinned
        && let Some(domain) = domain::by_id(DomainId(0))
    {
        pin(&domain, cpu::online());
    }
    vcpu_loop::run_cpu()
}

/// Builds and starts the planned domains. Returns the number of started domains.
fn start_guests(plan: Plan<'_>) -> usize {
    for index in &plan.unused {
        host_log!(Warn, "boot module {index} is not used");
        ModuleContents::take(*index).map(ModuleContents::release);
    }
    let mut started = 0;
    if let Some(wanted) = &plan.initial_domain {
        match start_initial_domain(wanted) {
            Ok(()) => {
                started += 1;
                hand_screen_over();
            }
            Err(why) => host_log!(Error, "initial domain not started: {why}"),
        }
    }
    if plan.initial_domain.is_none() && plan.guests.is_empty() {
        host_log!(Error, "no boot module is a guest's kernel");
    }
    let mut next_id = 1;
    for wanted in plan.guests {
        let (name, result) = match wanted {
            Ok(guest) => (guest.name.clone(), start_guest(&guest, DomainId(next_id))),
            Err((name, why)) => (name, Err(why)),
        };
        match result {
            Ok(()) => {
                started += 1;
                next_id += 1;
            }
            Err(why) => host_log!(Error, "guest {name} not started: {why}"),
        }
    }
    started
}

/// Leaves the screen to the initial domain's kernel, unless `vga=keep` is given.
fn hand_screen_over() {
    let options = boot::options();
    if options.consoles.vga && !options.video.keep && boot::video().is_some() {
        host_log!(Info, "the initial domain controls the screen from now on (vga=keep prevents this)");
        machine::console::release_screen();
    }
}

fn start_guest(guest: &Guest<'_>, id: DomainId) -> Result<(), String> {
    let max_frames = frames_of(guest.memory)?;
    start(id, guest.kernel, guest.ramdisk, guest.command_line, || Settings {
        name: guest.name.clone(),
        privileged: false,
        vcpus: guest.vcpus,
        max_frames,
        weight: guest.weight,
        cap: guest.cap,
    })
}

fn start_initial_domain(wanted: &InitialDomain<'_>) -> Result<(), String> {
    let options = boot::options();
    crate::hardware::init();
    let cpus = u32::try_from(cpu::expected()).unwrap_or(1);
    let command_line = [wanted.command_line, options.dom0_command_line].join(" ");
    start(DomainId(0), wanted.kernel, wanted.ramdisk, command_line.trim_end(), || Settings {
        name: String::from("Domain-0"),
        privileged: true,
        vcpus: cpus.clamp(*options.dom0_vcpus.start(), *options.dom0_vcpus.end()).clamp(1, MAX_VCPUS),
        max_frames: frames_of(initial_memory(options.dom0_memory)).unwrap_or(u32::MAX),
        weight: 256,
        cap: 0,
    })
}

/// The memory of the initial domain, in bytes: as configured, but at most the available memory; all
/// except a reserve by default. Its kernel has been decompressed before this is called.
fn initial_memory(wanted: Dom0Memory) -> u64 {
    memory_for(wanted, frames::free_frames(), frames::total_frames())
}

/// Computes the memory of the initial domain from the number of free frames and of all frames.
/// Memory that its kernel and modules occupy now is freed later. It counts as part of the reserve,
/// and of the total to which relative amounts refer.
fn memory_for(wanted: Dom0Memory, free: u64, total: u64) -> u64 {
    let reserve = Amount::all_but((total / RESERVE_FRACTION).min(LARGEST_RESERVE) * PAGE_SIZE as u64);
    let bytes = |amount: Amount| amount.bytes(total * PAGE_SIZE as u64);
    let initial = bytes(wanted.initial.unwrap_or(reserve));
    let available = free.saturating_sub(BUILDER_FRAMES + free / 256) * PAGE_SIZE as u64;
    initial.max(wanted.min.map_or(0, bytes)).min(wanted.max.map_or(u64::MAX, bytes)).min(available)
}

/// Pins each vCPU to the pCPU of the same number, modulo the number `cpus` of pCPUs.
fn pin(domain: &Domain, cpus: usize) {
    for (vcpu, number) in domain.vcpus().iter().zip((0..saturating_u32(cpus)).cycle()) {
        if scheduler::set_affinity(vcpu, CpuSet::from_bits(1 << number)).is_err() {
            host_log!(Warn, "vCPU {} of the initial domain is not pinned: no pCPU {number}", vcpu.id().index());
        }
    }
}

fn frames_of(bytes: u64) -> Result<u32, String> {
    u32::try_from(bytes / PAGE_SIZE as u64).map_err(|_| format!("{bytes} bytes are too much memory"))
}

fn start(
    id: DomainId,
    kernel: usize,
    ramdisk: Option<usize>,
    command_line: &str,
    settings: impl FnOnce() -> Settings,
) -> Result<(), String> {
    let take = |index| ModuleContents::take(index).ok_or_else(|| format!("boot module {index} cannot be read"));
    let ramdisk = ramdisk.map(take).transpose()?;
    let kernel = take(kernel)?;
    let result = build(id, kernel.as_slice(), ramdisk.as_ref().map(ModuleContents::as_slice), command_line, settings);
    // The modules are not needed any more, whether or not the build succeeded.
    kernel.release();
    ramdisk.map(ModuleContents::release);
    let domain = result?;
    domain::add(&domain);
    crate::time::init_domain(&domain);
    if domain.is_privileged() {
        // It has its initial memory, and may grow to its configured maximum, or without limit.
        let total = frames::total_frames() * PAGE_SIZE as u64;
        let most = boot::options().dom0_memory.max.and_then(|most| frames_of(most.bytes(total)).ok());
        domain.set_max_frames(most.unwrap_or(u32::MAX));
    }
    let settings = domain.settings();
    let memory = (u64::from(settings.max_frames) * PAGE_SIZE as u64) >> 20;
    host_log!(Info, "domain {}: {}, {memory} MiB, {} vCPUs", id.0, settings.name, settings.vcpus);
    lifecycle::start(&domain);
    Ok(())
}

fn build(
    id: DomainId,
    kernel: &[u8],
    ramdisk: Option<&[u8]>,
    command_line: &str,
    settings: impl FnOnce() -> Settings,
) -> Result<Arc<Domain>, String> {
    let image = Image::open(kernel).map_err(|error| error.to_string())?;
    if heap::is_short() {
        return Err(String::from("no memory is free"));
    }
    let domain = Domain::new(id, settings()).map_err(|_| String::from("no memory is free"))?;
    builder::build(&domain, &image, ramdisk, command_line).map_err(|error| error.to_string())?;
    Ok(domain)
}

#[cfg(test)]
mod tests;
