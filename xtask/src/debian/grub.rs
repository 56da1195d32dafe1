//! CD images that GRUB boots, under BIOS and under UEFI.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::foundation::{command, tools};

/// Programs and files that are needed, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] = [("grub-mkrescue", "grub-common"), ("xorriso", "xorriso"), ("mformat", "mtools")];
const FILES: [(&str, &str); 2] =
    [("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"), ("/usr/lib/grub/x86_64-efi/efi_gop.mod", "grub-efi-amd64-bin")];

/// Whether images can be built here: everything needed is installed, or can be.
pub(crate) fn can_be_used() -> bool {
    let is_there = PROGRAMS.iter().all(|(program, _)| command::exists(program))
        && FILES.iter().all(|(path, _)| Path::new(path).exists());
    is_there || rustix::process::geteuid().is_root()
}

/// Builds `image`, which runs GRUB's `commands` and has these files in its root folder.
pub(crate) fn image(image: &Path, commands: &str, files: &[(&str, &Path)]) -> Result<()> {
    for (program, package) in PROGRAMS {
        tools::need_program(program, package)?;
    }
    for (path, package) in FILES {
        tools::need_file(path, package)?;
    }
    let folder = tempfile::tempdir()?;
    let configuration = folder.path().join("boot/grub");
    fs::create_dir_all(&configuration)?;
    fs::write(configuration.join("grub.cfg"), commands)?;
    for (name, path) in files {
        fs::copy(path, folder.path().join(name))?;
    }
    command::quiet(
        Command::new("grub-mkrescue")
            .args(["--locales=", "--themes=", "--fonts="])
            .args(["--install-modules=normal multiboot2 all_video iso9660 search", "-o"])
            .arg(image)
            .arg(folder.path()),
    )?;
    Ok(())
}
