//! The table of all known options. Parsing and `docs/options.md` are derived from it.

use super::value::{boolean, level, number};
use super::{Argument, Consoles, NotTaken, Options, SerialSettings, Tsx, VideoSettings};

/// One option.
#[derive(Debug)]
pub struct Row {
    /// The name in Xen's documentation.
    pub name: &'static str,
    /// Syntax of the value. A `BOOL` may be omitted, and `no-` before the name negates it.
    pub form: &'static str,
    /// The effect of the option.
    pub effect: Effect,
}

/// The effect of an option.
#[derive(Debug)]
pub enum Effect {
    /// The option is applied.
    Taken {
        /// Description for the documentation.
        summary: &'static str,
        /// Applies the option.
        apply: Apply,
    },
    /// The option has no effect, for this reason.
    None(&'static str),
}

/// Applies an option's argument.
#[derive(Debug)]
pub struct Apply(pub(super) for<'a> fn(&mut Options<'a>, Argument<'a>) -> Result<(), NotTaken<'a>>);

type Function = for<'a> fn(&mut Options<'a>, Argument<'a>) -> Result<(), NotTaken<'a>>;

const fn taken(name: &'static str, form: &'static str, apply: Function, summary: &'static str) -> Row {
    Row { name, form, effect: Effect::Taken { summary, apply: Apply(apply) } }
}

const fn none(name: &'static str, form: &'static str, why: &'static str) -> Row {
    Row { name, form, effect: Effect::None(why) }
}

const HVM: &str = "no guest uses hardware virtualisation";
const IOMMU: &str = "no IOMMU is used and no device is passed through";
const SCHEDULER: &str = "the scheduler has no such setting; xl sched-credit2 sets weights, caps and the rate limit";
const POWER: &str = "frequencies and idle states of processors are not changed";
const INTERRUPTS: &str = "interrupt controllers are configured as ACPI and the processor describe them";
const TIMERS: &str = "clocks and timers are chosen from those that the processor and ACPI offer";
const FEATURES: &str = "the processor features that are used and exposed to guests cannot be configured";
const MACHINE_CHECK: &str = "machine check banks are not read";
const WATCHDOG: &str = "there is no watchdog for pCPUs";
const CRASH: &str = "no crash kernel can be loaded (docs/decisions/0006-no-crash-kernel.md)";
const DEBUG: &str = "there is no such debugging aid";
const MEMORY: &str = "all memory that the firmware reports is used";
const BIOS: &str = "the BIOS is not called";
const SECURITY: &str = "there are no security modules: the initial domain has control, others have none";
const SHIM: &str = "there is no PV shim mode";
const CONSOLE: &str = "there is no such console";
const SCREEN: &str = "the boot loader sets the screen mode, and the screen's size selects the font";
const MASKS: &str = "CPUID is intercepted or passed through, never masked";
const LIMIT: &str = "the limit is fixed";
const LOG: &str = "every line is written immediately, and the last 128 KiB are kept";
const NUMA: &str = "the whole machine is one node";
const GRANTS: &str = "no part of the grant tables can be switched off";

/// Sorted by name; a hyphen and an underscore are equivalent.
pub const TABLE: &[Row] = &[
    none("acpi", "STRING", INTERRUPTS),
    none("acpi_apic_instance", "NUMBER", INTERRUPTS),
    none("acpi_pstate_strict", "BOOL", POWER),
    none("acpi_skip_timer_override", "BOOL", TIMERS),
    none("acpi_sleep", "STRING", "power-off is the only supported sleep state"),
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
    none("bootscrub", "idle or BOOL", "memory is cleared when it is allocated"),
    none("bootscrub_chunk", "SIZE", "memory is cleared when it is allocated"),
    none("cet", "LIST", "control-flow enforcement is not used"),
    none("clocksource", "NAME", TIMERS),
    none("cmci-threshold", "NUMBER", MACHINE_CHECK),
    none("cmos-rtc-probe", "BOOL", TIMERS),
    taken(
        "com1",
        "BAUD[/BASE][,FRAMING[,PORT|pci|amt[,IRQ[,BUS:DEVICE.FUNCTION]]]]",
        com1,
        "the first serial port: baud rate or `auto`, framing such as `8n1`, first I/O port or PCI card, interrupt line (0: polled by a timer)",
    ),
    taken(
        "com2",
        "BAUD[/BASE][,FRAMING[,PORT|pci|amt[,IRQ[,BUS:DEVICE.FUNCTION]]]]",
        com2,
        "the second serial port, with the same syntax",
    ),
    none("conring_size", "SIZE", LOG),
    taken(
        "console",
        "LIST",
        console,
        "destinations of the log: any of `com1`, `com2` and `vga`, all used at the same time, or `none`; the default is `com1,vga`",
    ),
    none("console_timestamps", "FORMAT", "lines have no timestamps"),
    none("console_to_ring", "BOOL", "guests' output is always stored with the log"),
    none("conswitch", "CHARACTER[x]", "Ctrl-A three times switches the input"),
    none("core_parking", "STRING", POWER),
    none("cpu_type", "STRING", "guests have no performance counters"),
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
    none("dit", "BOOL", "instructions are not made to take the same time for all data"),
    none("dma_bits", "NUMBER", "the initial domain requests low memory when it needs it"),
    none("dom0", "LIST", "the initial domain is a PV guest"),
    none("dom0-cpuid", "LIST", FEATURES),
    none("dom0-iommu", "LIST", IOMMU),
    none("dom0_ioports_disable", "LIST", "the initial domain may use all ports except Paravane's own"),
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
        "memory of the initial domain: initial size, minimum and maximum. AMOUNT is `SIZE`, `PERCENT%`, or a sum of both (`1G+25%`); after `-` it is subtracted from the memory of the machine. Several `dom0_mem=` are combined. Without a size the domain gets all memory except a sixteenth (128 MiB at most). It may grow to `max`, or without limit if `max` is not given",
    ),
    none("dom0_nodes", "LIST", NUMA),
    taken(
        "dom0_vcpus_pin",
        "BOOL",
        dom0_vcpus_pin,
        "vCPU n of the initial domain runs on pCPU n only; if there are fewer pCPUs, numbering wraps around at pCPU 0",
    ),
    none("e820-mtrr-clip", "BOOL", MEMORY),
    none("e820-verbose", "BOOL", DEBUG),
    none("edd", "STRING", BIOS),
    none("edid", "STRING", BIOS),
    taken(
        "efi",
        "rs=BOOL|rs|no-rs|attr=no|attr=uc,...",
        efi,
        "whether the initial domain may call the firmware's runtime services, for EFI variables; the default is `rs`. `attr=` has no effect: memory of unknown cacheability is mapped uncached",
    ),
    none("ept", "LIST", HVM),
    none("extra_guest_irqs", "NUMBER[,NUMBER]", LIMIT),
    none("flask", "STRING", SECURITY),
    none("font", "HEIGHT", SCREEN),
    none("force-ept", "BOOL", HVM),
    none("gdb", "PORT", "there is no debugger stub"),
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
        "the same for maptrack frames, which hold 256 mapped grants each (1024; 16384 at most; `max_maptrack_frames`)",
    ),
    taken(
        "guest_console",
        "raw:NAME",
        guest_console,
        "the serial line is this guest's console, for input and output, without prefixes; Paravane's own option",
    ),
    taken(
        "guest_loglvl",
        "LEVEL[/LEVEL]",
        guest_loglvl,
        "log level of messages that guests cause: `none`, `error`, `warning` (the default), `info`, `debug` or `all`. After a slash, the level up to which messages are shown with a rate limit",
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
    taken(
        "log-dirty-pool",
        "PERCENT",
        log_dirty_pool,
        "memory for the mirror tables of a guest that is migrated, in percent of its memory, 1 to 100; the default is 2, and each vCPU gets 128 KiB at least. The option is Paravane's own. See [migration.md](migration.md#memory-for-mirror-tables)",
    ),
    taken(
        "loglvl",
        "LEVEL[/LEVEL]",
        loglvl,
        "log level of Paravane's own messages, with the same syntax; the default is `info`",
    ),
    none("low_crashinfo", "STRING", CRASH),
    none("low_mem_virq_limit", "SIZE", "no VIRQ is sent when memory is low"),
    none("max_cstate", "NUMBER[,NUMBER]", POWER),
    none("max_gsi_irqs", "NUMBER", LIMIT),
    taken("maxcpus", "NUMBER", maxcpus, "the maximum number of pCPUs that are started"),
    none("mce", "BOOL", MACHINE_CHECK),
    none("mce_fb", "BOOL", MACHINE_CHECK),
    none("mce_verbosity", "STRING", MACHINE_CHECK),
    none("mem", "SIZE", MEMORY),
    none("memop-max-order", "LIST", LIMIT),
    none("mmcfg", "BOOL[,amd-fam10]", "PCI configuration space is accessed by I/O ports"),
    none("mmio-relax", "BOOL or all", "the initial domain may map all device memory except Paravane's own"),
    none("msi", "BOOL", INTERRUPTS),
    none("mtrr.show", "BOOL", DEBUG),
    none("mwait-idle", "BOOL", POWER),
    none("nmi", "STRING", "external NMIs are ignored"),
    none("no-real-mode", "BOOL", BIOS),
    none("noapic", "BOOL", INTERRUPTS),
    none("noirqbalance", "BOOL", "an interrupt is routed to the pCPU of its vCPU, or as its guest requests"),
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
    taken(
        "pcid",
        "BOOL or xpti=BOOL",
        pcid,
        "the domains that use process-context identifiers, if the processor has them and INVPCID; the default is `xpti`: those with split roots",
    ),
    none("pku", "BOOL", FEATURES),
    none("ple_gap", "NUMBER", HVM),
    none("ple_window", "NUMBER", HVM),
    none("preferred-cstates", "STRING", POWER),
    none("psr", "LIST", "cache and bandwidth allocation is not used"),
    none("pv", "LIST", "32-bit guests are not supported"),
    taken(
        "pv-l1tf",
        "[BOOL|dom0=BOOL|domu=BOOL],...",
        pv_l1tf,
        "whether page-table entries that L1TF could use are refused; by default for all domains but the initial one, on processors with L1TF",
    ),
    none("pv-linear-pt", "BOOL", "linear page tables are refused"),
    none("pv-shim", "BOOL", SHIM),
    none("rcu-idle-timer-period-ms", "NUMBER", TIMERS),
    taken("reboot", "no or METHOD[,...]", reboot, "`no` is `noreboot`; the method of restarting cannot be chosen"),
    none("rmrr", "STRING", IOMMU),
    none("ro-hpet", "BOOL", "the HPET is always read-only"),
    none("sched", "NAME", "there is one scheduler, which shares by weight and cap like credit2"),
    none("sched_credit_tslice_ms", "NUMBER", SCHEDULER),
    none("sched_credit2_max_cpus_runqueue", "NUMBER", SCHEDULER),
    none("sched_credit2_migrate_resist", "NUMBER", SCHEDULER),
    taken(
        "sched-gran",
        "cpu|core",
        sched_gran,
        "with `core`, the threads of a core never run guests of different domains at the same time. `xenhypfs write /paravane/core-scheduling ID=cpu|core` changes it for one domain; [defences.md](defences.md#simultaneous-multithreading) has the details",
    ),
    none("sched_ratelimit_us", "NUMBER", SCHEDULER),
    none("sched_smt_power_savings", "BOOL", SCHEDULER),
    none("scrub-domheap", "BOOL", "memory is cleared when it is allocated"),
    none("serial_tx_buffer", "SIZE", LIMIT),
    none("shim_mem", "LIST", SHIM),
    none("smap", "BOOL or hvm", FEATURES),
    none("smep", "BOOL or hvm", FEATURES),
    taken(
        "smt",
        "BOOL",
        smt,
        "whether more than one thread of a core is used. With `no`, the other threads are started and parked: they run no guest, and the tools see them as offline",
    ),
    none("snb_igd_quirk", "STRING", IOMMU),
    taken(
        "spec-ctrl",
        "[no|no-xen|PART],...",
        spec_ctrl,
        "defences against transient execution; by default those that the processor needs. `no` switches all off, also those of `xpti`, `pv-l1tf`, `smt` and `tsx` unless given before; `no-xen` leaves what guests use themselves. Parts: `pv`, `msr-sc`, `rsb`, `verw`, `ibpb-entry`, `bhb-entry`, `bti-thunk=retpoline\\|lfence\\|jmp`, `bhb-seq=short\\|tsx\\|long\\|none`, `ibrs`, `stibp`, `ibpb`, `ssbd`, `psfd`, `bhi-dis-s`, `srb-lock`, `unpriv-mmio`, `gds-mit`, `div-scrub`, each a BOOL; `hvm`, `l1d-flush`, `eager-fpu`, `branch-harden` and `lock-harden` have no effect. [defences.md](defences.md) has the details",
    ),
    none("sync_console", "BOOL", LOG),
    none("tboot", "ADDRESS", "measured launch is not supported"),
    none("tbuf_size", "NUMBER", "there are no trace buffers"),
    none("tdt", "BOOL", TIMERS),
    none("tevt_mask", "NUMBER", "there are no trace buffers"),
    none("tickle_one_idle_cpu", "BOOL", SCHEDULER),
    none("timer_slop", "NUMBER", TIMERS),
    none("tsc", "STRING", TIMERS),
    taken(
        "tsx",
        "BOOL",
        tsx,
        "whether transactional memory is enabled; by default it is switched off on processors where it leaks, and unchanged on others",
    ),
    taken(
        "ucode",
        "[INTEGER|scan=BOOL|nmi=BOOL|allow-same=BOOL|digest-check=BOOL],...",
        ucode,
        "where microcode is: in an early archive in a boot module (`scan`, the default), in the boot module of this number (from the end, if it is negative), or in none (`no-scan`). `allow-same`: the current revision is loaded again, for tests. `nmi` and `digest-check` have no effect ([microcode.md](microcode.md))",
    ),
    none("unrestricted_guest", "BOOL", HVM),
    none("vcpu_migration_delay", "NUMBER", SCHEDULER),
    none("vesa-ram", "NUMBER", SCREEN),
    taken(
        "vga",
        "MODE[,keep]",
        vga,
        "`current`, `text-80x25`, `gfx-1024x768x32` and the like: the boot loader sets the mode, and a log line reports a different one; `keep`: Paravane continues to draw after the initial domain has started",
    ),
    none("viridian-spinlock-retry-count", "NUMBER", HVM),
    none("viridian-version", "STRING", HVM),
    none("vm-notify-window", "NUMBER", HVM),
    none("vpid", "BOOL", HVM),
    none("vpmu", "LIST", "guests have no performance counters"),
    none("watchdog", "force or BOOL", WATCHDOG),
    none("watchdog_timeout", "NUMBER", WATCHDOG),
    none("x2apic", "BOOL", INTERRUPTS),
    none("x2apic-mode", "STRING", INTERRUPTS),
    none("x2apic_phys", "BOOL", INTERRUPTS),
    taken(
        "xpti",
        "[default|BOOL|dom0=BOOL|domu=BOOL],...",
        xpti,
        "whether a domain runs with root tables that do not map Paravane's memory; by default on processors with Meltdown",
    ),
    none("xsave", "BOOL", FEATURES),
    none("xsm", "STRING", SECURITY),
];

fn com1<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.serial[0] = argument.parse(|text| SerialSettings::parse(text, 0))?;
    Ok(())
}

fn com2<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.serial[1] = argument.parse(|text| SerialSettings::parse(text, 1))?;
    Ok(())
}

fn console<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    let (consoles, all_known) = Consoles::parse(argument.text()?);
    options.consoles = consoles.unwrap_or(options.consoles);
    if all_known { Ok(()) } else { Err(NotTaken::WithoutEffect(CONSOLE)) }
}

fn dom0_max_vcpus<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.dom0_vcpus = argument.parse(|text| {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let bound = |text: &str, missing| if text.is_empty() { Some(missing) } else { number(text)?.try_into().ok() };
        let (least, most) = (bound(least, 1)?, bound(most, u32::MAX)?);
        Some(least..=most).filter(|range| least > 0 && !range.is_empty() && !text.is_empty())
    })?;
    Ok(())
}

fn dom0_mem<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.dom0_memory = argument.parse(|text| options.dom0_memory.and(text))?;
    Ok(())
}

fn dom0_vcpus_pin<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.dom0_vcpus_pinned = argument.boolean()?;
    Ok(())
}

fn efi<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
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

fn guest_console<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.raw_guest_console = Some(argument.parse(|text| text.strip_prefix("raw:"))?);
    Ok(())
}

fn guest_loglvl<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.guest_log_level = argument.parse(level)?;
    Ok(())
}

fn loglvl<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.log_level = argument.parse(level)?;
    Ok(())
}

/// The maximum of `gnttab_max_frames=`: 1,048,576 grants of a domain.
pub const MAX_GRANT_FRAMES: u32 = 2048;
/// The maximum of `gnttab_max_maptrack_frames=`: 4,194,304 mapped grants of a domain.
pub const MAX_MAPTRACK_FRAMES: u32 = 16 * 1024;

/// A number of frames, at most `most`. Xen accepts numbers up to `i32::MAX`.
fn frames(text: &str, most: u32) -> Option<u32> {
    let wanted = i32::try_from(number(text)?).ok()?;
    Some(wanted.unsigned_abs().min(most))
}

fn gnttab_max_frames<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.grant_frames = argument.parse(|text| frames(text, MAX_GRANT_FRAMES).filter(|&frames| frames > 0))?;
    Ok(())
}

fn gnttab_max_maptrack_frames<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.maptrack_frames = argument.parse(|text| frames(text, MAX_MAPTRACK_FRAMES))?;
    Ok(())
}

fn maxcpus<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    let count = argument.parse(|text| u32::try_from(number(text)?).ok().filter(|&count| count > 0))?;
    options.max_cpus = Some(count);
    Ok(())
}

fn noreboot<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.no_reboot = argument.boolean()?;
    Ok(())
}

fn nosmp<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    if argument.boolean()? {
        options.max_cpus = Some(1);
    }
    Ok(())
}

/// Only the first letter of each word in the list is significant.
fn reboot<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    let ways = || argument.text().map(|list| list.split(','));
    if ways()?.any(|way| way.starts_with('n')) {
        options.no_reboot = true;
        return Ok(());
    }
    let known = ways()?.all(|way| way.starts_with(['w', 'c', 't', 'k', 'a', 'p', 'P', 'e', 'x', '0']));
    Err(if known { NotTaken::WithoutEffect("the method of restarting cannot be chosen") } else { NotTaken::Senseless })
}

fn xpti<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.defences.apply_xpti(argument.list()?).map_err(NotTaken::UnknownPart)
}

fn pv_l1tf<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.defences.apply_pv_l1tf(argument.list()?).map_err(NotTaken::UnknownPart)
}

fn pcid<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.defences.apply_pcid(argument.list()?).map_err(|_| NotTaken::Senseless)
}

fn log_dirty_pool<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    let percent = number(argument.text()?).and_then(|percent| u32::try_from(percent).ok());
    options.log_dirty_pool = percent.filter(|percent| (1..=100).contains(percent)).ok_or(NotTaken::Senseless)?;
    Ok(())
}

fn sched_gran<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.core_scheduling = match argument.text()? {
        "cpu" => false,
        "core" => true,
        "socket" => return Err(NotTaken::WithoutEffect("domains may share a package")),
        _ => return Err(NotTaken::Senseless),
    };
    Ok(())
}

fn smt<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.defences.smt = Some(argument.boolean()?);
    Ok(())
}

fn tsx<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.defences.tsx = if argument.boolean()? { Tsx::On } else { Tsx::Off };
    Ok(())
}

fn ucode<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    let without_effect = options.microcode.apply(argument.text()?).map_err(NotTaken::UnknownPart)?;
    without_effect.map_or(Ok(()), |why| Err(NotTaken::WithoutEffect(why)))
}

fn spec_ctrl<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    options.defences.apply_spec_ctrl(argument.text()?).map_err(NotTaken::UnknownPart)
}

fn vga<'a>(options: &mut Options<'a>, argument: Argument<'a>) -> Result<(), NotTaken<'a>> {
    let text = argument.text()?;
    if text.starts_with("ask") || text.starts_with("mode-") {
        options.video.keep = text.ends_with(",keep");
        return Err(NotTaken::WithoutEffect("the boot loader chooses the video mode"));
    }
    options.video = VideoSettings::parse(text).ok_or(NotTaken::Senseless)?;
    Ok(())
}
