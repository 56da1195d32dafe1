//! All options that are known, each once: dispatch and `docs/options.md` come from here.

use super::value::{boolean, level, number};
use super::{Argument, Consoles, NotTaken, Options, SerialSettings, VideoSettings};

/// One option.
#[derive(Debug)]
pub struct Row {
    /// Its name in Xen's documentation.
    pub name: &'static str,
    /// What may stand behind `=`; `BOOL` may be left out, and `no-` in front of the name negates
    /// it.
    pub form: &'static str,
    /// What it does.
    pub effect: Effect,
}

/// What an option does.
#[derive(Debug)]
pub enum Effect {
    /// It is acted on.
    Taken {
        /// What it does, for people.
        summary: &'static str,
        /// Does it.
        apply: Apply,
    },
    /// Nothing, because of that.
    None(&'static str),
}

/// Acts on an option's argument.
#[derive(Debug)]
pub struct Apply(pub(super) for<'a> fn(&mut Options<'a>, Argument<'a>) -> Result<(), NotTaken>);

type Function = for<'a> fn(&mut Options<'a>, Argument<'a>) -> Result<(), NotTaken>;

const fn taken(name: &'static str, form: &'static str, apply: Function, summary: &'static str) -> Row {
    Row { name, form, effect: Effect::Taken { summary, apply: Apply(apply) } }
}

const fn none(name: &'static str, form: &'static str, why: &'static str) -> Row {
    Row { name, form, effect: Effect::None(why) }
}

const HVM: &str = "no guest uses hardware virtualisation";
const IOMMU: &str = "no IOMMU is used and no device is passed through";
const SCHEDULER: &str = "the scheduler has no such setting; xl sched-credit2 sets weights, caps and the rate limit";
const POWER: &str = "frequencies and idle states of processors are left alone";
const INTERRUPTS: &str = "interrupt controllers are used as ACPI and the processor describe them";
const TIMERS: &str = "clocks and timers are chosen by what the processor and ACPI offer";
const FEATURES: &str = "which of the processor's features are used and shown to guests cannot be chosen";
const SPECULATION: &str = "there are no mitigations for speculative execution to choose from";
const MACHINE_CHECK: &str = "machine checks are not looked into";
const WATCHDOG: &str = "no watchdog looks after the pCPUs";
const CRASH: &str = "no crash kernel can be loaded (docs/decisions/0006-no-crash-kernel.md)";
const DEBUG: &str = "there is no such debugging aid";
const MEMORY: &str = "all memory that the firmware reports is used";
const BIOS: &str = "the BIOS is not called";
const SECURITY: &str = "there are no security modules: the initial domain has control, others have none";
const SHIM: &str = "Paravane is no shim for a single guest";
const CONSOLE: &str = "there is no such console";
const SCREEN: &str = "the screen is as the boot loader leaves it, and its size picks the font";
const MASKS: &str = "CPUID is intercepted or shown as it is, never masked";
const LIMIT: &str = "the limit is fixed";
const LOG: &str = "every line is written at once, and the last 128 KiB are kept";
const NUMA: &str = "the whole machine is one node";
const GRANTS: &str = "no part of the grant tables can be switched off";

/// By name, where a hyphen and an underscore are alike.
pub const TABLE: &[Row] = &[
    none("acpi", "STRING", INTERRUPTS),
    none("acpi_apic_instance", "NUMBER", INTERRUPTS),
    none("acpi_pstate_strict", "BOOL", POWER),
    none("acpi_skip_timer_override", "BOOL", TIMERS),
    none("acpi_sleep", "STRING", "of the sleep states only power-off is supported"),
    none("allow_unsafe", "BOOL", "no processor is refused"),
    none("altp2m", "BOOL", HVM),
    none("apic", "STRING", INTERRUPTS),
    none("apic_verbosity", "STRING", DEBUG),
    none("apicv", "BOOL", HVM),
    none("arat", "BOOL", TIMERS),
    none("argo", "LIST", "there is no Argo"),
    none("asid", "BOOL", HVM),
    none("async-show-all", "BOOL", "a panic always shows all pCPUs"),
    none("ats", "BOOL", IOMMU),
    none("availmem", "SIZE", MEMORY),
    none("badpage", "LIST", MEMORY),
    none("bootscrub", "idle or BOOL", "memory is cleared whenever it is given out"),
    none("bootscrub_chunk", "SIZE", "memory is cleared whenever it is given out"),
    none("cet", "LIST", "control-flow enforcement is not used"),
    none("clocksource", "NAME", TIMERS),
    none("cmci-threshold", "NUMBER", MACHINE_CHECK),
    none("cmos-rtc-probe", "BOOL", TIMERS),
    taken(
        "com1",
        "BAUD[/BASE][,FRAMING[,PORT|pci|amt[,IRQ[,BUS:DEVICE.FUNCTION]]]]",
        com1,
        "the first serial port: bits a second or `auto`, framing such as `8n1`, first I/O port or PCI card, interrupt line (0: by a timer)",
    ),
    taken(
        "com2",
        "BAUD[/BASE][,FRAMING[,PORT|pci|amt[,IRQ[,BUS:DEVICE.FUNCTION]]]]",
        com2,
        "the second serial port, in the same way",
    ),
    none("conring_size", "SIZE", LOG),
    taken(
        "console",
        "LIST",
        console,
        "where the log goes: `com1`, `com2`, `vga`, all of the list at the same time; `none` for nowhere; the default is `com1,vga`",
    ),
    none("console_timestamps", "FORMAT", "lines carry no time"),
    none("console_to_ring", "BOOL", "what guests print is always kept with the log"),
    none("conswitch", "CHARACTER[x]", "Ctrl-A three times moves the input on"),
    none("core_parking", "STRING", POWER),
    none("cpu_type", "STRING", "performance counters are not offered"),
    none("cpufreq", "STRING", POWER),
    none("cpuid", "LIST", FEATURES),
    none("cpuid_mask_cpu", "NUMBER", MASKS),
    none("cpuid_mask_ecx", "NUMBER", MASKS),
    none("cpuid_mask_edx", "NUMBER", MASKS),
    none("cpuid_mask_ext_ecx", "NUMBER", MASKS),
    none("cpuid_mask_ext_edx", "NUMBER", MASKS),
    none("cpuid_mask_l7s0_eax", "NUMBER", MASKS),
    none("cpuid_mask_l7s0_ebx", "NUMBER", MASKS),
    none("cpuid_mask_thermal_ecx", "NUMBER", MASKS),
    none("cpuid_mask_xsave_eax", "NUMBER", MASKS),
    none("cpuidle", "BOOL", POWER),
    none("cpuinfo", "BOOL", DEBUG),
    none("crash-debug-debugkey", "STRING", DEBUG),
    none("crash-debug-hwdom", "STRING", DEBUG),
    none("crash-debug-kexeccmd", "STRING", DEBUG),
    none("crash-debug-panic", "STRING", DEBUG),
    none("crash-debug-watchdog", "STRING", DEBUG),
    none("crashinfo_maxaddr", "SIZE", CRASH),
    none("crashkernel", "STRING", CRASH),
    none("credit2_balance_over", "NUMBER", SCHEDULER),
    none("credit2_balance_under", "NUMBER", SCHEDULER),
    none("credit2_cap_period_ms", "NUMBER", SCHEDULER),
    none("credit2_load_precision_shift", "NUMBER", SCHEDULER),
    none("credit2_load_window_shift", "NUMBER", SCHEDULER),
    none("credit2_runqueue", "STRING", SCHEDULER),
    none("dbgp", "STRING", CONSOLE),
    none("debug_stack_lines", "NUMBER", DEBUG),
    none("debugtrace", "SIZE", DEBUG),
    none("dit", "BOOL", SPECULATION),
    none("dma_bits", "NUMBER", "the initial domain asks for low memory when it needs it"),
    none("dom0", "LIST", "the initial domain is a PV guest"),
    none("dom0-cpuid", "LIST", FEATURES),
    none("dom0-iommu", "LIST", IOMMU),
    none("dom0_ioports_disable", "LIST", "the initial domain may use all ports but Paravane's own"),
    taken(
        "dom0_max_vcpus",
        "N or [MIN]-[MAX]",
        dom0_max_vcpus,
        "vCPUs of the initial domain: N, or as many as there are pCPUs within the bounds",
    ),
    taken(
        "dom0_mem",
        "[min:AMOUNT|max:AMOUNT|AMOUNT],...",
        dom0_mem,
        "memory of the initial domain: what it starts with, at least and at most. AMOUNT is `SIZE`, `PERCENT%`, sums of them (`1G+25%`), and with `-` in front all but that. Several `dom0_mem=` add to each other. Without a size it is all but a sixteenth of the memory (128 MiB at most). It may grow to `max`, without one to any size",
    ),
    none("dom0_nodes", "LIST", NUMA),
    taken(
        "dom0_vcpus_pin",
        "BOOL",
        dom0_vcpus_pin,
        "vCPU n of the initial domain runs on pCPU n only; where there are fewer pCPUs, counting starts over at pCPU 0",
    ),
    none("e820-mtrr-clip", "BOOL", MEMORY),
    none("e820-verbose", "BOOL", DEBUG),
    none("edd", "STRING", BIOS),
    none("edid", "STRING", BIOS),
    taken(
        "efi",
        "rs=BOOL|rs|no-rs|attr=no|attr=uc,...",
        efi,
        "whether the initial domain may have the firmware's runtime services called, for EFI variables; the default is `rs`. `attr=` has no effect: memory of unknown cacheability is mapped uncached",
    ),
    none("ept", "LIST", HVM),
    none("extra_guest_irqs", "NUMBER[,NUMBER]", LIMIT),
    none("flask", "STRING", SECURITY),
    none("font", "HEIGHT", SCREEN),
    none("force-ept", "BOOL", HVM),
    none("gdb", "PORT", "there is no stub for a debugger"),
    none("global-pages", "BOOL", "guests' pages are never global"),
    none("gnttab", "LIST", GRANTS),
    taken(
        "gnttab_max_frames",
        "NUMBER",
        gnttab_max_frames,
        "frames that a domain's grant table may have, 512 grants each (64; 2048 at most); the tools may give a guest up to that by \
         `max_grant_frames`",
    ),
    taken(
        "gnttab_max_maptrack_frames",
        "NUMBER",
        gnttab_max_maptrack_frames,
        "the same for grants of others that a domain maps, 256 each (1024; 16384 at most; `max_maptrack_frames`)",
    ),
    taken(
        "guest_console",
        "raw:NAME",
        guest_console,
        "this guest's console is the serial line, unprefixed, both ways; Paravane's own option",
    ),
    taken(
        "guest_loglvl",
        "LEVEL[/LEVEL]",
        guest_loglvl,
        "what is logged of what guests cause: `none`, `error`, `warning` (the default), `info`, `debug` or `all`. Behind a slash the level up to which messages are shown though limited in rate",
    ),
    none("hap", "BOOL", HVM),
    none("hap_1gb", "BOOL", HVM),
    none("hap_2mb", "BOOL", HVM),
    none("hardware_dom", "DOMAIN", "the initial domain is the hardware domain"),
    none("hest_disable", "BOOL", MACHINE_CHECK),
    none("highmem-start", "SIZE", MEMORY),
    none("hpet", "LIST", TIMERS),
    none("hpetbroadcast", "BOOL", TIMERS),
    none("hvm_debug", "NUMBER", HVM),
    none("hvm_fep", "BOOL", HVM),
    none("hvm_port80", "BOOL", HVM),
    none("idle_latency_factor", "NUMBER", POWER),
    none("invpcid", "BOOL", FEATURES),
    none("ioapic_ack", "STRING", INTERRUPTS),
    none("iommu", "LIST", IOMMU),
    none("iommu_dev_iotlb_timeout", "NUMBER", IOMMU),
    none("iommu_inclusive_mapping", "BOOL", IOMMU),
    none("irq-max-guests", "NUMBER", LIMIT),
    none("irq_ratelimit", "NUMBER", "the rate of interrupts is not limited"),
    none("irq_vector_map", "STRING", INTERRUPTS),
    none("ivmd", "STRING", IOMMU),
    none("ivrs_hpet", "DEVICE", IOMMU),
    none("ivrs_ioapic", "DEVICE", IOMMU),
    none("lapic", "BOOL", INTERRUPTS),
    none("lapic_timer_c2_ok", "BOOL", TIMERS),
    none("ler", "BOOL", DEBUG),
    taken("loglvl", "LEVEL[/LEVEL]", loglvl, "what is logged of Paravane, likewise; the default is `info`"),
    none("low_crashinfo", "STRING", CRASH),
    none("low_mem_virq_limit", "SIZE", "nothing is sent when memory runs low"),
    none("max_cstate", "NUMBER[,NUMBER]", POWER),
    none("max_gsi_irqs", "NUMBER", LIMIT),
    taken("maxcpus", "NUMBER", maxcpus, "at most so many pCPUs are started"),
    none("mce", "BOOL", MACHINE_CHECK),
    none("mce_fb", "BOOL", MACHINE_CHECK),
    none("mce_verbosity", "STRING", MACHINE_CHECK),
    none("mem", "SIZE", MEMORY),
    none("memop-max-order", "LIST", LIMIT),
    none("mmcfg", "BOOL[,amd-fam10]", "PCI configuration goes by I/O ports"),
    none("mmio-relax", "BOOL or all", "the initial domain may map all device memory but Paravane's own"),
    none("msi", "BOOL", INTERRUPTS),
    none("mtrr.show", "BOOL", DEBUG),
    none("mwait-idle", "BOOL", POWER),
    none("nmi", "STRING", "an NMI from outside is ignored"),
    none("no-real-mode", "BOOL", BIOS),
    none("noapic", "BOOL", INTERRUPTS),
    none("noirqbalance", "BOOL", "an interrupt goes where its vCPU runs or its guest puts it"),
    none("nolapic", "BOOL", INTERRUPTS),
    taken(
        "noreboot",
        "BOOL",
        noreboot,
        "halt after a panic, or a crash of the initial domain, instead of restarting after 5 seconds",
    ),
    taken("nosmp", "BOOL", nosmp, "only the boot CPU is used, as with `maxcpus=1`"),
    none("nr_irqs", "NUMBER", LIMIT),
    none("numa", "STRING", NUMA),
    none("pci", "LIST", "error signalling is left as the firmware set it"),
    none("pci-phantom", "STRING", IOMMU),
    none("pcid", "STRING", FEATURES),
    none("pku", "BOOL", FEATURES),
    none("ple_gap", "NUMBER", HVM),
    none("ple_window", "NUMBER", HVM),
    none("preferred-cstates", "STRING", POWER),
    none("psr", "LIST", "cache and bandwidth allocation is not used"),
    none("pv", "LIST", "32-bit guests are never taken"),
    none("pv-l1tf", "LIST", SPECULATION),
    none("pv-linear-pt", "BOOL", "linear page tables are refused"),
    none("pv-shim", "BOOL", SHIM),
    none("rcu-idle-timer-period-ms", "NUMBER", TIMERS),
    taken("reboot", "no or METHOD[,...]", reboot, "`no` is `noreboot`; the method of restarting cannot be chosen"),
    none("rmrr", "STRING", IOMMU),
    none("ro-hpet", "BOOL", "the HPET is always read-only"),
    none("sched", "NAME", "there is one scheduler, which shares as credit2 does"),
    none("sched_credit_tslice_ms", "NUMBER", SCHEDULER),
    none("sched_credit2_max_cpus_runqueue", "NUMBER", SCHEDULER),
    none("sched_credit2_migrate_resist", "NUMBER", SCHEDULER),
    none("sched-gran", "STRING", SCHEDULER),
    none("sched_ratelimit_us", "NUMBER", SCHEDULER),
    none("sched_smt_power_savings", "BOOL", SCHEDULER),
    none("scrub-domheap", "BOOL", "memory is cleared whenever it is given out"),
    none("serial_tx_buffer", "SIZE", LIMIT),
    none("shim_mem", "LIST", SHIM),
    none("smap", "BOOL or hvm", FEATURES),
    none("smep", "BOOL or hvm", FEATURES),
    none("smt", "BOOL", "all threads of a core are used"),
    none("snb_igd_quirk", "STRING", IOMMU),
    none("spec-ctrl", "LIST", SPECULATION),
    none("sync_console", "BOOL", LOG),
    none("tboot", "ADDRESS", "measured launch is not supported"),
    none("tbuf_size", "NUMBER", "there are no trace buffers"),
    none("tdt", "BOOL", TIMERS),
    none("tevt_mask", "NUMBER", "there are no trace buffers"),
    none("tickle_one_idle_cpu", "BOOL", SCHEDULER),
    none("timer_slop", "NUMBER", TIMERS),
    none("tsc", "STRING", TIMERS),
    none("tsx", "BOOL", FEATURES),
    none("ucode", "LIST", "microcode is not loaded; the firmware or an earlier boot must do that"),
    none("unrestricted_guest", "BOOL", HVM),
    none("vcpu_migration_delay", "NUMBER", SCHEDULER),
    none("vesa-ram", "NUMBER", SCREEN),
    taken(
        "vga",
        "MODE[,keep]",
        vga,
        "`current`, `text-80x25`, `gfx-1024x768x32` and the like: the boot loader sets the mode, and a line says if it is another; `keep`: Paravane draws on when the initial domain has started",
    ),
    none("viridian-spinlock-retry-count", "NUMBER", HVM),
    none("viridian-version", "STRING", HVM),
    none("vm-notify-window", "NUMBER", HVM),
    none("vpid", "BOOL", HVM),
    none("vpmu", "LIST", "performance counters are not offered"),
    none("watchdog", "force or BOOL", WATCHDOG),
    none("watchdog_timeout", "NUMBER", WATCHDOG),
    none("x2apic", "BOOL", INTERRUPTS),
    none("x2apic-mode", "STRING", INTERRUPTS),
    none("x2apic_phys", "BOOL", INTERRUPTS),
    none("xpti", "LIST", SPECULATION),
    none("xsave", "BOOL", FEATURES),
    none("xsm", "STRING", SECURITY),
];

fn com1<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.serial[0] = argument.parse(|text| SerialSettings::parse(text, 0))?;
    Ok(())
}

fn com2<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.serial[1] = argument.parse(|text| SerialSettings::parse(text, 1))?;
    Ok(())
}

fn console<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    let (consoles, all_known) = Consoles::parse(argument.text()?);
    options.consoles = consoles.unwrap_or(options.consoles);
    if all_known { Ok(()) } else { Err(NotTaken::WithoutEffect(CONSOLE)) }
}

fn dom0_max_vcpus<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.dom0_vcpus = argument.parse(|text| {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let bound = |text: &str, missing| if text.is_empty() { Some(missing) } else { number(text)?.try_into().ok() };
        let (least, most) = (bound(least, 1)?, bound(most, u32::MAX)?);
        Some(least..=most).filter(|range| least > 0 && !range.is_empty() && !text.is_empty())
    })?;
    Ok(())
}

fn dom0_mem<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.dom0_memory = argument.parse(|text| options.dom0_memory.and(text))?;
    Ok(())
}

fn dom0_vcpus_pin<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.dom0_vcpus_pinned = argument.boolean()?;
    Ok(())
}

fn efi<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    for word in argument.text()?.split(',') {
        match word.split_once('=') {
            Some(("rs", value)) => options.efi_runtime_services = boolean(value).ok_or(NotTaken::Senseless)?,
            None if word == "rs" => options.efi_runtime_services = true,
            None if word == "no-rs" => options.efi_runtime_services = false,
            Some(("attr", "no" | "uc")) => {}
            _ => return Err(NotTaken::Senseless),
        }
    }
    Ok(())
}

fn guest_console<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.raw_guest_console = Some(argument.parse(|text| text.strip_prefix("raw:"))?);
    Ok(())
}

fn guest_loglvl<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.guest_log_level = argument.parse(level)?;
    Ok(())
}

fn loglvl<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.log_level = argument.parse(level)?;
    Ok(())
}

/// The most that `gnttab_max_frames=` can allow: 1,048,576 grants of a domain.
pub const MAX_GRANT_FRAMES: u32 = 2048;
/// The most that `gnttab_max_maptrack_frames=` can allow: 4,194,304 grants that a domain has
/// mapped.
pub const MAX_MAPTRACK_FRAMES: u32 = 16 * 1024;

/// A number of frames, `most` for anything above that. Xen takes numbers up to `i32::MAX`.
fn frames(text: &str, most: u32) -> Option<u32> {
    let wanted = i32::try_from(number(text)?).ok()?;
    Some(wanted.unsigned_abs().min(most))
}

fn gnttab_max_frames<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.grant_frames = argument.parse(|text| frames(text, MAX_GRANT_FRAMES).filter(|&frames| frames > 0))?;
    Ok(())
}

fn gnttab_max_maptrack_frames<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.maptrack_frames = argument.parse(|text| frames(text, MAX_MAPTRACK_FRAMES))?;
    Ok(())
}

fn maxcpus<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    let count = argument.parse(|text| u32::try_from(number(text)?).ok().filter(|&count| count > 0))?;
    options.max_cpus = Some(count);
    Ok(())
}

fn noreboot<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    options.no_reboot = argument.boolean()?;
    Ok(())
}

fn nosmp<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    if argument.boolean()? {
        options.max_cpus = Some(1);
    }
    Ok(())
}

/// The first letter of each word in the list is what counts.
fn reboot<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    let ways = || argument.text().map(|list| list.split(','));
    if ways()?.any(|way| way.starts_with('n')) {
        options.no_reboot = true;
        return Ok(());
    }
    let known = ways()?.all(|way| way.starts_with(['w', 'c', 't', 'k', 'a', 'p', 'P', 'e', 'x', '0']));
    Err(if known { NotTaken::WithoutEffect("the method of restarting cannot be chosen") } else { NotTaken::Senseless })
}

fn vga<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken> {
    let text = argument.text()?;
    if text.starts_with("ask") || text.starts_with("mode-") {
        options.video.keep = text.ends_with(",keep");
        return Err(NotTaken::WithoutEffect("the boot loader chooses the video mode"));
    }
    options.video = VideoSettings::parse(text).ok_or(NotTaken::Senseless)?;
    Ok(())
}
