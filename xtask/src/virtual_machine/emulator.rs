//! QEMU as a program: its name, its Debian package, and its debug-exit device.

use anyhow::Result;

use crate::foundation::tools;

/// QEMU's program for x86-64.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// The Debian package that has it.
const PACKAGE: &str = "qemu-system-x86";

/// I/O port of the debug-exit device: a write to it ends QEMU.
pub(crate) const DEBUG_EXIT_PORT: u16 = 0xf4;

/// Makes sure that QEMU is installed.
pub(crate) fn need() -> Result<()> {
    tools::need_program(QEMU, PACKAGE)
}
