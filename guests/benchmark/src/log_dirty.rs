//! The log of dirty pages of a guest, through the kernel of the control domain.
#![expect(unsafe_code, reason = "a hypercall whose argument is raw memory")]

use std::fs::File;
use std::io::Error;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use abi::domctl::{Domctl, ShadowOp, interface, op, shadow_op};
use abi::xen::{DomainId, hypercall};
use zerocopy::{FromZeros, IntoBytes};

/// Page numbers that are asked for: those of 256 MiB.
const PAGES: u64 = 1 << 16;

/// The argument of the device's `ioctl`, `struct privcmd_hypercall` of Linux.
#[repr(C)]
struct Call {
    operation: u64,
    arguments: [u64; 5],
}

/// `IOCTL_PRIVCMD_HYPERCALL` of Linux.
const CALL: libc::Ioctl = 0x30_5000;

/// Begins the log of a domain, ends it, or starts a round.
pub(crate) fn perform(operation: &str, domain: u16) -> Result<(), String> {
    let operation = match operation {
        "begin" => shadow_op::ENABLE_LOGDIRTY,
        "round" => shadow_op::CLEAN,
        "end" => shadow_op::OFF,
        _ => return Err("the operations are begin, round and end".into()),
    };
    let bitmap = vec![0_u64; PAGES as usize / 64];
    let shadow =
        ShadowOp { operation, dirty_bitmap: bitmap.as_ptr().addr() as u64, pages: PAGES, ..ShadowOp::new_zeroed() };
    let mut request = Domctl::new_zeroed();
    (request.command, request.interface_version) = (op::SHADOW_OP, interface::VERSION);
    request.domain = DomainId(domain);
    request.argument[..size_of::<ShadowOp>()].copy_from_slice(shadow.as_bytes());
    let address = (&raw mut request).addr() as u64;
    let call = Call { operation: hypercall::DOMCTL.into(), arguments: [address, 0, 0, 0, 0] };
    let device = File::options().read(true).write(true).open("/dev/xen/privcmd").map_err(|error| error.to_string())?;
    // SAFETY: keeps the memory of this process, which the hypercall accesses, from being paged out.
    let locked = unsafe { libc::mlockall(libc::MCL_CURRENT) };
    // SAFETY: the pointer is to a call, whose request and bitmap exist until it returns.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CALL, &raw const call) };
    match (locked, result) {
        (0, 0..) => Ok(()),
        _ => Err(Error::last_os_error().to_string()),
    }
}
