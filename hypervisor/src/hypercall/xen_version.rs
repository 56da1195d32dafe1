//! `xen_version`: version and features of the hypervisor (public headers `version.h`,
//! `features.h`).

use abi::arch_x86_64::address::HYPERVISOR_START;
use abi::errno::Errno;
use abi::features::{feature, submaps};
use abi::version::{
    BuildId, CAPABILITIES_LENGTH, CHANGESET_LENGTH, COMMAND_LINE_LENGTH, CompileInfo, EXTRA_VERSION_LENGTH,
    FeatureInfo, PlatformParameters, op,
};
use abi::xen::vm_assist;
use machine::addr::{GuestVirt, PAGE_SIZE};
use zerocopy::{Immutable, IntoBytes};

use crate::call::{CallResult, Caller, ControlPrivilege, operations};
use crate::domain::Domain;

/// The interface version, which is also the version that guests and tools see.
pub(super) const VERSION: (u32, u32) = (4, 17);
/// The part of the version string after the two numbers.
pub(super) const EXTRA_VERSION: &str = ".0-paravane";
/// The only supported guest type.
const CAPABILITIES: &str = "xen-3.0-x86_64 ";
pub(super) const CHANGESET: &str = concat!("paravane ", env!("CARGO_PKG_VERSION"));
pub(super) const COMPILER: &str = "rustc";
pub(super) const COMPILE_BY: &str = "paravane";
/// Cost of copying the command line, in units of the budget.
const COST_OF_COMMAND_LINE: u32 = 96;
/// Result for guests without the required privilege.
const DENIED: &[u8] = b"<denied>\0";

operations! {
    /// Returns information about the hypervisor.
    pub(crate) fn xen_version(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::VERSION => Ok((VERSION.0 << 16 | VERSION.1).into());
    op::EXTRAVERSION => write(caller, argument, &text::<EXTRA_VERSION_LENGTH>(EXTRA_VERSION));
    op::COMPILE_INFO => write(caller, argument, &compile_info());
    op::CAPABILITIES => write(caller, argument, &text::<CAPABILITIES_LENGTH>(CAPABILITIES));
    op::CHANGESET => write(caller, argument, &text::<CHANGESET_LENGTH>(CHANGESET));
    op::PLATFORM_PARAMETERS => write(caller, argument, &PlatformParameters { virtual_start: HYPERVISOR_START });
    op::GET_FEATURES => get_features(caller, argument);
    op::PAGESIZE => page_size(argument);
    op::GUEST_HANDLE => guest_handle(caller, argument);
    op::COMMANDLINE => command_line(caller, argument);
    op::BUILD_ID: Control(control) => build_id(caller, control, argument);
}

fn write<T: IntoBytes + Immutable>(caller: &Caller<'_>, argument: GuestVirt, answer: &T) -> CallResult {
    caller.cpu.write(argument, answer)?;
    Ok(0)
}

fn get_features(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut info: FeatureInfo = caller.cpu.read(argument)?;
    if info.submap_index >= submaps::COUNT {
        return Err(Errno::EINVAL.into());
    }
    info.submap = features(caller.domain);
    write(caller, argument, &info)
}

fn page_size(argument: GuestVirt) -> CallResult {
    if argument.get() == 0 { Ok(PAGE_SIZE as u64) } else { Err(Errno::EINVAL.into()) }
}

fn guest_handle(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let handle = caller.domain.control.record().handle;
    write(caller, argument, &handle)
}

/// Returns the hypervisor's command line to the control domain, and a placeholder to others, like
/// Xen.
fn command_line(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    if caller.control().is_err() {
        caller.cpu.write(argument, DENIED)?;
        return Ok(0);
    }
    caller.budget.spend(COST_OF_COMMAND_LINE);
    write(caller, argument, &text::<COMMAND_LINE_LENGTH>(machine::boot::info().command_line()))
}

/// Returns the length of the build id. If the argument is not null, writes the build id after its
/// length.
fn build_id(caller: &mut Caller<'_>, _: ControlPrivilege, argument: GuestVirt) -> CallResult {
    let id = machine::symbols::build_id().ok_or(Errno::ENODATA)?;
    if argument.get() != 0 {
        let BuildId { length } = caller.cpu.read(argument)?;
        match usize::try_from(length).unwrap_or(usize::MAX) {
            0 => return Err(Errno::EINVAL.into()),
            room if room < id.len() => return Err(Errno::ENOBUFS.into()),
            _ => caller.cpu.write_bytes(argument.offset(size_of::<BuildId>() as u64), id)?,
        }
    }
    Ok(id.len() as u64)
}

/// The features that the domain can rely on, as a bit mask.
fn features(domain: &Domain) -> u32 {
    let mut features = 1 << feature::MMU_PT_UPDATE_PRESERVE_AD
        | 1 << feature::HIGHMEM_ASSIST
        | 1 << feature::GNTTAB_MAP_AVAIL_BITS
        | 1 << feature::DIRECT_MAPPED;
    if domain.has_assist(vm_assist::PAE_EXTENDED_CR3) {
        features |= 1 << feature::PAE_PGDIR_ABOVE_4GB;
    }
    if domain.is_privileged() {
        features |= 1 << feature::DOM0;
    }
    features
}

fn compile_info() -> CompileInfo {
    CompileInfo {
        compiler: text(COMPILER),
        compile_by: text(COMPILE_BY),
        compile_domain: text(""),
        compile_date: text(""),
    }
}

/// Converts a string to the interface's format: truncated if necessary, with at least one zero byte
/// at its end.
fn text<const N: usize>(string: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(string.bytes()).take(N - 1) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallError;
    use crate::testing::Guest;

    fn ask(guest: &mut Guest, operation: u32, argument: GuestVirt) -> Result<u64, Errno> {
        match xen_version(&mut guest.caller(), operation, argument) {
            Ok(value) => Ok(value),
            Err(CallError::Errno(errno)) => Err(errno),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_guest_reads_version_and_features() {
        let guest = &mut Guest::new(1, 2);
        assert_eq!(ask(guest, op::VERSION, GuestVirt::new(0)), Ok(0x0004_0011));
        assert_eq!(ask(guest, op::PAGESIZE, GuestVirt::new(0)), Ok(4096));
        assert_eq!(ask(guest, op::PAGESIZE, GuestVirt::new(0x1000)), Err(Errno::EINVAL));
        let place = guest.put(&FeatureInfo { submap_index: 0, submap: 0 });
        assert_eq!(ask(guest, op::GET_FEATURES, place), Ok(0));
        let features = guest.read::<FeatureInfo>(place).submap;
        assert_eq!(features & 1 << feature::MMU_PT_UPDATE_PRESERVE_AD, 1 << feature::MMU_PT_UPDATE_PRESERVE_AD);
        assert_eq!(
            features >> feature::NOT_DIRECT_MAPPED & 3,
            2,
            "a guest that knows its machine frames is directly mapped"
        );
        assert_eq!(features & (1 << feature::DOM0 | 1 << feature::WRITABLE_PAGE_TABLES), 0);
        let place = guest.put(&FeatureInfo { submap_index: 1, submap: 0 });
        assert_eq!(ask(guest, op::GET_FEATURES, place), Err(Errno::EINVAL));
        assert_eq!(ask(guest, op::CAPABILITIES, place), Ok(0));
        assert_eq!(guest.read::<[u8; 16]>(place), *b"xen-3.0-x86_64 \0");
        assert_eq!(ask(guest, op::PLATFORM_PARAMETERS, place), Ok(0));
        assert_eq!(guest.read::<u64>(place), HYPERVISOR_START);
    }

    #[test]
    fn privileged_information_is_denied_and_bad_pointers_fault() {
        let guest = &mut Guest::new(1, 2);
        let place = guest.put(&[0xffu8; 16]);
        assert_eq!(ask(guest, op::COMMANDLINE, place), Ok(0));
        assert_eq!(guest.read::<[u8; 9]>(place), *DENIED);
        assert_eq!(ask(guest, op::BUILD_ID, place), Err(Errno::EPERM));
        assert_eq!(ask(guest, 11, place), Err(Errno::ENOSYS));
        for operation in op::EXTRAVERSION..=op::GET_FEATURES {
            assert_eq!(ask(guest, operation, GuestVirt::new(HYPERVISOR_START)), Err(Errno::EFAULT));
        }
    }

    #[test]
    fn the_initial_domain_reads_the_build_id() {
        let guest = &mut Guest::privileged(0, 2);
        assert_eq!(ask(guest, op::BUILD_ID, GuestVirt::new(0)), Ok(6));
        for (room, answer) in [(0, Err(Errno::EINVAL)), (5, Err(Errno::ENOBUFS)), (6, Ok(6)), (u32::MAX, Ok(6))] {
            let place = guest.put(&[room, 0, 0]);
            assert_eq!(ask(guest, op::BUILD_ID, place), answer, "room for {room}");
            assert_eq!(guest.read::<[u8; 6]>(place.offset(4)), if answer.is_ok() { *b"hosted" } else { [0; 6] });
        }
        assert_eq!(ask(guest, op::BUILD_ID, GuestVirt::new(HYPERVISOR_START)), Err(Errno::EFAULT));
    }

    #[test]
    fn a_domain_reads_its_handle() {
        let guest = &mut Guest::new(1, 2);
        guest.domain.control.record().handle = [7; 16];
        let place = guest.put(&[0u8; 16]);
        assert_eq!(ask(guest, op::GUEST_HANDLE, place), Ok(0));
        assert_eq!(guest.read::<[u8; 16]>(place), [7; 16]);
    }

    #[test]
    fn strings_end_with_a_zero_byte() {
        assert_eq!(text::<4>("ab"), *b"ab\0\0");
        assert_eq!(text::<4>("abcdef"), *b"abc\0");
        assert!(EXTRA_VERSION.len() < EXTRA_VERSION_LENGTH && CHANGESET.len() < CHANGESET_LENGTH);
    }
}
