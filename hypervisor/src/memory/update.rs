//! The choke point of page-table updates: every change of a guest's page-table entry passes through
//! here, whether it comes from a hypercall, an emulated instruction or a grant operation.

use abi::errno::Errno;
use abi::xen::{MmuUpdate, mmu_command};
use machine::addr::{GuestVirt, MachineAddr, Mfn, PAGE_SIZE};
use machine::counters::{self, Counter};
use machine::frames::{
    AcquireError, Budget, FrameRef, KindCode, L1, L2, L3, L4, Level, ReplaceError, TypedRef, Writable,
};
use machine::paging::{Admission, Entry, NoEntries, RawEntry, names_memory};

use super::admission::{CACHE_ATTRIBUTES, GuestAdmission};
use super::walk;
use crate::call::Caller;
use crate::domain::Domain;

/// Cost of changing an entry, in units of the budget: the use of one frame ends and that of another
/// begins.
const COST_OF_UPDATE: u32 = 8;
/// The same for an entry in the table of the previous change.
const COST_OF_UPDATE_IN_TABLE: u32 = 5;

/// The command bits of a request's pointer.
pub(super) const COMMAND_MASK: u64 = 7;

/// A change of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// Writes these bits.
    Write(u64),
    /// Writes these bits, but keeps accessed and dirty bits that the processor has set.
    PreserveAccessedDirty(u64),
    /// Writes `new` if the entry is `expected`.
    Exchange {
        /// The expected bits.
        expected: u64,
        /// The bits to write.
        new: u64,
    },
}

impl Change {
    /// Decodes a request of `mmu_update`; `None` if it does not change an entry.
    #[inline]
    pub(crate) const fn requested(request: MmuUpdate) -> Option<Self> {
        match request.pointer & COMMAND_MASK {
            mmu_command::PT_UPDATE_PRESERVE_AD => Some(Self::PreserveAccessedDirty(request.value)),
            mmu_command::NORMAL_PT_UPDATE | mmu_command::PT_UPDATE_NO_TRANSLATE => Some(Self::Write(request.value)),
            _ => None,
        }
    }

    /// Whether the wanted entry is not present but names memory. Where it is refused for that, the
    /// guest would repeat the write forever.
    pub(crate) fn names_memory_while_absent(self) -> bool {
        !self.wanted().is_present() && names_memory(self.wanted())
    }

    /// The wanted bits.
    pub(crate) const fn wanted(self) -> RawEntry {
        match self {
            Self::Write(bits) | Self::PreserveAccessedDirty(bits) | Self::Exchange { new: bits, .. } => {
                RawEntry::new(bits)
            }
        }
    }
}

/// Changes entry `index` of the page table `table`, of any level, or a plain word if the frame is
/// not a page table. Returns the previous bits. If they differ from those that an exchange expects,
/// nothing has been changed.
///
/// # Errors
/// `Refused` if the entry is not permitted, `Conflict` if the frame is neither writable nor a table
/// in use.
pub(crate) fn write_entry(
    table: FrameRef,
    index: u16,
    change: Change,
    admission: &mut impl Admission,
    budget: &mut Budget,
) -> Result<RawEntry, AcquireError> {
    begin(index, budget)?;
    counters::count(Counter::EntryUpdates);
    // The kind is only a hint until a reference of that kind is held. A table without a use is
    // plain memory.
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

/// A sequence of updates in one domain's tables. Successive updates tend to be in the same table,
/// so a use of the last table is kept. It is dropped before an entry in another table is changed,
/// because that change may need the last table to be unused.
pub(crate) struct Updates<'a> {
    domain: &'a Domain,
    last: Option<Last>,
    /// Updates through `last`, for the counters.
    done: u64,
    /// A use of a table may have ended that left tables to tear down.
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
    /// Starts a sequence of updates in the tables of `domain`.
    pub(crate) const fn of(domain: &'a Domain) -> Self {
        Self { domain, last: None, done: 0, left_tables: false }
    }

    /// Returns whether there may be tables to tear down since the last call. Changes of L1 entries
    /// and of plain memory leave none.
    pub(crate) const fn take_left_tables(&mut self) -> bool {
        core::mem::replace(&mut self.left_tables, false)
    }

    /// Applies the first of `requests`, up to the first one that does not change a leaf of the last
    /// table, and returns their number; zero if the last table is not an L1 table. A request that
    /// is refused also ends this. It changes nothing, and [`Updates::write_entry`] returns the
    /// error.
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

    /// Changes entry `index` of `table` like the function [`write_entry`].
    ///
    /// # Errors
    /// Those of [`write_entry`], and `Refused` if the domain does not own the frame.
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

    /// Keeps a use of another table. Returns the frame if it is of a kind that is not kept.
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

/// The loop of [`Updates::write_leaves`], as a function of its own so that it stays small.
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

/// The part that is common to all updates: checks the index and spends the cost.
#[inline]
fn begin(index: u16, budget: &mut Budget) -> Result<(), Errno> {
    if index >= 512 {
        return Err(Errno::EINVAL);
    }
    budget.spend(COST_OF_UPDATE);
    Ok(())
}

/// Changes entry `index` of an L1 table like [`write_entry`].
///
/// # Errors
/// Those of [`write_entry`].
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

/// The frequent case: only flags change, and the right to write stays the same or is removed. No
/// new reference is needed, so the frame is not looked up.
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

/// Writes a leaf entry, which owns its frame, to the L1 entry that maps `address` for the caller.
/// Used for grant mappings.
///
/// # Errors
/// `EINVAL` if there is no L1 table for the address.
pub(crate) fn write_l1_for_va(caller: &Caller<'_>, address: GuestVirt, entry: Entry<L1>) -> Result<Entry<L1>, Errno> {
    let (table, index) = walk::leaf(caller.cpu, address).ok_or(Errno::EINVAL)?;
    table.replace(index, entry).map_err(|_| Errno::EINVAL)
}

/// Writes a leaf entry, which owns its frame, to the L1 entry at a machine address in one of the
/// caller's L1 tables.
///
/// # Errors
/// `EINVAL` if there is no such table or the address is not aligned.
pub(crate) fn write_l1_at(caller: &Caller<'_>, address: MachineAddr, entry: Entry<L1>) -> Result<Entry<L1>, Errno> {
    let (table, index) = l1_entry_at(caller, address)?;
    table.replace(index, entry).map_err(|_| Errno::EINVAL)
}

/// The caller's L1 table at a machine address, and the index of the entry in it.
///
/// # Errors
/// `EINVAL` if there is no such table or the address is not aligned.
pub(crate) fn l1_entry_at(caller: &Caller<'_>, address: MachineAddr) -> Result<(TypedRef<L1>, u16), Errno> {
    if !address.get().is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let frame = caller.domain.frame(Mfn::containing(address)).ok_or(Errno::EINVAL)?;
    let table = TypedRef::<L1>::existing(frame).map_err(|_| Errno::EINVAL)?;
    Ok((table, (address.get() >> 3 & 511) as u16))
}

/// Number of attempts to replace an entry that another vCPU or the processor changes concurrently.
const REPLACE_ATTEMPTS: u32 = 16;

/// Replaces an L1 entry whose bits satisfy `matches` by `entry`, which owns its frame. Returns the
/// old entry.
///
/// # Errors
/// Returns `entry` if the bits do not match, or change too often.
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
