//! `mmu_update`: a list of page-table and M2P updates.

use abi::errno::Errno;
use abi::xen::{DomainId, MmuUpdate, mmu_command};
use alloc::sync::Arc;
use machine::addr::{GuestVirt, MachineAddr, Mfn, Pfn};
use machine::context::Active;
use machine::frames::{self, Budget, L1, TypedRef};
use machine::guest_memory::Fault;
use machine::integers::{low_u16, low_u32};
use machine::speculation::MaskedIndex;

use super::admission::GuestAdmission;
use super::list_call::ListCall;
use super::update::{self, COMMAND_MASK, Change, Updates};
use crate::call::{CallError, CallResult, Caller, PageOwner};
use crate::domain::Domain;

/// The owner of the tables that are changed, and the owner of the frames that are mapped.
struct Parties {
    tables: Arc<Domain>,
    frames: PageOwner,
}

/// Decodes the last argument. The low half names the owner of the frames. The high half, if not
/// zero, is the id of the tables' owner plus one.
fn parties(caller: &Caller<'_>, argument: u32) -> Result<Parties, Errno> {
    let frames = DomainId(low_u16(argument.into()));
    let tables = match (argument >> 16) as u16 {
        0 => Arc::clone(caller.domain),
        number => caller.target(DomainId(number - 1))?,
    };
    Ok(Parties { tables, frames: caller.page_owner(frames)? })
}

/// Fast path for the most frequent call: one update of an entry in one of the domain's own L1
/// tables that maps one of its own frames. Returns `false` without any change in all other cases
/// and if the update is refused; [`mmu_update`] handles those.
pub(crate) fn single(cpu: &Active, domain: &Domain, [list, count, done, foreign, ..]: &[u64; 6]) -> bool {
    const SELF: u64 = DomainId::SELF.0 as u64;
    if (*count, *done, *foreign) != (1, 0, SELF) {
        return false;
    }
    let Ok(request) = cpu.read::<MmuUpdate>(GuestVirt::new(*list)) else { return false };
    let Some(change) = Change::requested(request) else { return false };
    let frame = Mfn::containing(MachineAddr::new(request.pointer));
    let table = domain.frame(frame).and_then(|frame| TypedRef::<L1>::existing(frame).ok());
    let index = (request.pointer >> 3 & 511) as u16;
    table.is_some_and(|table| {
        let budget = &mut Budget::new(Budget::FAST);
        update::write_leaf(&table, index, change, &mut GuestAdmission::of(domain), budget).is_ok()
    })
}

/// Applies `count` updates from `list`. The number of completed updates is written to `done`,
/// unless that is null.
pub(crate) fn mmu_update(
    caller: &mut Caller<'_>,
    list: GuestVirt,
    count: u32,
    done: GuestVirt,
    foreign: u32,
) -> CallResult {
    let call = ListCall::begin(caller, list, count, done)?;
    let count = call.count();
    let parties = parties(caller, foreign)?;
    let mut admission = GuestAdmission::foreign(&parties.tables, &parties.frames);
    let mut updates = Updates::of(&parties.tables);
    let mut requests = Requests::of(list, count);
    let foreign = (parties.tables.id() != caller.domain.id()).then_some(&*parties.tables);
    let mut outcome = Ok(0);
    let mut index = 0;
    while index < count {
        let settled = !(updates.take_left_tables() || foreign.is_some()) || caller.finish_teardown(foreign);
        if !settled || index != 0 && caller.budget.is_exhausted() {
            outcome = Err(CallError::again());
            break;
        }
        let next = match requests.next(caller.cpu, index) {
            Ok(next) => next,
            Err(fault) => {
                outcome = Err(fault.into());
                break;
            }
        };
        let done = updates.write_leaves(next, &mut admission, &mut caller.budget);
        index += done;
        if done == 0
            && let Some(&request) = next.first()
        {
            if let Err(error) = apply(caller, &parties, &mut updates, &mut admission, request) {
                outcome = Err(error);
                break;
            }
            index += 1;
        }
    }
    call.end::<MmuUpdate>(caller, index, outcome)
}

/// Cost of an M2P update, in units of the budget.
const COST_OF_NUMBER: u32 = 5;

/// Number of requests that are copied in at once.
const CHUNK: usize = 8;

/// The list of a call. Each element is copied in once.
struct Requests {
    list: GuestVirt,
    count: u32,
    /// Elements `start` to `end` of the list.
    chunk: [MmuUpdate; CHUNK],
    start: u32,
    end: u32,
}

impl Requests {
    fn of(list: GuestVirt, count: u32) -> Self {
        Self { list, count, chunk: [MmuUpdate { pointer: 0, value: 0 }; CHUNK], start: 0, end: 0 }
    }

    /// Returns at least one element from `index` on. `index` must not decrease from call to call.
    #[inline]
    fn next(&mut self, cpu: &Active, index: u32) -> Result<&[MmuUpdate], Fault> {
        if index >= self.end {
            self.fetch(cpu, index)?;
        }
        let next = self.chunk.part((index - self.start) as usize..(self.end - self.start) as usize);
        next.filter(|next| !next.is_empty()).ok_or(Fault)
    }

    fn fetch(&mut self, cpu: &Active, index: u32) -> Result<(), Fault> {
        let room = CHUNK.min((self.count - index) as usize);
        let chunk = self.chunk.part_mut(..room).ok_or(Fault)?;
        let mut got = cpu.read_elements(self.list, u64::from(index), chunk);
        if got == 0 {
            // The chunk, or even this element, crosses the end of mapped memory.
            self.chunk[0] = cpu.read_element(self.list, u64::from(index))?;
            got = 1;
        }
        (self.start, self.end) = (index, index + low_u32(got as u64));
        Ok(())
    }
}

#[inline]
fn apply(
    caller: &mut Caller<'_>,
    parties: &Parties,
    updates: &mut Updates<'_>,
    admission: &mut GuestAdmission,
    request: MmuUpdate,
) -> Result<(), CallError> {
    let frame = Mfn::containing(MachineAddr::new(request.pointer));
    if request.pointer & COMMAND_MASK == mmu_command::MACHPHYS_UPDATE {
        return machphys_update(caller, parties, frame, Pfn::new(request.value));
    }
    let change = Change::requested(request).ok_or(Errno::ENOSYS)?;
    let index = (request.pointer >> 3 & 511) as u16;
    updates.write_entry(frame, index, change, admission, &mut caller.budget)?;
    Ok(())
}

fn machphys_update(caller: &mut Caller<'_>, parties: &Parties, mfn: Mfn, pfn: Pfn) -> Result<(), CallError> {
    caller.budget.spend(COST_OF_NUMBER);
    // The reference keeps the frame in the domain's ownership until its number is set.
    let _owned = parties.frames.domain()?.frame(mfn).ok_or(Errno::EINVAL)?;
    frames::set_number(mfn, pfn);
    Ok(())
}
