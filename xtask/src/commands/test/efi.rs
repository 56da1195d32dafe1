//! EFI runtime services: under OVMF GRUB boots Paravane and a stock kernel from its own image. The
//! initial domain lists EFI variables, writes one, reads it back, and finds it in flash memory
//! after a restart.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Bench, Outcome, Report, Test};
use crate::debian::kernels::{KERNELS, Kernel};
use crate::debian::packages::Release;
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::size::Size;
use crate::foundation::{command, tools, workspace};
use crate::virtual_machine::dialogue::Dialogue;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine::log_file;
use crate::virtual_machine::qemu::{Boot, Machine};

/// Packages with efibootmgr and the libraries that it needs, and the files of each.
const EFIBOOTMGR: [(&str, &[&str]); 5] = [
    ("efibootmgr", &["bin/efibootmgr"]),
    ("libefiboot1", &["usr/lib/x86_64-linux-gnu/libefiboot.so.1"]),
    ("libefivar1", &["usr/lib/x86_64-linux-gnu/libefivar.so.1"]),
    ("libpopt0", &["usr/lib/x86_64-linux-gnu/libpopt.so.0"]),
    ("libc6", &["lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libdl.so.2", LOADER]),
];
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// OVMF from Debian's package ovmf: code, and an initial variable store.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// From Debian's package grub-efi-amd64-bin.
const GRUB: &str = "/usr/lib/grub/x86_64-efi/multiboot2.mod";

const BOOT_TIME: Duration = Duration::from_secs(420);

const NAME: &str = "efi variables of the initial domain";

/// Runs in the initial domain. The last word it prints is `first` on the first boot, `second` on
/// the second.
const SCRIPT: &str = r#"
set -e
mount -t sysfs sysfs /sys 2>/dev/null || true
mount -t efivarfs efivarfs /sys/firmware/efi/efivars
cd /sys/firmware/efi/efivars
echo "variables: $(ls | wc -l)"
[ "$(ls | wc -l)" -gt 10 ]
ls | grep -q '^BootOrder-'
[ "$(head -c 4 BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c | od -An -tu4)" -eq 7 ]
mine=ParavaneTest-2d7f3f6e-52a1-4c2d-9d0e-7f1b7a6f3c11
boot=second
if [ ! -e $mine ]; then
    boot=first
    { printf '\007\000\000\000'; head -c 3000 /dev/zero | tr '\000' x; } > /tmp/value
    cat /tmp/value > $mine
fi
ls | grep -q "^$mine"
[ "$(tail -c +5 $mine | wc -c)" = 3000 ]
[ "$(tail -c +5 $mine | tr -d x | wc -c)" = 0 ]
efibootmgr -v | tee /tmp/boot
grep -q '^BootOrder: ' /tmp/boot
grep -q '^Boot0000.*FvVol' /tmp/boot
# past the agent, which reports output in a form of its own
echo "efi=$boot=ok" > /dev/hvc0
"#;

/// Boots twice with the same flash memory.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    test.on_machine(report, NAME, || variables(bench));
}

fn variables(bench: &Bench) -> Result<Outcome> {
    let Host::Paravane(image) = &bench.host else { return Ok(Outcome::Skip("is about Paravane".into())) };
    tools::need_file(CODE, "ovmf")?;
    tools::need_file(GRUB, "grub-efi-amd64-bin")?;
    tools::need_program("grub-mkstandalone", "grub-common")?;
    let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::target())?;
    make_loader(folder.path(), image)?;
    fs::copy(VARIABLES, folder.path().join("variables"))?;
    let flash = |file: &str, more: &str| format!("if=pflash,format=raw,file={file}{more}");
    let machine = Machine {
        accelerator: bench.accelerator,
        cpu: bench.cpu.clone().unwrap_or_else(|| bench.accelerator.cpu().into()),
        cpus: 2,
        memory: Size::mib(1024),
        boot: Boot::Loaded { kernel: "grub.efi".into(), append: String::new(), modules: Vec::new() },
        folder: folder.path().to_owned(),
        disks: Vec::new(),
        arguments: ["-machine", "q35", "-drive", &flash(CODE, ",readonly=on"), "-drive", &flash("variables", "")]
            .map(String::from)
            .to_vec(),
    };
    for boot in ["first", "second"] {
        let mut dialogue = Dialogue::start(&machine, &log_file("test-logs", &format!("efi-{boot}"))?)?;
        dialogue.expect(&format!("efi={boot}=ok"), BOOT_TIME)?;
        dialogue.end(BOOT_TIME)?;
    }
    Ok(Outcome::Success)
}

/// GRUB as an EFI program that contains everything it boots.
fn make_loader(folder: &Path, image: &Path) -> Result<()> {
    let kernel = &KERNELS[0];
    let mut ramdisk = Ramdisk::bootable()?;
    add_module(&mut ramdisk, kernel)?;
    add_efibootmgr(&mut ramdisk)?;
    ramdisk.file("script", 0o755, SCRIPT.as_bytes())?;
    ramdisk.command("", &["sh", "/script"].map(OsString::from))?;
    fs::write(folder.join("ramdisk"), ramdisk.finish()?)?;
    fs::write(folder.join("grub.cfg"), CONFIGURATION)?;
    fs::copy(image, folder.join("paravane"))?;
    fs::copy(kernel.file()?, folder.join("vmlinuz"))?;
    let mut grub = Command::new("grub-mkstandalone");
    grub.args(["--format=x86_64-efi", "--output=grub.efi", "--locales=", "--fonts=", "--themes="])
        .args(["--install-modules=multiboot2 normal echo", "--modules=multiboot2"])
        .args(["boot/grub/grub.cfg=grub.cfg", "boot/paravane=paravane", "boot/vmlinuz=vmlinuz", "boot/ramdisk=ramdisk"])
        .current_dir(folder);
    command::quiet(&mut grub).context("cannot make GRUB's image")?;
    Ok(())
}

/// As in Debian's menu.
const CONFIGURATION: &str = "
multiboot2 /boot/paravane placeholder console=com1 com1=115200,8n1 loglvl=debug dom0_mem=384M no-real-mode edd=off
module2 --nounzip /boot/vmlinuz placeholder console=hvc0
module2 --nounzip /boot/ramdisk
boot
";

/// Puts Debian's efibootmgr into the ramdisk.
fn add_efibootmgr(ramdisk: &mut Ramdisk) -> Result<()> {
    ramdisk.folder("lib")?;
    ramdisk.folder("lib64")?;
    let release = Release::open("bookworm")?;
    for (package, files) in EFIBOOTMGR {
        let unpacked = release.unpacked(package)?;
        for path in files {
            let file = match *path {
                // A symbolic link to an absolute path.
                LOADER => "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                path => path,
            };
            let place = if *path == LOADER { LOADER.into() } else { place(path)? };
            let bytes = fs::read(unpacked.join(file)).with_context(|| format!("{package} has no {file}"))?;
            ramdisk.file(&place, 0o755, &bytes)?;
        }
    }
    Ok(())
}

/// Where the loader or the shell looks for a file.
fn place(path: &str) -> Result<String> {
    let name = Path::new(path).file_name().context("a path without a name")?.to_string_lossy();
    Ok(if path.contains("lib/") { format!("lib/{name}") } else { format!("bin/{name}") })
}

/// Adds the EFI variable file system to the ramdisk.
fn add_module(ramdisk: &mut Ramdisk, kernel: &Kernel) -> Result<()> {
    let modules = kernel.unpacked()?.join("lib/modules");
    let version = fs::read_dir(&modules)?.next().context("the kernel has no modules")??.path();
    ramdisk.folder("modules")?;
    let file = version.join("kernel/fs/efivarfs/efivarfs.ko");
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    ramdisk.file("modules/efivarfs.ko", 0o644, &bytes)?;
    ramdisk.file("modules/order", 0o644, b"efivarfs.ko\n")
}
