//! The state of a vCPU that is not in `vcpu_guest_context`: callbacks of 32-bit user code, extended
//! state, MSRs.

use abi::domctl::{ExtendedVcpuContext, VcpuExtendedState, VcpuMsr, VcpuMsrs};
use abi::errno::Errno;
use alloc::sync::Arc;
use alloc::vec::Vec;
use machine::addr::GuestVirt;
use machine::context::{GuestContext, Handler, is_canonical};
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;
use zerocopy::FromZeros;

use super::vcpu_context::at_rest;
use crate::call::{CallResult, Caller};
use crate::control::Request;
use crate::cpu_policy::{self, msr};
use crate::domain::Domain;

/// Bytes before the XSAVE image: XCR0, and the mask of the supported states.
const WORDS: usize = 16;
/// Size of the smallest image: x87 and SSE state, and the header.
const SMALLEST_IMAGE: usize = 576;

/// Returns the entry points for 32-bit system calls.
pub(super) fn get_callbacks(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let asked: ExtendedVcpuContext = request.argument();
    let vcpu = super::vcpu(target, asked.vcpu)?;
    let answer = at_rest(caller, target, vcpu, |context| {
        let (syscall, sysenter) = (context.handlers().syscall32, context.handlers().sysenter);
        let mut answer = ExtendedVcpuContext::new_zeroed();
        answer.vcpu = asked.vcpu;
        answer.size = saturating_u32(size_of::<ExtendedVcpuContext>());
        answer.syscall32_callback_rip = syscall.address;
        answer.syscall32_callback_cs = syscall.cs;
        answer.syscall32_disables_events = syscall.mask_events;
        answer.sysenter_callback_rip = sysenter.address;
        answer.sysenter_callback_cs = sysenter.cs;
        answer.sysenter_disables_events = sysenter.mask_events;
        Ok(answer)
    })?;
    request.answer(caller, &answer)?;
    Ok(0)
}

/// Sets the entry points for 32-bit system calls. Guests get no machine checks, so capabilities for
/// them are refused.
pub(super) fn set_callbacks(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let wanted: ExtendedVcpuContext = request.argument();
    let vcpu = super::vcpu(target, wanted.vcpu)?;
    let whole = saturating_u32(size_of::<ExtendedVcpuContext>());
    if wanted.size > whole
        || !is_canonical(wanted.syscall32_callback_rip)
        || !is_canonical(wanted.sysenter_callback_rip)
    {
        return Err(Errno::EINVAL.into());
    }
    if wanted.size == whole && wanted.machine_check_capabilities != 0 {
        return Err(Errno::EPERM.into());
    }
    at_rest(caller, target, vcpu, |context| {
        let handlers = context.handlers_mut();
        handlers.syscall32 = Handler::new(
            wanted.syscall32_callback_rip,
            wanted.syscall32_callback_cs,
            wanted.syscall32_disables_events != 0,
            0,
        );
        handlers.sysenter = Handler::new(
            wanted.sysenter_callback_rip,
            wanted.sysenter_callback_cs,
            wanted.sysenter_disables_events != 0,
            0,
        );
        Ok(())
    })?;
    Ok(0)
}

/// Returns the extended state, or its size.
pub(super) fn get_state(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let mut asked: VcpuExtendedState = request.argument();
    let vcpu = super::vcpu(target, asked.vcpu)?;
    let states = GuestContext::supported_states();
    let bytes = at_rest(caller, target, vcpu, |context| {
        let (xcr0, image) = context.extended_state();
        let mut bytes = Vec::new();
        if !image.is_empty() {
            bytes.extend_from_slice(&xcr0.to_le_bytes());
            bytes.extend_from_slice(&states.to_le_bytes());
            bytes.extend_from_slice(image);
        }
        Ok(bytes)
    })?;
    if (asked.size == 0 && asked.feature_mask == 0) || asked.buffer == 0 {
        (asked.size, asked.feature_mask) = (bytes.len() as u64, states);
        request.answer(caller, &asked)?;
        return Ok(0);
    }
    if asked.size != bytes.len() as u64 || asked.feature_mask != states {
        return Err(Errno::EINVAL.into());
    }
    if !bytes.is_empty() {
        caller.cpu.write_bytes(GuestVirt::new(asked.buffer), &bytes)?;
    }
    Ok(0)
}

/// Sets the extended state.
pub(super) fn set_state(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let wanted: VcpuExtendedState = request.argument();
    let vcpu = super::vcpu(target, wanted.vcpu)?;
    let most = WORDS + SMALLEST_IMAGE * 16;
    let size = usize::try_from(wanted.size).ok().filter(|size| (WORDS..=most).contains(size)).ok_or(Errno::EINVAL)?;
    let mut bytes = alloc::vec![0; size];
    caller.cpu.read_bytes(GuestVirt::new(wanted.buffer), &mut bytes)?;
    let [words, image] = bytes.divide(WORDS).ok_or(Errno::EINVAL)?;
    let Some(xcr0) = words.first_chunk().copied().map(u64::from_le_bytes) else { return Err(Errno::EINVAL.into()) };
    if image.is_empty() {
        // Only x87 and SSE were in use, and their state is in `vcpu_guest_context`.
        return Ok(0);
    }
    // x87 is always enabled, also without XSAVE in the policy.
    if xcr0 & !(cpu_policy::extended_states(target) | 1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    at_rest(caller, target, vcpu, |context| {
        if context.set_extended_state(xcr0, image) { Ok(()) } else { Err(Errno::EINVAL.into()) }
    })?;
    Ok(0)
}

/// Returns the MSRs that no other structure transfers and that are not zero, or without a buffer
/// the maximum number of them.
pub(super) fn get_msrs(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let mut asked: VcpuMsrs = request.argument();
    let vcpu = super::vcpu(target, asked.vcpu)?;
    if asked.msrs == 0 {
        asked.msr_count = 1;
    } else {
        let value = at_rest(caller, target, vcpu, |context| Ok(context.spec_ctrl()))?;
        let entry = VcpuMsr { index: msr::SPEC_CTRL, reserved: 0, value };
        let count = u32::from(value != 0);
        if asked.msr_count < count {
            return Err(Errno::ENOBUFS.into());
        }
        asked.msr_count = count;
        if count != 0 {
            caller.cpu.write_element(GuestVirt::new(asked.msrs), 0, &entry)?;
        }
    }
    request.answer(caller, &asked)?;
    Ok(0)
}

/// The maximum length of a list of MSRs.
const MAX_MSRS: u32 = 16;

/// Sets those MSRs to values that the domain's policy allows. In case of an error nothing is
/// changed.
pub(super) fn set_msrs(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let wanted: VcpuMsrs = request.argument();
    let vcpu = super::vcpu(target, wanted.vcpu)?;
    if wanted.msr_count > MAX_MSRS {
        return Err(Errno::E2BIG.into());
    }
    let policy = target.cpu_policy();
    let mut spec_ctrl = None;
    for index in 0..u64::from(wanted.msr_count) {
        let entry: VcpuMsr = caller.cpu.read_element(GuestVirt::new(wanted.msrs), index)?;
        if entry.reserved != 0 || !msr::is_legal_state(&policy, entry.index, entry.value) {
            return Err(Errno::EINVAL.into());
        }
        spec_ctrl = Some(entry.value);
    }
    if let Some(value) = spec_ctrl {
        at_rest(caller, target, vcpu, |context| {
            context.set_spec_ctrl(value);
            Ok(())
        })?;
    }
    Ok(0)
}
