//! `vm_assist`: behaviours that a guest enables and disables.
//!
//! Assists for 32-bit guests can be enabled, but have no effect. `m2p_strict` applies to user root
//! tables that are set afterwards, not to those that are loaded already.

use core::sync::atomic::Ordering;

use abi::errno::Errno;
use abi::xen::vm_assist_command as command;

use crate::call::{CallResult, Caller, operations};
use crate::domain::AVAILABLE_ASSISTS;

operations! {
    /// Enables or disables an assist of the calling domain.
    pub(crate) fn vm_assist(caller: &mut Caller<'_>, operation: u32, assist: u32) -> CallResult;
    names: command::NAMES;
    command::ENABLE => switch(assist, |bit| caller.domain.assists.fetch_or(bit, Ordering::SeqCst));
    command::DISABLE => switch(assist, |bit| caller.domain.assists.fetch_and(!bit, Ordering::SeqCst));
}

fn switch(assist: u32, act: impl FnOnce(u64) -> u64) -> CallResult {
    act(bit(assist).ok_or(Errno::EINVAL)?);
    Ok(0)
}

fn bit(assist: u32) -> Option<u64> {
    1u64.checked_shl(assist).filter(|bit| AVAILABLE_ASSISTS & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::xen::vm_assist as kind;

    #[test]
    fn only_assists_that_exist_can_be_switched() {
        assert_eq!(bit(kind::WRITABLE_PAGETABLES), Some(4));
        assert_eq!(bit(kind::M2P_STRICT), Some(1 << 32));
        for assist in [6, 31, 33, 64, u32::MAX] {
            assert_eq!(bit(assist), None);
        }
    }
}
