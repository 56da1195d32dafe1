//! The screen: the log from its first line, a panic, and the console of the initial domain's
//! kernel, under BIOS and UEFI. The emulator supplies the picture, and the text in it is read.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::{Bench, Outcome, Report, Test, consoles};
use crate::debian::grub;
use crate::debian::kernels::KERNELS;
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::{tools, workspace};
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine::log_file;
use crate::virtual_machine::monitor;
use crate::virtual_machine::monitor::Monitor;
use crate::virtual_machine::qemu;
use crate::virtual_machine::qemu::{Boot, Event, Machine, Module, Running};

/// OVMF from Debian's package ovmf.
const OVMF: &str = "/usr/share/ovmf/OVMF.fd";

/// Time limit from power-on, and the interval between pictures.
const TIME: Duration = Duration::from_secs(120);
const BETWEEN: Duration = Duration::from_millis(300);

/// The start of the log, and its last line without guests.
const FIRST: &str = "(pv) Paravane ";
const LAST: &str = "(pv) error: no guest could be started; powering off";

/// VGA text.
const TEXT_BASE: u64 = 0xb8000;
const COLUMNS: usize = 80;
const ROWS: usize = 25;

/// A guest that runs for some seconds.
const GUEST: &str = "guest name=a memory=128M -- console=hvc0";

/// The firmware that boots Paravane, and the boot protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BootMethod {
    /// QEMU loads it by Multiboot 1.
    Direct,
    /// GRUB under BIOS, with a value for `gfxpayload`.
    Bios(&'static str),
    /// GRUB under UEFI.
    Uefi,
}

/// Runs all of them in order; the rarer configurations only in the long form.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    if !bench.host.is_paravane() {
        return;
    }
    let methods = [
        ("screen, BIOS text", BootMethod::Direct, false),
        ("screen, GRUB, BIOS", BootMethod::Bios("auto"), false),
        ("screen, GRUB, UEFI", BootMethod::Uefi, false),
        ("screen, GRUB, BIOS text", BootMethod::Bios("text"), true),
        ("screen, GRUB, BIOS 24 bits", BootMethod::Bios("800x600x24"), true),
        ("screen, GRUB, BIOS 16 bits", BootMethod::Bios("1024x768x16"), true),
    ];
    for (name, method, long) in methods {
        if test.full || !long {
            test.on_machine(report, name, || if_possible(method, || log(bench, method)));
        }
    }
    test.on_machine(report, "screen, panic, BIOS text", || panic(bench, BootMethod::Direct));
    if test.full {
        test.on_machine(report, "screen, panic, UEFI", || panic(bench, BootMethod::Uefi));
        test.on_machine(report, "screen, initial domain, BIOS text", || {
            initial_domain(bench, BootMethod::Bios("text"))
        });
        test.on_machine(report, "screen, initial domain, BIOS", || {
            initial_domain(bench, BootMethod::Bios("1024x768x32"))
        });
        test.on_machine(report, "screen, initial domain, UEFI", || initial_domain(bench, BootMethod::Uefi));
        test.on_machine(report, "screen, crash of the initial domain, UEFI", || crash(bench, BootMethod::Uefi));
    }
}

/// The test, unless it needs GRUB and that cannot be installed.
fn if_possible(method: BootMethod, test: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
    let firmware = method != BootMethod::Uefi || Path::new(OVMF).exists() || rustix::process::geteuid().is_root();
    if method == BootMethod::Direct || (grub::can_be_used() && firmware) {
        return test();
    }
    Ok(Outcome::Skip(
        "needs Debian's grub-pc-bin, grub-efi-amd64-bin, xorriso, mtools and ovmf, or root to install them".into(),
    ))
}

/// A machine with a screen, and its files.
struct Watched {
    running: Running,
    monitor: Monitor,
    /// The output on the serial line so far.
    serial: String,
    method: BootMethod,
    _folder: TempDir,
}

impl Watched {
    fn start(bench: &Bench, method: BootMethod, options: &str, modules: &[(&str, &Path, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
        let Host::Paravane(image) = &bench.host else { bail!("only Paravane's screen is looked at") };
        let mut loaded = Vec::new();
        for (name, path, arguments) in modules {
            loaded.push(Module { file: (*name).into(), arguments: (*arguments).into() });
            qemu::place(path, folder.path(), name)?;
        }
        let mut machine = consoles::machine(bench, folder.path(), options, loaded)?;
        machine.arguments =
            ["-vga", "std", qemu::STAYS].iter().chain(&monitor::ARGUMENTS).map(ToString::to_string).collect();
        if method != BootMethod::Direct {
            let files: Vec<_> =
                [("paravane", image.as_path())].into_iter().chain(modules.iter().map(|m| (m.0, m.1))).collect();
            grub::image(&folder.path().join("cd"), &commands(method, options, modules), &files)?;
            let drive = ["-drive", "file=cd,format=raw,if=ide,media=cdrom,readonly=on", "-boot", "d"];
            machine.arguments.extend(drive.map(String::from));
            machine.boot = Boot::Disk { firmware: (method == BootMethod::Uefi).then(|| OVMF.into()) };
        }
        if method == BootMethod::Uefi {
            tools::need_file(OVMF, "ovmf")?;
        }
        Self::switch_on(&machine, method, folder)
    }

    fn switch_on(machine: &Machine, method: BootMethod, folder: TempDir) -> Result<Self> {
        let running = machine.start()?;
        let monitor = Monitor::connect(folder.path()).with_context(|| running.messages())?;
        Ok(Self { running, monitor, serial: String::new(), method, _folder: folder })
    }

    /// The text on the screen now. For VGA text it is read from video memory, and the picture must
    /// agree.
    fn text(&mut self) -> Result<Vec<String>> {
        let picture = self.monitor.picture()?;
        if !matches!(self.method, BootMethod::Direct | BootMethod::Bios("text")) {
            return Ok(picture.text());
        }
        let memory = self.monitor.memory(TEXT_BASE, (COLUMNS * ROWS * 2) as u64)?;
        let rows: Vec<String> = memory
            .chunks(COLUMNS * 2)
            .map(|row| row.iter().step_by(2).map(|&byte| char::from(byte)).collect())
            .collect();
        if let Err(why) = picture.shows(&rows, COLUMNS) {
            bail!("the picture is not that of the text: {why}");
        }
        Ok(rows.iter().map(|row| row.trim_end().to_owned()).collect())
    }

    /// Collects serial output until then.
    fn listen(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            match self.running.next(until)? {
                Event::Output(bytes) => self.serial.push_str(&String::from_utf8_lossy(&bytes)),
                Event::Timeout => {}
                Event::Ended => bail!("the machine has ended: {} {}", self.running.messages(), last(&self.serial)),
            }
        }
        Ok(())
    }

    /// Waits until a row of the screen contains `text`; returns all rows.
    fn expect(&mut self, text: &str) -> Result<Vec<String>> {
        let deadline = Instant::now() + TIME;
        loop {
            // While the screen changes, picture and memory may differ.
            let problem = match self.text() {
                Ok(rows) if rows.iter().any(|row| row.contains(text)) => return Ok(rows),
                Ok(_) => String::new(),
                Err(problem) => format!(": {problem:#}"),
            };
            if Instant::now() > deadline {
                self.keep("screen-failed")?;
                bail!("the screen does not show '{text}'{problem}; serial: {}", last(&self.serial));
            }
            self.listen(Instant::now() + BETWEEN)?;
        }
    }

    /// Waits until the serial output contains `text`.
    fn hear(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + TIME;
        while !self.serial.contains(text) {
            ensure!(Instant::now() < deadline, "the serial line has not said '{text}': {}", last(&self.serial));
            self.listen(Instant::now() + BETWEEN)?;
        }
        Ok(())
    }

    /// Stores the picture, for `docs/`, and the serial output.
    fn keep(&mut self, name: &str) -> Result<()> {
        let log = log_file("test-logs", name)?;
        std::fs::write(&log, &self.serial)?;
        self.monitor.keep_picture(&log.with_extension("png"))
    }
}

fn last(text: &str) -> &str {
    text.trim_end().rsplit('\n').next().unwrap_or_default()
}

/// The GRUB commands.
fn commands(method: BootMethod, options: &str, modules: &[(&str, &Path, &str)]) -> String {
    let mut lines = vec!["insmod all_video".to_owned(), format!("multiboot2 /paravane {options}")];
    if let BootMethod::Bios(payload) = method {
        lines.push(format!("set gfxpayload={payload}"));
    }
    lines.extend(modules.iter().map(|(name, _, arguments)| format!("module2 /{name} {arguments}")));
    lines.push("boot\n".into());
    lines.join("\n")
}

/// The log is on the screen from its first line, and on the serial line as well. Of a log that is
/// longer than the screen, the end is there.
fn log(bench: &Bench, method: BootMethod) -> Result<Outcome> {
    let mut machine = Watched::start(bench, method, "console=com1,vga", &[])?;
    let rows = machine.expect(LAST)?;
    machine.hear(LAST)?;
    machine.keep(match method {
        BootMethod::Direct => "screen-text",
        BootMethod::Bios(_) => "screen-bios",
        BootMethod::Uefi => "screen-uefi",
    })?;
    let logged: Vec<&str> = machine.serial.lines().filter(|line| line.starts_with("(pv) ")).collect();
    // A long line is wrapped, where a space may end a row.
    let compact = |text: &str| text.replace(' ', "");
    let screen = compact(&rows.concat());
    // The row of the cursor is empty.
    let mut free = rows.len() - 1;
    let fitting = logged.iter().rev().take_while(|line| {
        let needed = line.trim_end().len().div_ceil(COLUMNS);
        let fits = needed <= free;
        free = free.saturating_sub(needed);
        fits
    });
    let fitting: Vec<_> = fitting.collect();
    if fitting.len() == logged.len() && !rows[0].starts_with(FIRST) {
        return Ok(Outcome::Failure(format!("the first row is {:?}", rows[0])));
    }
    Ok(match fitting.iter().find(|line| !screen.contains(&compact(line.trim_end()))) {
        Some(line) => Outcome::Failure(format!("the screen lacks {line:?}")),
        None => Outcome::Success,
    })
}

/// A machine check stops the host; the message is on the screen.
fn panic(bench: &Bench, method: BootMethod) -> Result<Outcome> {
    let kernel = KERNELS[0].file()?;
    let mut machine = Watched::start(bench, method, "console=vga,com1 noreboot", &[("vmlinuz", &kernel, GUEST)])?;
    machine.hear("[a] ")?;
    // The guest is about to start: bank 0, uncorrected, in progress.
    machine.monitor.command("mce 0 0 0xb200000000000000 0x4 0 0")?;
    let rows = machine.expect("(pv) halted")?;
    machine.keep(if method == BootMethod::Uefi { "screen-panic-uefi" } else { "screen-panic" })?;
    // The registers and the trace may be longer than a text screen. Their summary is below them.
    for wanted in ["(pv) fatal trap 18 on CPU 0 at 0x", "(pv) CPU 0 runs d1v0"] {
        if !rows.iter().any(|row| row.contains(wanted)) {
            return Ok(Outcome::Failure(format!("the screen lacks {wanted:?}: {rows:#?}")));
        }
    }
    for wanted in ["(pv) rip ", "(pv) r13 ", "(pv) cr4 "] {
        if !machine.serial.contains(wanted) {
            return Ok(Outcome::Failure(format!("the serial line lacks {wanted:?}")));
        }
    }
    Ok(Outcome::Success)
}

/// Start of the initial domain's script.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t devtmpfs none /dev
";

/// Runs in the initial domain: prints which driver owns the screen, and the text that the kernel
/// has on its console.
const SCRIPT: &str = "
dmesg | grep -i -e fb -e simple-framebuffer -e 'Console: ' -e drm
echo MARK-ON-SCREEN-0123456789 > /dev/tty1
sleep 1
echo DRIVER $(cat /proc/fb)
echo SIZE $(stty size < /dev/tty1)
echo TEXT $(base64 -w 0 /dev/vcs1)
echo LOOK
sleep 1000
";

/// Text that the script writes to the screen.
const MARK: &str = "MARK-ON-SCREEN-0123456789";

/// A machine with Debian's kernel as initial domain, which runs `script`.
fn with_initial_domain(bench: &Bench, method: BootMethod, options: &str, script: &str) -> Result<Watched> {
    let ramdisk = Ramdisk::with_busybox(format!("{INIT}{script}").as_bytes())?.finish()?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), ramdisk)?;
    let kernel = KERNELS[0].file()?;
    let modules = [("vmlinuz", kernel.as_path(), "console=tty0 console=hvc0"), ("ramdisk", file.path(), "")];
    Watched::start(bench, method, &format!("console=com1,vga dom0_mem=320M {options}"), &modules)
}

/// Paravane takes the screen back to report why the host stops.
fn crash(bench: &Bench, method: BootMethod) -> Result<Outcome> {
    let mut machine = with_initial_domain(bench, method, "noreboot", "echo c > /proc/sysrq-trigger\n")?;
    let rows = machine.expect("(pv) halted")?;
    machine.keep("screen-crash")?;
    Ok(match rows.iter().any(|row| row.contains("(pv) initial domain ended: crash")) {
        true => Outcome::Success,
        false => Outcome::Failure(format!("the screen does not say why: {rows:#?}")),
    })
}

/// Debian's kernel as initial domain draws on the screen that Paravane describes to it.
fn initial_domain(bench: &Bench, method: BootMethod) -> Result<Outcome> {
    let mut machine = with_initial_domain(bench, method, "", SCRIPT)?;
    machine.hear("LOOK")?;
    let name = match method {
        BootMethod::Uefi => "screen-domain-uefi",
        BootMethod::Bios("text") => "screen-domain-text",
        _ => "screen-domain-bios",
    };
    machine.keep(name)?;
    let said =
        |word: &str| machine.serial.lines().find_map(|line| line.trim().strip_prefix(word)).unwrap_or_default().trim();
    ensure!(method == BootMethod::Bios("text") || !said("DRIVER").is_empty(), "no driver has the screen");
    let size: Vec<usize> = said("SIZE").split(' ').filter_map(|number| number.parse().ok()).collect();
    let &[rows, columns] = size.as_slice() else { bail!("the kernel has no virtual console") };
    let text = STANDARD.decode(said("TEXT")).context("the text is damaged")?;
    ensure!(text.len() == rows * columns && columns > 0, "the text is incomplete");
    let text: Vec<String> =
        text.chunks(columns).map(|row| row.iter().map(|&byte| char::from(byte)).collect()).collect();
    ensure!(text.iter().any(|row| row.contains(MARK)), "the mark is not on the kernel's console");
    let picture = machine.monitor.picture()?;
    Ok(match picture.shows(&text, columns) {
        Ok(()) => Outcome::Success,
        Err(why) => Outcome::Failure(format!("the screen does not show the kernel's console: {why}")),
    })
}
