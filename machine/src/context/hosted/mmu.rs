#![expect(unsafe_code, reason = "accesses simulated memory as the processor would")]
//! Accesses as the processor would perform them: by this CPU's TLB (`tlb::simulated`), or by a walk
//! from the loaded root through frames, by the bits in memory. A page-table write that would affect
//! hardware therefore takes effect here, and only when it would there.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{GuestVirt, MachineAddr, Mfn, PAGE_SHIFT};
use crate::context::guest_context::{GuestContext, KERNEL, USER};
use crate::frames::reach;
use crate::pte::{LeafFlags, RawEntry};
use crate::tlb::root_copies;
use crate::tlb::simulated::{self, Cached, Place, Root, Tlb};
use crate::{per_cpu, ram};

/// The kind of access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
}

/// Loads the root table of the context's mode, for Rust code or for a guest without split roots.
pub(crate) fn load(context: &GuestContext, why: &'static str) {
    simulated::here().load(Some(full_root(context)), why);
}

/// Loads the restricted root of the context's mode.
pub(crate) fn load_restricted(context: &GuestContext) {
    let table = in_mode(context, &context.guest_roots);
    let root = Root { table, restricted: true, ..full_root(context) };
    simulated::here().load(Some(root), "the return to the guest");
}

/// Loads Paravane's own root table.
pub(crate) fn unload() {
    simulated::here().load(None, "leaving the guest's root");
}

fn full_root(context: &GuestContext) -> Root {
    let table = in_mode(context, &context.full_roots);
    Root { table, holder: context.owner(), context: core::ptr::from_ref(context).addr(), restricted: false }
}

const fn in_mode(context: &GuestContext, roots: &[u64; 2]) -> Mfn {
    Mfn::containing(MachineAddr::new(roots[if context.in_kernel != 0 { KERNEL } else { USER }]))
}

/// Whether this CPU has loaded a root of the context.
///
/// # Panics
/// If the root table of its mode was set but not loaded.
pub(crate) fn is_loaded(context: &GuestContext) -> bool {
    let Some(loaded) = simulated::here().root() else { return false };
    let is_loaded = loaded.context == core::ptr::from_ref(context).addr();
    assert!(!is_loaded || loaded == full_root(context), "the root of the loaded vCPU was set but not loaded");
    is_loaded
}

/// Whether this CPU has loaded a root of the context, maybe not the current one.
pub(crate) fn is_context_loaded(context: &GuestContext) -> bool {
    simulated::here().root().is_some_and(|root| root.context == core::ptr::from_ref(context).addr())
}

/// Performs INVLPG.
pub(crate) fn flush_page(address: GuestVirt) {
    simulated::here().drop_page(address);
}

/// Performs an access of the processor by `act`, on the frame at `address`, by the translation in
/// this CPU's TLB if there is one. Returns `false` if ring 3 may not access the address like this.
pub(crate) fn access(address: GuestVirt, access: Access, act: impl FnOnce(Mfn)) -> bool {
    let mut tlb = simulated::here();
    speculate(&mut tlb);
    let place = Place::of(0, address);
    let cached = tlb.find(place).filter(|cached| access == Access::Read || cached.writable);
    let Some(found) = cached.or_else(|| walk_from_caches(&mut tlb, address, access)) else { return false };
    check_access(&tlb, place, found, access);
    if found.frame.get() >= ram::frame_count() {
        return false;
    }
    act(found.frame);
    true
}

/// The guest runs for a moment: it accesses memory through whatever its TLB holds.
pub(crate) fn run_guest() {
    for _ in 0..ROUNDS_OF_GUEST {
        let mut tlb = simulated::here();
        // The vCPU would have been interrupted, to copy its roots again.
        if tlb.root().is_none_or(|root| root.restricted && root_copies::is_stale()) {
            return;
        }
        for _ in 0..FILLS_OF_GUEST {
            fill_at_random(&mut tlb);
        }
        check_all(&tlb);
    }
}

/// Number of times that a guest accesses everything while it runs, and of walks before each.
const ROUNDS_OF_GUEST: usize = 2;
const FILLS_OF_GUEST: usize = 4;

/// One in this many accesses is preceded by a random walk.
const SPECULATION: usize = 32;

/// The processor may walk the tables at any time. Here it does so before some of the accesses.
fn speculate(tlb: &mut Tlb) {
    if tlb.random(SPECULATION) == 0 {
        fill_at_random(tlb);
    }
}

/// Checks an access through each translation of the TLB.
fn check_all(tlb: &Tlb) {
    for (place, cached) in tlb.entries().filter(|(place, _)| place.level == 0) {
        check_access(tlb, place, cached, if cached.writable { Access::Write } else { Access::Read });
    }
}

/// # Panics
/// If the frame table does not permit the access at this moment.
fn check_access(tlb: &Tlb, place: Place, found: Cached, access: Access) {
    let holder = tlb.root().expect("an access needs a root").holder;
    if let Some(objection) = reach::objection_to_access(found.frame, access == Access::Write, holder) {
        let described = tlb.describe(per_cpu::current(), place, found);
        panic!("{access:?} access to a frame that {objection}: {described}; {}", reach::describe(found.frame));
    }
}

/// # Panics
/// If the frame table does not permit the walk at this moment.
fn check_walk(tlb: &Tlb, root: Root, place: Place, link: Cached) {
    if place.level == 4 && root.restricted {
        return;
    }
    if let Some(objection) = reach::objection_to_walk(link.frame, place.level, root.holder) {
        let described = tlb.describe(per_cpu::current(), place, link);
        panic!("walk of a frame that {objection}: {described}; {}", reach::describe(link.frame));
    }
}

/// The table nearest to the page at `address` that is cached, or the root.
fn start_of_walk(tlb: &Tlb, root: Root, address: GuestVirt) -> (u8, Cached) {
    (1..4)
        .find_map(|level| Some((level, tlb.find(Place::of(level, address))?)))
        .unwrap_or_else(|| (4, Cached::new(root.table, true, false)))
}

/// Walks as the processor does, and caches what it finds.
fn walk_from_caches(tlb: &mut Tlb, address: GuestVirt, access: Access) -> Option<Cached> {
    let root = tlb.root().expect("a walk needs a root");
    let (mut level, mut link) = start_of_walk(tlb, root, address);
    loop {
        check_walk(tlb, root, Place::of(level, address), link);
        let raw = step(link.frame, level, address, access, link.writable)?;
        level -= 1;
        link = next(link, level, raw);
        tlb.fill(Place::of(level, address), link);
        if level == 0 {
            return Some(link);
        }
    }
}

/// Caches a random translation, and the links to it, as the processor may without an access.
/// Follows entries with the accessed bit only, so that memory does not change.
fn fill_at_random(tlb: &mut Tlb) {
    let Some(root) = tlb.root() else { return };
    let mut address = GuestVirt::new(0);
    let (mut level, mut link) = (4, Cached::new(root.table, true, false));
    while level != 0 {
        check_walk(tlb, root, Place::of(level, address), link);
        let Some((index, raw)) = random_entry(tlb, link.frame) else { return };
        address = with_index(address, level, index);
        level -= 1;
        let place = Place::of(level, address);
        // What is cached is kept and followed, however old it is.
        link = tlb.find(place).unwrap_or_else(|| next(link, level, raw));
        tlb.fill(place, link);
    }
}

/// A random entry of the table that ring 3 may use and has used, with its index. The search begins
/// at a low index in most cases and goes down, since most tables of tests are empty above.
fn random_entry(tlb: &mut Tlb, table: Mfn) -> Option<(usize, RawEntry)> {
    const NEEDED: u64 = LeafFlags::PRESENT.union(LeafFlags::USER).union(LeafFlags::ACCESSED).bits();
    let range = if tlb.random(4) == 0 { 512 } else { 32 };
    let start = tlb.random(range);
    let mut index = start;
    loop {
        let raw = entry(table, index).load(Ordering::Relaxed);
        if raw & NEEDED == NEEDED {
            return Some((index, RawEntry::new(raw)));
        }
        index = if index == 0 { 511 } else { index - 1 };
        if index == start {
            return None;
        }
    }
}

/// The canonical address with `index` in the table of `level`.
fn with_index(address: GuestVirt, level: u8, index: usize) -> GuestVirt {
    let address = address.get() | (index as u64) << (PAGE_SHIFT + 9 * (u32::from(level) - 1));
    GuestVirt::new(((address << 16).cast_signed() >> 16).cast_unsigned())
}

/// What an entry, now in the table of `level + 1`, gives to the processor.
fn next(link: Cached, level: u8, raw: RawEntry) -> Cached {
    let flags = raw.flags();
    let is_page = level == 0;
    let writable = link.writable && raw.is_writable() && (!is_page || flags.contains(LeafFlags::DIRTY));
    Cached::new(raw.frame(), writable, is_page && flags.contains(LeafFlags::GLOBAL))
}

/// Uses an entry for an access of ring 3: sets its accessed bit, and its dirty bit if it is a leaf
/// that is written through. Returns the entry, or `None` if it does not permit the access.
fn step(table: Mfn, level: u8, address: GuestVirt, access: Access, above_writable: bool) -> Option<RawEntry> {
    let slot = entry(table, address.index(level.into()));
    loop {
        let raw = RawEntry::new(slot.load(Ordering::Acquire));
        let user = raw.flags().contains(LeafFlags::USER);
        let permits = access == Access::Read || above_writable && raw.is_writable();
        if !raw.is_present() || !user || !permits {
            return None;
        }
        let is_written = level == 1 && access == Access::Write;
        let used = if is_written { LeafFlags::ACCESSED | LeafFlags::DIRTY } else { LeafFlags::ACCESSED };
        let wanted = raw.get() | used.bits();
        if wanted == raw.get() || slot.compare_exchange(raw.get(), wanted, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            return Some(RawEntry::new(wanted));
        }
    }
}

/// Walks from `root` without any cache; sets accessed and dirty bits as the processor does.
pub fn walk(root: Mfn, address: GuestVirt, access: Access) -> Option<Mfn> {
    let mut table = root;
    for level in (1..=4).rev() {
        if table.get() >= ram::frame_count() {
            return None;
        }
        table = step(table, level, address, access, true)?.frame();
    }
    (table.get() < ram::frame_count()).then_some(table)
}

pub(super) fn entry(table: Mfn, index: usize) -> &'static AtomicU64 {
    // SAFETY: the frame is in the simulated memory, which is never freed; the index is below 512.
    unsafe { &*ram::direct_map(table).cast::<AtomicU64>().wrapping_add(index) }
}

/// The bits of an entry.
pub(crate) fn raw_entry(table: Mfn, index: usize) -> u64 {
    entry(table, index).load(Ordering::Relaxed)
}

/// Reads bytes of one frame.
pub(crate) fn read(frame: Mfn, offset: usize, to: &mut [u8]) {
    // SAFETY: the caller splits at page boundaries, so the range is in the frame.
    unsafe { ram::shared_copy(to.as_mut_ptr(), ram::direct_map(frame).wrapping_add(offset), to.len()) };
}

/// Writes bytes of one frame.
pub(crate) fn write(frame: Mfn, offset: usize, from: &[u8]) {
    // SAFETY: the caller splits at page boundaries, so the range is in the frame.
    unsafe { ram::shared_copy(ram::direct_map(frame).wrapping_add(offset), from.as_ptr(), from.len()) };
}
