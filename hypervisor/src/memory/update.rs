//! The choke point: every change of an entry in a guest's page tables passes through here, whichever hypercall, emulated
//! instruction or grant operation it comes from.

use abi::errno::Errno;
use abi::xen::{MmuUpdate, mmu_command};
use machine::addr::{GuestVirt, MachineAddr, Mfn, PAGE_SIZE};
use machine::counters::{self, Counter};
use machine::frames::{
    AcquireError, Budget, FrameRef, KindCode, L1, L2, L3, L4, Level, ReplaceError, TypedRef, Writable,
};
use machine::paging::{Admission, Entry, NoEntries, RawEntry};

use super::admission::{CACHE_ATTRIBUTES, GuestAdmission};
use super::walk;
use crate::call::Caller;
use crate::domain::Domain;

/// What a change of an entry costs, in units of the budget: the use of one frame ends, that of
/// another begins.
const COST_OF_UPDATE: u32 = 8;
/// The same for a change in the table that was changed before.
const COST_OF_UPDATE_IN_TABLE: u32 = 5;

/// The bits of a request's pointer that are its command.
pub(super) const COMMAND_MASK: u64 = 7;

/// How an entry is to be changed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// To this, whatever stands there.
    Write(u64),
    /// To this, but accessed and dirty stay set if the processor has set them.
    PreserveAccessedDirty(u64),
    /// To `new`, if `expected` stands there.
    Exchange {
        /// The bits that must stand there.
        expected: u64,
        /// The bits to put there.
        new: u64,
    },
}

impl Change {
    /// What a request of `mmu_update` wants of an entry; `None` if it is about something else.
    #[inline]
    pub(crate) const fn requested(request: MmuUpdate) -> Option<Self> {
        match request.pointer & COMMAND_MASK {
            mmu_command::PT_UPDATE_PRESERVE_AD => Some(Self::PreserveAccessedDirty(request.value)),
            mmu_command::NORMAL_PT_UPDATE | mmu_command::PT_UPDATE_NO_TRANSLATE => Some(Self::Write(request.value)),
            _ => None,
        }
    }

    const fn wanted(self) -> RawEntry {
        match self {
            Self::Write(bits) | Self::PreserveAccessedDirty(bits) | Self::Exchange { new: bits, .. } => {
                RawEntry::new(bits)
            }
        }
    }
}

/// Changes entry `index` of the page table `table`, of whatever level it is, or a plain word if the frame is no table. Returns the bits that stood there:
/// for an exchange that found something else, nothing was changed.
///
/// # Errors
/// `Refused` if the entry may not stand there, `Conflict` if the frame can neither be written nor is a table in use.
pub(crate) fn write_entry(
    table: FrameRef,
    index: u16,
    change: Change,
    admission: &mut impl Admission,
    budget: &mut Budget,
) -> Result<RawEntry, AcquireError> {
    begin(index, budget)?;
    counters::count(Counter::EntryUpdates);
    // The kind is only a hint until the reference of that kind is held. A table that nobody uses is memory again.
    let (kind, uses) = table.current_kind();
    match if uses == 0 { KindCode::Writable } else { kind } {
        KindCode::L1 => {
            let table = TypedRef::<L1>::existing(table).map_err(|_| AcquireError::Conflict)?;
            change_leaf(&table, index, change, admission, budget)
        }
        KindCode::L2 => {
            let table = TypedRef::<L2>::existing(table).map_err(|_| AcquireError::Conflict)?;
            let entry = Entry::<L2>::admit(change.wanted(), admission, budget)?;
            put(&table, index, change, entry)
        }
        KindCode::L3 => {
            let table = TypedRef::<L3>::existing(table).map_err(|_| AcquireError::Conflict)?;
            let entry = Entry::<L3>::admit(change.wanted(), admission, budget)?;
            put(&table, index, change, entry)
        }
        KindCode::L4 => {
            let table = TypedRef::<L4>::existing(table).map_err(|_| AcquireError::Conflict)?;
            let entry = Entry::<L4>::admit(change.wanted(), admission, budget)?;
            put(&table, index, change, entry)
        }
        KindCode::None | KindCode::Writable => {
            let page = TypedRef::<Writable>::acquire(table, &mut NoEntries, budget)?;
            Ok(write_word(&page, index, change))
        }
        KindCode::Descriptor | KindCode::SharedReadOnly => Err(AcquireError::Conflict),
    }
}

/// Updates of entries in one domain's tables, one after the other. They tend to be in the same table as the one before, so the use of that is kept until
/// one in another is to be changed, which may need it to be out of use.
pub(crate) struct Updates<'a> {
    domain: &'a Domain,
    last: Option<Last>,
    /// Those of `last`'s kinds, for the counters.
    done: u64,
    /// Something may have gone out of use that has to be torn down.
    left_tables: bool,
}

enum Last {
    Leaves(TypedRef<L1>),
    Memory(TypedRef<Writable>),
}

impl Last {
    fn mfn(&self) -> Mfn {
        match self {
            Self::Leaves(table) => table.mfn(),
            Self::Memory(page) => page.mfn(),
        }
    }
}

impl<'a> Updates<'a> {
    /// Updates in the tables of `domain`.
    pub(crate) const fn of(domain: &'a Domain) -> Self {
        Self { domain, last: None, done: 0, left_tables: false }
    }

    /// Whether there may be something to tear down since this was last asked. What leaves and memory give up is none.
    pub(crate) const fn take_left_tables(&mut self) -> bool {
        core::mem::replace(&mut self.left_tables, false)
    }

    /// Carries out the first of `requests`, as many as change leaves of the table that the one before was in: how many, which is none if there is no such
    /// table. What is refused among them is left, nothing changed, for [`Updates::write_entry`] to say why.
    #[inline]
    pub(crate) fn write_leaves(
        &mut self,
        requests: &[MmuUpdate],
        admission: &mut GuestAdmission,
        budget: &mut Budget,
    ) -> u32 {
        let Some(Last::Leaves(table)) = &self.last else { return 0 };
        let done = write_leaves(table, requests, admission, budget);
        self.done += u64::from(done);
        done
    }

    /// Changes entry `index` of `table` as [`write_entry`] does.
    ///
    /// # Errors
    /// As those of [`write_entry`]; `Refused` if the domain does not own the frame.
    #[inline]
    pub(crate) fn write_entry(
        &mut self,
        table: Mfn,
        index: u16,
        change: Change,
        admission: &mut impl Admission,
        budget: &mut Budget,
    ) -> Result<RawEntry, AcquireError> {
        if self.last.as_ref().is_none_or(|last| last.mfn() != table)
            && let Some(frame) = self.turn_to(table)?
        {
            return write_entry(frame, index, change, admission, budget);
        }
        begin(index, budget)?;
        self.done += 1;
        match &self.last {
            Some(Last::Memory(page)) => Ok(write_word(page, index, change)),
            Some(Last::Leaves(table)) => change_leaf(table, index, change, admission, budget),
            None => Err(AcquireError::Conflict),
        }
    }

    /// Keeps the use of another table; hands the frame back if it is of a kind that is not kept.
    #[inline(never)]
    fn turn_to(&mut self, table: Mfn) -> Result<Option<FrameRef>, Errno> {
        self.last = None;
        self.left_tables = true;
        let frame = self.domain.frame(table).ok_or(Errno::EINVAL)?;
        let kept = match TypedRef::<L1>::existing(frame).map_err(TypedRef::<Writable>::existing) {
            Ok(leaves) => Last::Leaves(leaves),
            Err(Ok(page)) => Last::Memory(page),
            Err(Err(frame)) => return Ok(Some(frame)),
        };
        self.last = Some(kept);
        Ok(None)
    }
}

impl Drop for Updates<'_> {
    fn drop(&mut self) {
        counters::add(Counter::EntryUpdates, self.done);
    }
}

/// See [`Updates::write_leaves`]: a loop of its own, with nothing in it but that.
#[inline(never)]
fn write_leaves(
    table: &TypedRef<L1>,
    requests: &[MmuUpdate],
    admission: &mut GuestAdmission,
    budget: &mut Budget,
) -> u32 {
    let start = table.mfn().address().get();
    let mut done = 0;
    for request in requests {
        let offset = request.pointer.wrapping_sub(start);
        let Some(change) = Change::requested(*request) else { break };
        if offset >= PAGE_SIZE as u64
            || change_leaf(table, (offset >> 3 & 511) as u16, change, admission, budget).is_err()
        {
            break;
        }
        done += 1;
    }
    budget.spend(done * COST_OF_UPDATE_IN_TABLE);
    done
}

/// What every update begins with.
#[inline]
fn begin(index: u16, budget: &mut Budget) -> Result<(), Errno> {
    if index >= 512 {
        return Err(Errno::EINVAL);
    }
    budget.spend(COST_OF_UPDATE);
    Ok(())
}

/// Changes entry `index` of an L1 table that is held, as [`write_entry`] does.
///
/// # Errors
/// As those of [`write_entry`].
#[inline(always)]
pub(crate) fn write_leaf(
    table: &TypedRef<L1>,
    index: u16,
    change: Change,
    admission: &mut impl Admission,
    budget: &mut Budget,
) -> Result<RawEntry, AcquireError> {
    begin(index, budget)?;
    counters::count(Counter::EntryUpdates);
    change_leaf(table, index, change, admission, budget)
}

#[inline(always)]
fn change_leaf(
    table: &TypedRef<L1>,
    index: u16,
    change: Change,
    admission: &mut impl Admission,
    budget: &mut Budget,
) -> Result<RawEntry, AcquireError> {
    if let Some(before) = change_flags_only(table, index, change) {
        return Ok(before);
    }
    let entry = admission.leaf(change.wanted(), budget)?;
    put(table, index, change, entry)
}

/// The frequent case: same frame, the same right to write or none any more, other flags. Nothing is owned anew, so nothing needs to be looked up.
#[inline(always)]
fn change_flags_only(table: &TypedRef<L1>, index: u16, change: Change) -> Option<RawEntry> {
    let wanted = change.wanted();
    if wanted.flags().intersects(CACHE_ATTRIBUTES) {
        return None;
    }
    let mut found = table.entry(index);
    loop {
        if !found.is_present() || !found.keeps_mapping(wanted) {
            return None;
        }
        let wanted = match change {
            Change::Write(_) => wanted,
            Change::PreserveAccessedDirty(_) => wanted.with_accessed_dirty(found),
            Change::Exchange { expected, .. } if found.get() != expected => return Some(found),
            Change::Exchange { .. } => wanted,
        };
        match table.change_flags(index, found, wanted) {
            Ok(()) => return Some(found),
            Err(now) => found = now,
        }
    }
}

fn reserved<K: Level>(_: ReplaceError<K>) -> AcquireError {
    AcquireError::Refused(Errno::EINVAL)
}

#[inline(always)]
fn put<K: Level>(
    table: &TypedRef<K>,
    index: u16,
    change: Change,
    mut entry: Entry<K>,
) -> Result<RawEntry, AcquireError> {
    match change {
        Change::Write(_) => Ok(table.replace(index, entry).map_err(reserved)?.raw()),
        Change::Exchange { expected, .. } => match table.exchange(index, RawEntry::new(expected), entry) {
            Ok(old) => Ok(old.raw()),
            Err(ReplaceError::Changed(found, _)) => Ok(found),
            Err(error) => Err(reserved(error)),
        },
        Change::PreserveAccessedDirty(_) => {
            let mut found = table.entry(index);
            loop {
                match table.exchange(index, found, entry.with_accessed_dirty(found)) {
                    Ok(old) => return Ok(old.raw()),
                    Err(ReplaceError::Changed(now, back)) => (found, entry) = (now, back),
                    Err(error) => return Err(reserved(error)),
                }
            }
        }
    }
}

fn write_word(page: &TypedRef<Writable>, index: u16, change: Change) -> RawEntry {
    let before = RawEntry::new(page.frame().read_u64(index));
    match change {
        Change::Exchange { expected, .. } if before.get() != expected => {}
        _ => page.write_u64(index, change.wanted().get()),
    }
    before
}

/// Puts a leaf, already owned, into the L1 entry that maps `address` for the caller; for grant mappings.
///
/// # Errors
/// `EINVAL` if there is no L1 table for the address.
pub(crate) fn write_l1_for_va(caller: &Caller<'_>, address: GuestVirt, entry: Entry<L1>) -> Result<Entry<L1>, Errno> {
    let (table, index) = walk::leaf(caller.cpu, address).ok_or(Errno::EINVAL)?;
    table.replace(index, entry).map_err(|_| Errno::EINVAL)
}

/// Puts a leaf, already owned, into the L1 entry at a machine address in one of the caller's L1 tables.
///
/// # Errors
/// `EINVAL` if there is no such table or the address is no entry's.
pub(crate) fn write_l1_at(caller: &Caller<'_>, address: MachineAddr, entry: Entry<L1>) -> Result<Entry<L1>, Errno> {
    let (table, index) = l1_entry_at(caller, address)?;
    table.replace(index, entry).map_err(|_| Errno::EINVAL)
}

/// The L1 table of the caller and the index in it that a machine address names.
///
/// # Errors
/// `EINVAL` if there is no such table or the address is no entry's.
pub(crate) fn l1_entry_at(caller: &Caller<'_>, address: MachineAddr) -> Result<(TypedRef<L1>, u16), Errno> {
    if !address.get().is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let frame = caller.domain.frame(Mfn::containing(address)).ok_or(Errno::EINVAL)?;
    let table = TypedRef::<L1>::existing(frame).map_err(|_| Errno::EINVAL)?;
    Ok((table, (address.get() >> 3 & 511) as u16))
}

/// Another vCPU, or the processor, may change an entry this often while it is being replaced.
const REPLACE_ATTEMPTS: u32 = 16;

/// Puts `entry`, already owned, in the place of an L1 entry whose bits satisfy `matches`; hands back the old one.
///
/// # Errors
/// If what stands there does not satisfy it, or does not hold still: the new entry comes back.
pub(crate) fn replace_l1_if(
    table: &TypedRef<L1>,
    index: u16,
    matches: impl Fn(RawEntry) -> bool,
    mut entry: Entry<L1>,
) -> Result<Entry<L1>, Entry<L1>> {
    for _ in 0..REPLACE_ATTEMPTS {
        let found = table.entry(index);
        if !matches(found) {
            break;
        }
        match table.exchange(index, found, entry) {
            Ok(old) => return Ok(old),
            Err(ReplaceError::Changed(_, back) | ReplaceError::Reserved(back)) => entry = back,
        }
    }
    Err(entry)
}
