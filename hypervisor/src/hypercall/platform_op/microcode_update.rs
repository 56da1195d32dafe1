//! Microcode: an update of all pCPUs while the host runs, and their revisions.

use abi::errno::Errno;
use abi::platform::{MicrocodeUpdate, UcodeRevision};
use machine::addr::{CpuId, GuestVirt};
use machine::cpu;
use machine::frames::{Budget, Buffer};
use machine::microcode_update::{FileError, NotLoaded, available, identity, load_everywhere};

use super::Request;
use crate::call::{CallResult, Caller};
use crate::guest_log::host_log;
use crate::latency;

/// The largest file, in bytes. It limits the time for clearing memory for the copy. The files for
/// one processor or family are much smaller.
pub(crate) const LARGEST_FILE: usize = 8 << 20;
/// Bytes that are copied between two interrupt windows.
const PIECE: usize = 64 << 10;

/// Copies a file of updates and loads the newest for the pCPUs into all of them.
pub(super) fn update(caller: &mut Caller<'_>, arguments: MicrocodeUpdate) -> CallResult {
    let length = usize::try_from(arguments.length).map_err(|_| Errno::E2BIG)?;
    if length > LARGEST_FILE {
        return Err(Errno::E2BIG.into());
    }
    available().map_err(|why| refuse(NotLoaded::Unavailable(why)))?;
    let mut file = Buffer::new(length).ok_or(Errno::ENOMEM)?;
    let mut place = arguments.data;
    for piece in file.as_mut_slice().chunks_mut(PIECE) {
        caller.cpu.read_bytes(GuestVirt::new(place), piece)?;
        place = place.saturating_add(piece.len() as u64);
        latency::window();
    }
    // The pCPU must look for other work next.
    caller.budget.spend(Budget::HYPERCALL);
    let loaded = load_everywhere(file.as_slice(), latency::window).map_err(refuse)?;
    host_log!(Info, "microcode: {loaded}");
    Ok(0)
}

/// Logs why an update is not loaded, and returns the error as Xen does.
fn refuse(why: NotLoaded) -> Errno {
    let level = if matches!(why, NotLoaded::Partial(..)) { log::Level::Error } else { log::Level::Warn };
    crate::guest_log::log_host(level, format_args!("microcode: the control domain's file is not loaded: {why}"));
    match why {
        NotLoaded::Unavailable(_) => Errno::EINVAL,
        NotLoaded::File(FileError::OtherProcessor) => Errno::ENOENT,
        NotLoaded::File(FileError::NotNewer { .. }) => Errno::EEXIST,
        NotLoaded::File(FileError::OnlyEarly { .. }) => Errno::EOPNOTSUPP,
        NotLoaded::File(FileError::Final(_)) => Errno::ENXIO,
        NotLoaded::File(_) => Errno::EINVAL,
        NotLoaded::NoMemory => Errno::ENOMEM,
        NotLoaded::Busy | NotLoaded::Absent => Errno::EBUSY,
        NotLoaded::Refused(..) | NotLoaded::Partial(..) => Errno::EIO,
    }
}

/// Returns the revision of a pCPU, and for which updates it is.
pub(super) fn revision(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: UcodeRevision = request.arguments()?;
    let cpu = CpuId::new(arguments.cpu).filter(|cpu| cpu.index() < cpu::online()).ok_or(Errno::ENOENT)?;
    (arguments.signature, arguments.platforms) = identity();
    arguments.revision = machine::microcode_update::revision(cpu);
    request.answer(caller, &arguments)
}
