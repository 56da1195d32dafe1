//! CPU policies on their way to and from the tools.

use abi::arch_x86_64::CpuidLeaf;
use abi::errno::Errno;
use alloc::vec::Vec;
use machine::addr::GuestVirt;
use machine::integers::saturating_u32;

use crate::call::{CallError, Caller};
use crate::cpu_policy::{MAX_LEAVES, Policy, msr};

/// Where the tools want a policy, and how many entries they have room for.
pub(crate) struct Lists {
    /// A list of [`CpuidLeaf`]; at address zero for who asks how long it may be.
    pub leaves: GuestVirt,
    /// Its length.
    pub leaf_count: u32,
    /// A list of [`abi::arch_x86_64::MsrEntry`]; at address zero for who asks how long it may be.
    pub msrs: GuestVirt,
    /// Its length.
    pub msr_count: u32,
}

impl Lists {
    /// Writes a policy there, and how long the lists are.
    ///
    /// # Errors
    /// `ENOBUFS` if they are longer than there is room for, `EFAULT`.
    pub(crate) fn write(&mut self, caller: &mut Caller<'_>, policy: &Policy) -> Result<(), CallError> {
        if self.leaves.get() == 0 {
            self.leaf_count = MAX_LEAVES;
        } else {
            let mut written = 0;
            for entry in policy.list() {
                if written == self.leaf_count {
                    return Err(Errno::ENOBUFS.into());
                }
                caller.cpu.write_element(self.leaves, written.into(), &entry)?;
                written += 1;
            }
            self.leaf_count = written;
        }
        let msrs = saturating_u32(msr::LISTED.len());
        if self.msrs.get() != 0 {
            if self.msr_count < msrs {
                return Err(Errno::ENOBUFS.into());
            }
            for (index, entry) in (0..).zip(&msr::LISTED) {
                caller.cpu.write_element(self.msrs, index, entry)?;
            }
        }
        self.msr_count = msrs;
        Ok(())
    }

    /// Reads the leaves.
    ///
    /// # Errors
    /// `E2BIG` if they are more than a policy can have, `EFAULT`.
    pub(crate) fn read_leaves(&self, caller: &Caller<'_>) -> Result<Vec<CpuidLeaf>, CallError> {
        if self.leaf_count > MAX_LEAVES {
            return Err(Errno::E2BIG.into());
        }
        (0..self.leaf_count).map(|index| Ok(caller.cpu.read_element(self.leaves, index.into())?)).collect()
    }
}
