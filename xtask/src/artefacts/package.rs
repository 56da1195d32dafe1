//! The Debian package. It installs the image under the name by which GRUB's own scripts find
//! hypervisors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::artefacts::{control_command, hypervisor};
use crate::foundation::{command, tools, workspace};

const VERSION: &str = env!("CARGO_PKG_VERSION");

const GRUB_DEFAULTS: &str = "etc/default/grub.d/paravane.cfg";
const MODPROBE: &str = "etc/modprobe.d/paravane.conf";

/// Builds the image and the package; returns the path of the package.
pub(crate) fn build() -> Result<PathBuf> {
    tools::need_program("dpkg-deb", "dpkg")?;
    let image = hypervisor::build()?;
    let scratch = tempfile::Builder::new().prefix("package").tempdir_in(workspace::target())?;
    let root = scratch.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
    let put = |path: &str, mode: u32, contents: &[u8]| put(&root.join(path), mode, contents);
    put(&format!("boot/xen-paravane-{VERSION}"), 0o644, &fs::read(&image)?)?;
    put(GRUB_DEFAULTS, 0o644, include_bytes!("../../package/paravane.cfg"))?;
    put(MODPROBE, 0o644, include_bytes!("../../package/modprobe.conf"))?;
    let program = control_command::built()?;
    put("usr/bin/paravane", 0o755, &fs::read(&program)?)?;
    let pages = workspace::made(root.join("usr/share/man/man1"))?;
    for (path, script) in control_command::documents(&program, &pages)? {
        put(path, 0o644, &script)?;
    }
    put("usr/share/doc/paravane/copyright", 0o644, copyright()?.as_bytes())?;
    let size = (fs::metadata(&image)?.len() + fs::metadata(&program)?.len()).div_ceil(1024) + 32;
    put("DEBIAN/control", 0o644, control(size).as_bytes())?;
    put("DEBIAN/conffiles", 0o644, format!("/{GRUB_DEFAULTS}\n/{MODPROBE}\n").as_bytes())?;
    put("DEBIAN/postinst", 0o755, include_bytes!("../../package/postinst"))?;
    put("DEBIAN/postrm", 0o755, include_bytes!("../../package/postrm"))?;
    let package = workspace::target().join(format!("paravane_{VERSION}_amd64.deb"));
    command::quiet(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(root).arg(&package))?;
    Ok(package)
}

/// The control file of the package; `size` is in KiB. `Provides` has the names by which Debian's
/// tools look for a hypervisor.
fn control(size: u64) -> String {
    format!(
        "Package: paravane\n\
         Version: {VERSION}\n\
         Architecture: amd64\n\
         Maintainer: Paravane developers <paravane@localhost>\n\
         Installed-Size: {size}\n\
         Section: admin\n\
         Priority: optional\n\
         Depends: libc6 (>= 2.36)\n\
         Provides: xen-hypervisor, xen-hypervisor-4.17, xen-hypervisor-amd64\n\
         Recommends: grub2-common, xen-utils-4.17, linux-image-amd64 | linux-image-rt-amd64\n\
         Description: hypervisor for unmodified Linux kernels without hardware virtualisation\n \
         Paravane boots this Debian as its control domain, in which the stock Xen tools\n \
         (package xen-utils-4.17) create and manage guests. It needs neither VT-x nor\n \
         AMD-V. Removing the package brings the former boot back.\n"
    )
}

fn copyright() -> Result<String> {
    let path = workspace::root().join("LICENSE-MIT");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(format!(
        "Paravane is under the Apache License 2.0 (/usr/share/common-licenses/Apache-2.0) or this, as you like:\n\n{text}"
    ))
}

fn put(path: &Path, mode: u32, contents: &[u8]) -> Result<()> {
    workspace::made(path.parent().map(Path::to_owned).unwrap_or_default())?;
    fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::control;

    #[test]
    fn continued_lines_of_the_control_file_begin_with_a_blank() {
        let text = control(7);
        assert!(text.contains("linux-image-amd64"), "a kernel that can be the initial domain's is looked for");
        assert!(text.contains("\nInstalled-Size: 7\n") && text.ends_with("back.\n"));
        assert!(text.lines().all(|line| line.starts_with(' ') || line.contains(": ")), "{text}");
    }
}
