//! Copies between Paravane and the memory of the active guest. There are no references to guest
//! memory. It can change or disappear at any time, so it is copied in once and the copy is
//! validated.

use core::mem::size_of_val;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::GuestVirt;
use crate::context::{Active, GuestContext, vcpu};
use crate::frames::dirty_log::{Access, Resolution};
use crate::speculation::MaskedIndex;

/// A guest address could not be read or written. The guest gets `-EFAULT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

impl From<Fault> for abi::errno::Errno {
    fn from(_: Fault) -> Self {
        Self::EFAULT
    }
}

impl Active {
    /// Reads bytes of the guest's current address space.
    ///
    /// # Errors
    /// If any of the addresses cannot be read.
    pub fn read_bytes(&self, from: GuestVirt, to: &mut [u8]) -> Result<(), Fault> {
        (self.read_some(from, to) == to.len()).then_some(()).ok_or(Fault)
    }

    /// Reads bytes up to the first that cannot be read; returns their number.
    pub fn read_some(&self, from: GuestVirt, to: &mut [u8]) -> usize {
        let (context, length) = (self.context(), to.len());
        let copy = |done: usize| match to.part_mut(done..) {
            Some(rest) => vcpu::copy_from_guest(context, from.offset(done as u64), rest),
            None => 0,
        };
        copy_with_mirrors(context, from, length, Access::Read, copy)
    }

    /// Writes bytes into the guest's current address space.
    ///
    /// # Errors
    /// If any of the addresses cannot be written; those before it may have been.
    pub fn write_bytes(&self, to: GuestVirt, from: &[u8]) -> Result<(), Fault> {
        let context = self.context();
        let copy = |done: usize| match from.part(done..) {
            Some(rest) => vcpu::copy_to_guest(context, to.offset(done as u64), rest),
            None => 0,
        };
        let done = copy_with_mirrors(context, to, from.len(), Access::Write, copy);
        (done == from.len()).then_some(()).ok_or(Fault)
    }

    /// Reads a structure.
    ///
    /// # Errors
    /// If any of its bytes cannot be read.
    pub fn read<T: FromBytes + IntoBytes>(&self, from: GuestVirt) -> Result<T, Fault> {
        let mut value = T::new_zeroed();
        self.read_bytes(from, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a structure.
    ///
    /// # Errors
    /// If any of its bytes cannot be written.
    pub fn write<T: IntoBytes + Immutable + ?Sized>(&self, to: GuestVirt, value: &T) -> Result<(), Fault> {
        debug_assert!(size_of_val(value) != 0);
        self.write_bytes(to, value.as_bytes())
    }

    /// Reads element `index` of an array.
    ///
    /// # Errors
    /// If any of its bytes cannot be read.
    pub fn read_element<T: FromBytes + IntoBytes>(&self, array: GuestVirt, index: u64) -> Result<T, Fault> {
        self.read(element::<T>(array, index))
    }

    /// Reads elements of an array from `index` on, up to the length of `to` or the first that
    /// cannot be read; returns their number.
    pub fn read_elements<T: FromBytes + IntoBytes>(&self, array: GuestVirt, index: u64, to: &mut [T]) -> usize {
        self.read_some(element::<T>(array, index), to.as_mut_bytes()) / size_of::<T>()
    }

    /// Writes element `index` of an array.
    ///
    /// # Errors
    /// If any of its bytes cannot be written.
    pub fn write_element<T: IntoBytes + Immutable>(
        &self,
        array: GuestVirt,
        index: u64,
        value: &T,
    ) -> Result<(), Fault> {
        self.write(element::<T>(array, index), value)
    }
}

/// Copies by `copy`, which takes the number of bytes that are copied already and returns how many
/// more it has copied. A copy that faults on a mirror table continues if the guest's tables permit
/// it.
#[inline]
fn copy_with_mirrors(
    context: &GuestContext,
    address: GuestVirt,
    length: usize,
    access: Access,
    mut copy: impl FnMut(usize) -> usize,
) -> usize {
    let mut done = copy(0);
    while done < length && context.resolve(address.offset(done as u64), access) == Some(Resolution::Retry) {
        done += copy(done);
    }
    done
}

/// The address of an element. If it would wrap, an address outside guest space is returned, which
/// faults.
fn element<T>(array: GuestVirt, index: u64) -> GuestVirt {
    match index.checked_mul(size_of::<T>() as u64).and_then(|offset| array.get().checked_add(offset)) {
        Some(address) => GuestVirt::new(address),
        None => GuestVirt::new(crate::addr::HYPERVISOR_START),
    }
}
