//! `hypfs_op`: the hypervisor's file system (public header `hypfs.h`), which the tool `xenhypfs`
//! reads and writes. Most entries are read-only.

mod core_scheduling;
#[cfg(test)]
mod tests;
mod tree;

use abi::errno::Errno;
use abi::hypfs::{DirectoryEntry, interface, op};
use machine::addr::GuestVirt;
use machine::heap;
use machine::integers::{saturating_u32, to_usize};
use machine::speculation::MaskedIndex;
use zerocopy::IntoBytes;

use crate::call::{CallResult, Caller, ControlPrivilege, operations};
use tree::{MAX_WRITE_LENGTH, Node};

/// Bytes of contents that cost one unit of the budget to make and copy.
const BYTES_PER_UNIT: u32 = 8;

operations! {
    /// Performs an operation of the control domain on the entry at `path`, with its contents in
    /// `buffer`.
    pub(crate) fn hypfs_op(
        caller: &mut Caller<'_>,
        operation: u32,
        _control: ControlPrivilege,
        path: (GuestVirt, u64),
        buffer: (GuestVirt, u64)
    ) -> CallResult;
    names: op::NAMES;
    unknown: Errno::EOPNOTSUPP;
    op::GET_VERSION => version(path, buffer);
    op::READ => read(caller, path, buffer);
    op::WRITE_CONTENTS => write(caller, path, buffer);
}

fn version(path: (GuestVirt, u64), buffer: (GuestVirt, u64)) -> CallResult {
    let unused = [path.0.get(), path.1, buffer.0.get(), buffer.1];
    if unused == [0; 4] { Ok(interface::VERSION) } else { Err(Errno::EINVAL.into()) }
}

/// Copies the description of an entry, and its contents if they fit.
fn read(caller: &mut Caller<'_>, path: (GuestVirt, u64), (to, room): (GuestVirt, u64)) -> CallResult {
    let node = look_up(caller, path)?;
    if room < size_of::<DirectoryEntry>() as u64 {
        return Err(Errno::EINVAL.into());
    }
    if heap::is_short() {
        return Err(Errno::ENOMEM.into());
    }
    let contents = node.contents();
    caller.budget.spend(saturating_u32(contents.len()) / BYTES_PER_UNIT);
    let description = node.describe(saturating_u32(contents.len()));
    caller.cpu.write(to, &description)?;
    let size = description.as_bytes().len() as u64;
    if room - size < contents.len() as u64 {
        return Err(Errno::ENOBUFS.into());
    }
    caller.cpu.write_bytes(to.offset(size), &contents)?;
    Ok(0)
}

/// Replaces the contents of an entry by a string, which ends with the only zero byte in it.
fn write(caller: &Caller<'_>, path: (GuestVirt, u64), (from, length): (GuestVirt, u64)) -> CallResult {
    let node = look_up(caller, path)?;
    let Node::Setting { write, .. } = node else { return Err(Errno::EACCES.into()) };
    let mut bytes = [0; MAX_WRITE_LENGTH as usize];
    let bytes = bytes.part_mut(..to_usize(length)).ok_or(Errno::ENOSPC)?;
    caller.cpu.read_bytes(from, bytes).map_err(|_| Errno::EFAULT)?;
    let text = match bytes.split_last() {
        Some((0, text)) if !text.contains(&0) => str::from_utf8(text).map_err(|_| Errno::EINVAL)?,
        _ => return Err(Errno::EINVAL.into()),
    };
    write(text)?;
    Ok(0)
}

/// Finds the entry at a path of the guest, which ends with the only zero byte in it.
fn look_up(caller: &Caller<'_>, (path, length): (GuestVirt, u64)) -> Result<&'static Node, Errno> {
    let mut bytes = [0; to_usize(interface::MAX_PATH_LENGTH)];
    let bytes = bytes.part_mut(..to_usize(length)).ok_or(Errno::EINVAL)?;
    caller.cpu.read_bytes(path, bytes).map_err(|_| Errno::EFAULT)?;
    match bytes.split_last() {
        Some((0, name)) if !name.contains(&0) => tree::find(name),
        _ => Err(Errno::EINVAL),
    }
}
