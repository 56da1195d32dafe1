//! The FIFO ABI: an event word per port, in pages of the guest, and a queue per vCPU and priority
//! that links the words of pending events. The guest removes events at the head, Paravane appends
//! them at the tail.
//!
//! The guest can write all words at any time. Paravane reads only flags from them and follows no
//! link: the ends of the queues are in `tails`. A guest that violates the protocol can only lose
//! its own events.

use alloc::vec::Vec;
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::errno::Errno;
use abi::event_channel::{FifoControlBlock, fifo};
use machine::addr::PAGE_SIZE;
use machine::frames::SharedPage;
use machine::heap;
use machine::integers::{low_u8, saturating_u32};
use machine::speculation::MaskedIndex;

use super::ports::Raised;
use crate::domain::{Port, VcpuId};

const PENDING: u32 = 1 << fifo::PENDING;
const MASKED: u32 = 1 << fifo::MASKED;
const LINKED: u32 = 1 << fifo::LINKED;
const BUSY: u32 = 1 << fifo::BUSY;

const QUEUES: usize = fifo::MAX_QUEUES as usize;
/// Number of event words in a page.
const WORDS_PER_PAGE: u32 = saturating_u32(PAGE_SIZE / size_of::<u32>());
const DEFAULT_PRIORITY: u8 = low_u8(fifo::PRIORITY_DEFAULT as u64);
const MAX_PAGES: usize = (fifo::NR_CHANNELS / WORDS_PER_PAGE) as usize;

/// Maximum number of attempts to link. A guest that observes the protocol can disturb linking four
/// times, once for each flag that it may change.
const LINK_ATTEMPTS: u32 = 4;

/// A queue, by vCPU and priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct QueueId {
    vcpu: VcpuId,
    priority: u8,
}

/// The state of a port for this ABI.
#[derive(Debug)]
pub(super) struct FifoPort {
    priority: u8,
    /// The queue in which it was last linked.
    last: Option<QueueId>,
    /// It became pending before its event word existed.
    pending: bool,
}

impl FifoPort {
    pub(super) const fn new() -> Self {
        Self { priority: DEFAULT_PRIORITY, last: None, pending: false }
    }

    /// Starts the use of a port. The queue in which it was last linked is kept.
    pub(super) const fn start(&mut self) {
        self.priority = DEFAULT_PRIORITY;
        self.pending = false;
    }

    pub(super) const fn forget_pending(&mut self) {
        self.pending = false;
    }

    /// Whether it became pending before its event word existed.
    pub(super) const fn was_pending(&self) -> bool {
        self.pending
    }

    /// Sets the priority, and thereby the queue, of future events.
    ///
    /// # Errors
    /// `EINVAL` for a priority that does not exist.
    pub(super) fn set_priority(&mut self, priority: u32) -> Result<(), Errno> {
        if priority > fifo::PRIORITY_MIN {
            return Err(Errno::EINVAL);
        }
        self.priority = u8::try_from(priority).map_err(|_| Errno::EINVAL)?;
        Ok(())
    }
}

/// A vCPU's control block, and the last event of each of its queues.
struct Control {
    page: SharedPage,
    offset: usize,
    tails: [Port; QUEUES],
}

impl Control {
    fn ready(&self) -> &AtomicU32 {
        self.page.atomic_u32(self.offset + offset_of!(FifoControlBlock, ready))
    }

    /// The head of a queue. `priority` is below [`QUEUES`].
    fn head(&self, priority: u8) -> &AtomicU32 {
        self.page.atomic_u32(self.offset + offset_of!(FifoControlBlock, heads) + usize::from(priority) * 4)
    }
}

/// A domain's event words and queues.
pub(super) struct Fifo {
    pages: Vec<SharedPage>,
    control: Vec<Option<Control>>,
}

impl Fifo {
    /// The state without pages, for a domain with this many vCPUs.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn new(vcpus: usize) -> Result<Self, Errno> {
        let mut control = Vec::new();
        if heap::is_short() || control.try_reserve_exact(vcpus).is_err() {
            return Err(Errno::ENOMEM);
        }
        control.extend((0..vcpus).map(|_| None));
        Ok(Self { pages: Vec::new(), control })
    }

    /// Counts the references to the pages, for the recount of the frame table.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn count_held(&self, tally: &mut crate::testing::Tally) {
        let control = self.control.iter().flatten().map(|control| &control.page);
        self.pages.iter().chain(control).for_each(|page| tally.typed(page.frame().mfn()));
    }

    /// Sets a vCPU's control block, which must be within the page.
    ///
    /// # Errors
    /// `EINVAL` if it already has one, `ENOENT` if there is no such vCPU.
    pub(super) fn set_control(&mut self, vcpu: VcpuId, page: SharedPage, offset: usize) -> Result<(), Errno> {
        let slot = self.control.masked_mut(vcpu.index()).ok_or(Errno::ENOENT)?;
        if slot.is_some() {
            return Err(Errno::EINVAL);
        }
        *slot = Some(Control { page, offset, tails: [Port::NONE; QUEUES] });
        Ok(())
    }

    /// Adds a page of event words. Returns the ports that the words are for.
    ///
    /// # Errors
    /// `ENOSPC` if all ports have words, `ENOMEM`.
    pub(super) fn add_page(&mut self, page: SharedPage) -> Result<Range<Port>, Errno> {
        if self.pages.len() >= MAX_PAGES {
            return Err(Errno::ENOSPC);
        }
        self.pages.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let first = saturating_u32(self.pages.len()) * WORDS_PER_PAGE;
        self.pages.push(page);
        Ok(Port::new(first)..Port::new(first + WORDS_PER_PAGE))
    }

    fn word(&self, port: Port) -> Option<&AtomicU32> {
        let page = self.pages.masked((port.get() / WORDS_PER_PAGE) as usize)?;
        Some(page.atomic_u32((port.get() % WORDS_PER_PAGE) as usize * size_of::<u32>()))
    }

    fn has(&self, port: Port, flag: u32) -> bool {
        self.word(port).is_some_and(|word| word.load(Ordering::SeqCst) & flag != 0)
    }

    pub(super) fn is_linked(&self, port: Port) -> bool {
        self.has(port, LINKED)
    }

    pub(super) fn is_pending(&self, port: Port) -> bool {
        self.has(port, PENDING)
    }

    /// Clears the pending flag. The word stays linked: the guest removes it from its queue and
    /// finds it not pending.
    pub(super) fn clear_pending(&self, port: Port) {
        if let Some(word) = self.word(port) {
            word.fetch_and(!PENDING, Ordering::SeqCst);
        }
    }

    /// Unmasks a port. Returns `true` if it is pending and must be linked.
    pub(super) fn unmask(&self, port: Port) -> bool {
        self.word(port).is_some_and(|word| word.fetch_and(!MASKED, Ordering::SeqCst) & PENDING != 0)
    }

    pub(super) fn set_pending(&mut self, port: Port, vcpu: VcpuId, state: &mut FifoPort) -> Raised {
        let Some(word) = self.word(port) else {
            state.pending = true;
            return Raised::nothing(port);
        };
        state.pending = false;
        let before = word.fetch_or(PENDING, Ordering::SeqCst);
        let told =
            before & (MASKED | LINKED) == 0 && self.link(port, QueueId { vcpu, priority: state.priority }, state);
        Raised { port, notify: told.then_some(vcpu), newly: before & PENDING == 0 }
    }

    fn control(&mut self, vcpu: VcpuId) -> Option<&mut Control> {
        self.control.masked_mut(vcpu.index())?.as_mut()
    }

    fn tail(&mut self, queue: QueueId) -> Option<&mut Port> {
        self.control(queue.vcpu)?.tails.masked_mut(usize::from(queue.priority))
    }

    /// Appends a port to a queue. Returns `true` if the vCPU must be notified.
    fn link(&mut self, port: Port, queue: QueueId, state: &mut FifoPort) -> bool {
        if self.tail(queue).is_none() {
            return false;
        }
        let Some(word) = self.word(port) else { return false };
        if word.fetch_or(LINKED, Ordering::SeqCst) & LINKED != 0 {
            return false;
        }
        // If the port was the last of a queue, that queue is empty: LINKED was clear, so the guest
        // has removed the port.
        if let Some(last) = state.last.and_then(|last| self.tail(last))
            && *last == port
        {
            *last = Port::NONE;
        }
        state.last = Some(queue);
        let Some(tail) = self.tail(queue) else { return false };
        let before = core::mem::replace(tail, port);
        let appended = before != Port::NONE && self.append(before, port);
        let Some(control) = self.control(queue.vcpu) else { return false };
        if appended {
            return false;
        }
        control.head(queue.priority).store(port.get(), Ordering::SeqCst);
        let bit = 1 << queue.priority;
        control.ready().fetch_or(bit, Ordering::SeqCst) & bit == 0
    }

    /// Makes the last word of a queue point to `port`. Returns `false` if the guest has removed
    /// that word, so that the queue is empty.
    fn append(&self, tail: Port, port: Port) -> bool {
        let Some(word) = self.word(tail) else { return false };
        let try_once = || {
            let found = word.load(Ordering::SeqCst);
            if found & LINKED == 0 {
                return Some(false);
            }
            let linked = found & !(BUSY | fifo::LINK_MASK) | port.get();
            word.compare_exchange(found, linked, Ordering::SeqCst, Ordering::SeqCst).ok().map(|_| true)
        };
        if let Some(appended) = try_once() {
            return appended;
        }
        // From here on, the guest waits before it unmasks.
        word.fetch_or(BUSY, Ordering::SeqCst);
        let appended = (0..LINK_ATTEMPTS).find_map(|_| try_once());
        if appended != Some(true) {
            word.fetch_and(!BUSY, Ordering::SeqCst);
        }
        // A guest that violates the protocol loses this event and those after it.
        appended.unwrap_or(true)
    }
}
