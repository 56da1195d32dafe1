//! QEMU as a program: its name, its Debian package, and the device by which a machine ends it.

use anyhow::Result;

use crate::foundation::tools;

/// The program.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// The Debian package that has it.
const PACKAGE: &str = "qemu-system-x86";

/// I/O port of the device that ends QEMU when it is written to.
pub(crate) const DEBUG_EXIT_PORT: u16 = 0xf4;

/// Makes sure that QEMU can be started.
pub(crate) fn need() -> Result<()> {
    tools::need_program(QEMU, PACKAGE)
}
