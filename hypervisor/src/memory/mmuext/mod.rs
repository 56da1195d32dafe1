//! `mmuext_op`: pins, root tables, TLB flushes, LDT, clearing and copying pages.

use abi::errno::Errno;
use abi::xen::{DomainId, MmuextOp, mmuext};
use alloc::sync::Arc;
use machine::addr::{GuestVirt, Mfn};
use machine::context::Ldt;
use machine::frames::{AcquireError, Budget, FrameRef, Kind, L1, L2, L3, L4, TypedRef, Writable};
use machine::paging::NoEntries;
use machine::{cpu, tlb};

use super::admission::GuestAdmission;
use super::flush::{self, Target, Translations};
use super::list_call::ListCall;
use crate::call::{CallError, CallResult, Caller, PageOwner, operations};
use crate::domain::Domain;

/// The number of descriptors in the largest LDT.
const MAX_LDT_ENTRIES: u64 = 8192;
/// Cost of each operation, in units of the budget, and the additional cost of a new root table and
/// of a new LDT.
const COST_OF_OPERATION: u32 = 8;
const COST_OF_ROOT: u32 = 16;
const COST_OF_LDT: u32 = 64;
/// Cost of clearing or copying a page.
const COST_OF_PAGE: u32 = 512;

/// Performs `count` operations from `list`. The number of completed operations is written to
/// `done`, unless that is null.
pub(crate) fn mmuext_op(
    caller: &mut Caller<'_>,
    list: GuestVirt,
    count: u32,
    done: GuestVirt,
    foreign: DomainId,
) -> CallResult {
    let call = ListCall::begin(caller, list, count, done)?;
    let count = call.count();
    let PageOwner::Domain(target) = caller.page_owner(foreign)? else { return Err(Errno::ESRCH.into()) };
    let foreign = (target.id() != caller.domain.id()).then_some(&*target);
    let mut outcome = Ok(0);
    let mut index = 0;
    while index < count {
        if (index != 0 || foreign.is_some()) && (!caller.finish_teardown(foreign) || caller.budget.is_exhausted()) {
            outcome = Err(CallError::again());
            break;
        }
        caller.budget.spend(COST_OF_OPERATION);
        let step = match caller.cpu.read_element::<MmuextOp>(list, u64::from(index)) {
            Ok(MmuextOp { command, .. }) if foreign.is_some() && !may_be_foreign(command) => Err(Errno::EPERM.into()),
            Ok(MmuextOp { command, argument1, argument2, .. }) => {
                perform(caller, command, &target, argument1, argument2)
            }
            Err(fault) => Err(fault.into()),
        };
        if let Err(error) = step {
            outcome = Err(error);
            break;
        }
        index += 1;
    }
    call.end::<MmuextOp>(caller, index, outcome)
}

operations! {
    /// Performs an operation. `argument1` is a frame or an address; the meaning of `argument2`
    /// depends on the operation.
    fn perform(caller: &mut Caller<'_>, command: u32, target: &Arc<Domain>, argument1: u64, argument2: u64) -> Result<(), CallError>;
    names: mmuext::NAMES;
    mmuext::PIN_L1_TABLE => pin::<L1>(caller, target, Mfn::new(argument1));
    mmuext::PIN_L2_TABLE => pin::<L2>(caller, target, Mfn::new(argument1));
    mmuext::PIN_L3_TABLE => pin::<L3>(caller, target, Mfn::new(argument1));
    mmuext::PIN_L4_TABLE => pin::<L4>(caller, target, Mfn::new(argument1));
    mmuext::UNPIN_TABLE => unpin(target, Mfn::new(argument1));
    mmuext::NEW_BASEPTR: Any => new_kernel_root(caller, Mfn::new(argument1));
    mmuext::NEW_USER_BASEPTR: Any => new_user_root(caller, Mfn::new(argument1));
    mmuext::TLB_FLUSH_LOCAL: Any => Ok(flush::flush(caller, Target::Local, Translations::Everything)?);
    mmuext::INVLPG_LOCAL: Any => Ok(flush::flush(caller, Target::Local, Translations::page(argument1))?);
    mmuext::TLB_FLUSH_MULTI: Any => flush_masked(caller, argument2, Translations::Everything);
    mmuext::INVLPG_MULTI: Any => flush_masked(caller, argument2, Translations::page(argument1));
    mmuext::TLB_FLUSH_ALL: Any => Ok(flush::flush(caller, Target::All, Translations::Everything)?);
    mmuext::INVLPG_ALL: Any => Ok(flush::flush(caller, Target::All, Translations::page(argument1))?);
    mmuext::FLUSH_CACHE: Any => flush_caches(caller, Errno::EACCES, cpu::write_back_caches);
    mmuext::FLUSH_CACHE_GLOBAL: Any => flush_caches(caller, Errno::EINVAL, tlb::write_back_everywhere);
    mmuext::SET_LDT: Any => set_ldt(caller, GuestVirt::new(argument1), argument2 & 0xffff_ffff);
    mmuext::CLEAR_PAGE: Any => clear_page(caller, Mfn::new(argument1));
    mmuext::COPY_PAGE: Any => copy_page(caller, Mfn::new(argument1), Mfn::new(argument2));
    mmuext::MARK_SUPER: Refused => Errno::EOPNOTSUPP;
    mmuext::UNMARK_SUPER: Refused => Errno::EOPNOTSUPP;
}

/// Whether the operation may act on another domain's tables: its row has the privilege of the
/// hypercall. The others act on the caller.
fn may_be_foreign(command: u32) -> bool {
    OPERATIONS.iter().any(|row| row.number == command && row.privilege.is_none() && row.refusal.is_none())
}

fn clear_page(caller: &mut Caller<'_>, mfn: Mfn) -> Result<(), CallError> {
    writable(caller, mfn)?.clear();
    caller.budget.spend(COST_OF_PAGE);
    Ok(())
}

fn copy_page(caller: &mut Caller<'_>, to: Mfn, from: Mfn) -> Result<(), CallError> {
    let source = caller.domain.frame(from).ok_or(Errno::EINVAL)?;
    writable(caller, to)?.copy_frame(&source);
    caller.budget.spend(COST_OF_PAGE);
    Ok(())
}

/// Writes back and invalidates caches. Only a domain with devices has uncached mappings, so other
/// domains are refused.
fn flush_caches(caller: &mut Caller<'_>, refusal: Errno, flush: fn()) -> Result<(), CallError> {
    caller.control().map_err(|_| refusal)?;
    flush();
    // This may have taken milliseconds, so the remaining budget is spent: the pCPU must check for
    // other work next.
    caller.budget.spend(Budget::HYPERCALL);
    Ok(())
}

/// Flushes the TLBs of the vCPUs in `mask`. The interface has `EINVAL` for a mask that cannot be
/// read.
fn flush_masked(caller: &mut Caller<'_>, mask: u64, translations: Translations) -> Result<(), CallError> {
    flush::flush(caller, Target::Mask(GuestVirt::new(mask)), translations).map_err(|_| Errno::EINVAL.into())
}

fn writable(caller: &mut Caller<'_>, mfn: Mfn) -> Result<TypedRef<Writable>, CallError> {
    let frame = caller.domain.frame(mfn).ok_or(Errno::EINVAL)?;
    Ok(TypedRef::acquire(frame, &mut NoEntries, &mut caller.budget)?)
}

fn pin<K: Kind>(caller: &mut Caller<'_>, target: &Arc<Domain>, mfn: Mfn) -> Result<(), CallError> {
    let frame = target.frame(mfn).ok_or(Errno::EINVAL)?;
    let table = TypedRef::<K>::acquire(frame.again(), &mut GuestAdmission::of(target), &mut caller.budget)?;
    table.pin().map_err(|_already| Errno::EINVAL)?;
    // A frame is released by removing it from the list and then releasing its pin. If this frame
    // has been removed already, nothing would release the new pin before the domain is gone.
    if !target.frames.contains(&frame) {
        release_pin(&frame);
        return Err(Errno::EINVAL.into());
    }
    Ok(())
}

fn unpin(target: &Arc<Domain>, mfn: Mfn) -> Result<(), CallError> {
    let frame = target.frame(mfn).ok_or(Errno::EINVAL)?;
    release_pin(&frame).then_some(()).ok_or_else(|| Errno::EINVAL.into())
}

/// Releases the pin of a frame, for any level. Returns `false` if it has none.
pub(crate) fn release_pin(frame: &FrameRef) -> bool {
    // At most one of these succeeds. Dropping the result ends the use.
    TypedRef::<L1>::unpin(frame).is_some()
        || TypedRef::<L2>::unpin(frame).is_some()
        || TypedRef::<L3>::unpin(frame).is_some()
        || TypedRef::<L4>::unpin(frame).is_some()
}

fn root(caller: &mut Caller<'_>, mfn: Mfn) -> Result<TypedRef<L4>, AcquireError> {
    let frame = caller.domain.frame(mfn).ok_or(Errno::EINVAL)?;
    TypedRef::acquire(frame, &mut GuestAdmission::of(caller.domain), &mut caller.budget)
}

/// Makes `mfn` the kernel root table of the calling vCPU.
///
/// # Errors
/// If the domain does not own the frame, or the frame cannot be validated as a root table.
pub(crate) fn new_kernel_root(caller: &mut Caller<'_>, mfn: Mfn) -> Result<(), CallError> {
    if caller.cpu.context().kernel_root().is_some_and(|root| root.mfn() == mfn) {
        caller.cpu.flush();
        return Ok(());
    }
    caller.budget.spend(COST_OF_ROOT);
    let root = root(caller, mfn)?;
    caller.domain.prepare_kernel_root(&root);
    drop(caller.cpu.set_kernel_root(root));
    Ok(())
}

fn new_user_root(caller: &mut Caller<'_>, mfn: Mfn) -> Result<(), CallError> {
    if mfn.get() == 0 {
        drop(caller.cpu.set_user_root(None));
        return Ok(());
    }
    if caller.cpu.context().user_root().is_some_and(|root| root.mfn() == mfn) {
        return Ok(());
    }
    caller.budget.spend(COST_OF_ROOT);
    let root = root(caller, mfn)?;
    caller.domain.prepare_user_root(&root, caller.cpu.context().kernel_root());
    drop(caller.cpu.set_user_root(Some(root)));
    Ok(())
}

fn set_ldt(caller: &mut Caller<'_>, base: GuestVirt, entries: u64) -> Result<(), CallError> {
    let entries = u16::try_from(entries).ok().filter(|&entries| u64::from(entries) <= MAX_LDT_ENTRIES);
    let entries = entries.ok_or(Errno::EINVAL)?;
    if base.page_offset() != 0 || !base.is_guest_range(u64::from(entries) * 8) {
        return Err(Errno::EINVAL.into());
    }
    caller.budget.spend(COST_OF_LDT);
    caller.cpu.set_ldt(Ldt { base: base.get(), entries });
    Ok(())
}

#[cfg(test)]
mod tests;
