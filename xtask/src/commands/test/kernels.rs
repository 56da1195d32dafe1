//! Stock kernels: each reaches user space with one, two and four virtual CPUs, runs the
//! process-heavy script and powers off. Some boots have all defences against transient execution,
//! on processors of different vendors.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;

use super::{Bench, Outcome, Report, Test, script_outcome};
use crate::debian::kernels::{KERNELS, Kernel};
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::size::Size;
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::machine::{self, Contents};
use crate::virtual_machine::session::{END_TIME, Limits};

/// Physical CPUs, whatever the number of virtual ones.
const CPUS: u32 = 2;

/// Memory of a guest.
pub(super) const MEMORY: Size = Size::mib(256);

/// Time limits of a boot, and of the whole, on a busy and emulated machine.
pub(super) const LIMITS: Limits =
    Limits { boot: Some(Duration::from_secs(180)), whole: Some(Duration::from_secs(420)), end: END_TIME };

/// Lets all processes of a real-time kernel run above the kernel's own threads, all of the time.
const UNPREEMPTED: &str = "sysctl.kernel.sched_rt_runtime_us=-1 rdinit=/programs/unpreempted -- /init";

/// How a kernel boots: the number of virtual CPUs, and the processor on which Paravane has all
/// defences, unless the command line names another.
type Form = (u32, Option<&'static str>);

const FORMS: [Form; 3] = [(1, None), (2, Some("EPYC")), (4, Some("max"))];

/// Which forms run. In the short form of the tests a variant has one.
fn forms(test: &Test, kernel: &Kernel) -> &'static [Form] {
    if kernel.is_variant && !test.full { &FORMS[1..2] } else { &FORMS }
}

/// Runs all of them in order. Repeated boots of a kernel cycle through the forms.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    for kernel in &KERNELS {
        let name = |(vcpus, _): &Form| format!("kernel {} with {vcpus} vCPUs", kernel.name);
        let chosen: Vec<Form> = forms(test, kernel).iter().copied().filter(|form| test.chooses(&name(form))).collect();
        let boots = if test.repeat > 1 { usize::try_from(test.repeat).unwrap_or(usize::MAX) } else { chosen.len() };
        for form in chosen.iter().cycle().take(boots) {
            report.take(&name(form), || boot(bench, kernel, *form));
        }
    }
}

fn boot(bench: &Bench, kernel: &Kernel, (vcpus, defended_on): Form) -> Result<Outcome> {
    let mut ramdisk = Ramdisk::bootable()?;
    ramdisk.programs()?;
    ramdisk.command("", &["/programs/exercise", &vcpus.to_string()].map(OsString::from))?;
    let guest = GuestModule {
        name: "linux".into(),
        memory: MEMORY,
        vcpus,
        kernel: "vmlinuz".into(),
        ramdisk: Some("ramdisk".into()),
        // The kernel's warnings in the log are more useful than their consequences.
        command_line: format!(
            "console={} ignore_loglevel {}",
            bench.host.console(),
            if kernel.is_real_time { UNPREEMPTED } else { "" }
        ),
    };
    let cpus = if matches!(bench.host, Host::Bare) { vcpus } else { CPUS };
    let files = vec![("vmlinuz", Contents::File(kernel.file()?)), ("ramdisk", Contents::Bytes(ramdisk.finish()?))];
    let memory = machine::host_memory(1, MEMORY);
    let mut setup = bench.setup(cpus, memory, Load::Guests(vec![guest]), files, LIMITS);
    if let Some(cpu) = defended_on {
        bench.defend(&mut setup, cpu);
    }
    let booted = setup.boot(&machine::log_file("test-logs", &format!("kernel-{}-{vcpus}", kernel.name))?)?;
    Ok(script_outcome(booted))
}
