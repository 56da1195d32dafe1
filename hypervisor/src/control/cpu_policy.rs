//! Copies CPU policies to and from the tools.

use abi::arch_x86_64::CpuidLeaf;
use abi::errno::Errno;
use alloc::vec::Vec;
use machine::addr::GuestVirt;
use machine::integers::saturating_u32;

use crate::call::{CallError, Caller};
use crate::cpu_policy::{MAX_LEAVES, Policy, msr};

/// The tools' buffers for a policy.
pub(crate) struct Lists {
    /// A list of [`CpuidLeaf`]; zero to query its maximum length.
    pub leaves: GuestVirt,
    /// Number of entries.
    pub leaf_count: u32,
    /// A list of [`abi::arch_x86_64::MsrEntry`]; zero to query its length.
    pub msrs: GuestVirt,
    /// Number of entries.
    pub msr_count: u32,
}

impl Lists {
    /// Writes a policy to the lists, and sets their lengths.
    ///
    /// # Errors
    /// `ENOBUFS` if a list is too short, `EFAULT`.
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
        let msrs = saturating_u32(msr::LISTED);
        if self.msrs.get() != 0 {
            if self.msr_count < msrs {
                return Err(Errno::ENOBUFS.into());
            }
            for (index, entry) in (0..).zip(msr::list(policy)) {
                caller.cpu.write_element(self.msrs, index, &entry)?;
            }
        }
        self.msr_count = msrs;
        Ok(())
    }

    /// Reads the list of leaves.
    ///
    /// # Errors
    /// `E2BIG` if there are more than a policy can have, `EFAULT`.
    pub(crate) fn read_leaves(&self, caller: &Caller<'_>) -> Result<Vec<CpuidLeaf>, CallError> {
        if self.leaf_count > MAX_LEAVES {
            return Err(Errno::E2BIG.into());
        }
        (0..self.leaf_count).map(|index| Ok(caller.cpu.read_element(self.leaves, index.into())?)).collect()
    }
}
