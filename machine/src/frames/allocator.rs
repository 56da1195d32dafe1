#![expect(unsafe_code, reason = "makes allocations of frames from the free lists")]
//! The frame allocator: a buddy allocator whose lists are linked through the frame table.
//!
//! There are lists for each width of frame numbers. Allocations without an address limit get the
//! highest frames, to keep low frames for devices.
//!
//! A frame is cleared, and stale translations of it are flushed, when it is allocated. So no owner
//! sees the data of another.

#![expect(
    clippy::indexing_slicing,
    reason = "zones and orders are those of blocks; an order from a guest is a shift count only"
)]

use core::sync::atomic::{AtomicU64, Ordering};

use abi::xen::DomainId;

use super::access;
use super::list::link;
use super::reference::Allocation;
use super::slot::{self, NO_FRAME, Slot};
use crate::addr::{Mfn, PAGE_SHIFT};
use crate::integers::low_u8;
use crate::sync::{Level, SpinLock};
use crate::tlb::clock as tlb_clock;

/// `Slot::block`: the frame is memory managed by this allocator.
pub(super) const RAM: u16 = 1 << 15;
/// `Slot::block`: the frame is on its owner's `FrameList`.
pub(super) const LISTED: u16 = 1 << 14;
/// `Slot::block`: the frame is the first of a free block, whose order is in the low bits.
const FREE_HEAD: u16 = 1 << 13;
const ORDER_MASK: u16 = 0x1f;

/// Maximum width of memory addresses in bits.
pub(super) const ADDRESS_BITS: u32 = 64;
/// The largest block is 2^MAX_ORDER frames: 1 GiB.
const MAX_ORDER: u8 = 18;

static FREE: AtomicU64 = AtomicU64::new(0);
static TOTAL: AtomicU64 = AtomicU64::new(0);
/// Number of zones: frame numbers have up to 32 significant bits; frame 0 has none.
const ZONES: usize = 33;

static BLOCKS: SpinLock<Blocks> = SpinLock::new(
    Level::FrameAllocator,
    Blocks { heads: [[NO_FRAME; MAX_ORDER as usize + 1]; ZONES], filled: [0; ZONES] },
);

/// The lists of free blocks, by zone and order.
struct Blocks {
    heads: [[u32; MAX_ORDER as usize + 1]; ZONES],
    /// A bit mask for each zone of the orders whose lists are not empty.
    filled: [u32; ZONES],
}

/// The zone of an aligned block: the number of significant bits of its frame numbers, which is the
/// same for all of them, since frame 0 is a block of its own.
const fn zone(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

/// The number of free frames.
pub fn free_frames() -> u64 {
    FREE.load(Ordering::SeqCst)
}

/// The number of frames managed by the allocator, free or not.
pub fn total_frames() -> u64 {
    TOTAL.load(Ordering::SeqCst)
}

/// Adds the frames `[start, end)` to the allocator. Boot calls this once for each unused range.
///
/// # Panics
/// If a frame of the range is managed already or beyond the frame table.
pub fn add_free_range(start: Mfn, end: Mfn) {
    for number in start.get()..end.get() {
        let before = slot::referenced(Mfn::new(number)).block.swap(RAM, Ordering::Relaxed);
        assert!(before == 0, "frame {number:#x} was given to the allocator twice");
    }
    let mut number = start.get();
    let mut blocks = BLOCKS.lock();
    while number < end.get() {
        let mut order = if number == 0 { 0 } else { low_u8(number.trailing_zeros().into()).min(MAX_ORDER) };
        while number + (1 << order) > end.get() {
            order -= 1;
        }
        blocks.insert(number, order);
        number += 1 << order;
    }
    drop(blocks);
    FREE.fetch_add(end.get() - start.get(), Ordering::SeqCst);
    TOTAL.fetch_add(end.get() - start.get(), Ordering::SeqCst);
}

/// Allocates a cleared frame for `owner`; `None` if there is no free frame.
pub fn allocate(owner: DomainId) -> Option<Allocation> {
    let first = take(0, ADDRESS_BITS)?;
    // SAFETY: the frame was just taken off the free lists.
    Some(unsafe { prepare(first, owner) })
}

/// Clears a frame that has just been taken and assigns it to `owner`.
///
/// # Safety
/// The frame must have been taken off the free lists by the caller, and must not have been prepared
/// yet (FT-8).
pub(super) unsafe fn prepare(number: u64, owner: DomainId) -> Allocation {
    let mfn = Mfn::new(number);
    let slot = slot::referenced(mfn);
    slot.ensure_flushed();
    let cleared = slot.update_usage(|_| Some(slot::Use::NONE));
    assert!(cleared.is_ok_and(|before| before.count == 0 && !before.owns_entries()), "{mfn:?} was free and in use");
    // SAFETY: the caller has taken the frame, and no translation of it is left, so nothing else can
    // access it.
    unsafe { access::zero(mfn) };
    // SAFETY: as above.
    unsafe { Allocation::new(mfn, owner) }
}

/// Frees a frame whose last reference has been dropped.
pub(super) fn free(mfn: Mfn) {
    slot::referenced(mfn).stamp.store(tlb_clock::now(), Ordering::SeqCst);
    put_back(mfn.get(), 0);
}

/// Puts a block that has been taken, or a frame that was freed, on the free lists.
pub(super) fn put_back(mut number: u64, mut order: u8) {
    FREE.fetch_add(1 << order, Ordering::SeqCst);
    let mut blocks = BLOCKS.lock();
    while order < MAX_ORDER {
        let buddy = number ^ (1 << order);
        let merges = number & !(1 << order) != 0
            && slot::slot(Mfn::new(buddy))
                .is_some_and(|slot| slot.block.load(Ordering::Relaxed) == RAM | FREE_HEAD | u16::from(order));
        if !merges {
            break;
        }
        blocks.remove(buddy, order);
        number &= !(1 << order);
        order += 1;
    }
    blocks.insert(number, order);
}

/// Takes a block off the free lists; see [`super::Block::take`].
pub(super) fn take(order: u8, address_bits: u32) -> Option<u64> {
    if order > MAX_ORDER {
        return None;
    }
    let highest = (address_bits.checked_sub(PAGE_SHIFT)? as usize).min(ZONES - 1);
    let mut blocks = BLOCKS.lock();
    let fits = |zone: usize| blocks.filled[zone] >> order << order;
    let zone = (0..=highest).rev().find(|&zone| fits(zone) != 0)?;
    let found = low_u8(fits(zone).trailing_zeros().into());
    let number = u64::from(blocks.heads[zone][usize::from(found)]);
    blocks.remove(number, found);
    for order in (order..found).rev() {
        blocks.insert(number + (1 << order), order);
    }
    drop(blocks);
    FREE.fetch_sub(1 << order, Ordering::SeqCst);
    Some(number)
}

fn link_slot(index: u32) -> &'static Slot {
    slot::referenced(Mfn::new(u64::from(index)))
}

impl Blocks {
    fn insert(&mut self, number: u64, order: u8) {
        let zone = zone(number);
        self.filled[zone] |= 1 << order;
        let head = &mut self.heads[zone][usize::from(order)];
        let slot = slot::referenced(Mfn::new(number));
        let index = link(Mfn::new(number));
        slot.previous.store(NO_FRAME, Ordering::Relaxed);
        slot.next.store(*head, Ordering::Relaxed);
        if *head != NO_FRAME {
            link_slot(*head).previous.store(index, Ordering::Relaxed);
        }
        *head = index;
        slot.block.store(RAM | FREE_HEAD | u16::from(order), Ordering::Relaxed);
    }

    fn remove(&mut self, number: u64, order: u8) {
        let slot = slot::referenced(Mfn::new(number));
        let (next, previous) = (slot.next.load(Ordering::Relaxed), slot.previous.load(Ordering::Relaxed));
        if next != NO_FRAME {
            link_slot(next).previous.store(previous, Ordering::Relaxed);
        }
        if previous == NO_FRAME {
            let zone = zone(number);
            self.heads[zone][usize::from(order)] = next;
            if next == NO_FRAME {
                self.filled[zone] &= !(1 << order);
            }
        } else {
            link_slot(previous).next.store(next, Ordering::Relaxed);
        }
        slot.block.fetch_and(!(FREE_HEAD | ORDER_MASK), Ordering::Relaxed);
    }
}
