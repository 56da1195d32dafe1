//! The hardware domain's physical interrupts (pirqs). The I/O APICs' lines come first, under their
//! own numbers, followed by messages. A mapped pirq can be bound to an event channel. It is then
//! unmasked and sent to the home pCPU of the notified vCPU.
//!
//! - **HI-1** A line is masked unless it is bound. A level-triggered one is masked from its
//!   interrupt until the domain's EOI.
//! - **HI-2** A pirq's vector is allocated as long as the device may send it: for messages while
//!   mapped, for lines while bound.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use abi::errno::Errno;
use machine::addr::CpuId;
use machine::frames::SharedPage;
use machine::hardware::Hardware;
use machine::hardware::lines::Wiring;
use machine::hardware::pci::Function;
use machine::hardware::vector::{Trigger, Vector};
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;
use machine::sync::{Level, SpinLock, SpinLockGuard};

use super::message::{self, Messages};
use crate::domain::{Domain, Port, VcpuId};

/// Number of pirqs in addition to those of lines.
pub(crate) const MESSAGES: u32 = 256;
/// Consecutive interrupts on a pCPU other than the vCPU's before they are redirected.
const MAX_ASTRAY: u32 = 64;

static TABLE: SpinLock<Table> = SpinLock::new(Level::Hardware, Table { slots: Vec::new(), served_page: None });

struct Table {
    slots: Vec<Slot>,
    /// The domain's page with a bit for each pirq that needs an EOI.
    served_page: Option<SharedPage>,
}

#[derive(Default)]
struct Slot {
    usage: Usage,
    /// The trigger mode and polarity that the hardware domain has set for the line.
    wiring: Option<Wiring>,
    vector: Option<Vector>,
    /// The previous vector, kept because interrupts that it delivered may still be pending.
    former: Option<Vector>,
    bound: Option<Binding>,
    /// A level-triggered interrupt has been delivered and the domain has not sent its EOI.
    in_service: bool,
    /// Consecutive interrupts on a pCPU other than the vCPU's.
    astray: u32,
}

#[derive(Default)]
enum Usage {
    #[default]
    Free,
    /// Allocated, but not mapped.
    Allocated,
    Line,
    Message {
        function: Function,
        messages: Messages,
    },
    /// One of several MSI messages of a function. Their common state is in the slot of the first.
    Part {
        first: u32,
    },
}

#[derive(Clone)]
struct Binding {
    domain: Weak<Domain>,
    port: Port,
    vcpu: VcpuId,
}

impl Binding {
    /// The vCPU's home pCPU.
    fn cpu(&self) -> CpuId {
        let domain = self.domain.upgrade();
        let vcpu = domain.as_ref().and_then(|domain| domain.vcpu(self.vcpu));
        vcpu.map_or(CpuId::BOOT, |vcpu| vcpu.scheduling.home())
    }
}

fn lock(hardware: &Hardware) -> SpinLockGuard<'static, Table> {
    let count = count(hardware) as usize;
    let mut table = TABLE.lock();
    if table.slots.len() < count {
        table.slots.resize_with(count, Slot::default);
    }
    table
}

/// The number of pirqs.
pub(crate) fn count(hardware: &Hardware) -> u32 {
    hardware.line_count() + MESSAGES
}

impl Table {
    fn slot(&mut self, number: u32) -> Result<&mut Slot, Errno> {
        self.slots.masked_mut(number as usize).ok_or(Errno::EINVAL)
    }

    /// The first of `count` free message pirqs, aligned to `count`.
    fn find_free(&self, hardware: &Hardware, count: u32) -> Result<u32, Errno> {
        let first = hardware.line_count().next_multiple_of(count);
        let all = (first..saturating_u32(self.slots.len())).step_by(count as usize);
        let is_free =
            |number: u32| self.slots.masked(number as usize).is_some_and(|slot| matches!(slot.usage, Usage::Free));
        all.into_iter().find(|&first| (first..first + count).all(is_free)).ok_or(Errno::ENOSPC)
    }

    /// Sets in the domain's page whether `number` needs an EOI.
    fn publish(&self, number: u32, wanted: bool) {
        use core::sync::atomic::Ordering;
        let Some(page) = &self.served_page else { return };
        let word = page.atomic_u64((number / 64 * 8) as usize % machine::addr::PAGE_SIZE);
        match wanted {
            true => word.fetch_or(1 << (number % 64), Ordering::SeqCst),
            false => word.fetch_and(!(1 << (number % 64)), Ordering::SeqCst),
        };
    }
}

impl Slot {
    fn wiring(&self, hardware: &Hardware, line: u32) -> Wiring {
        self.wiring.unwrap_or_else(|| hardware.default_wiring(line))
    }

    fn is_level(&self, hardware: &Hardware, number: u32) -> bool {
        matches!(self.usage, Usage::Line) && self.wiring(hardware, number).trigger == Trigger::Level
    }

    /// Routes a bound line's interrupts to `cpu`, and unmasks it unless it is in service.
    fn connect(&mut self, hardware: &Hardware, line: u32, cpu: CpuId) -> Result<(), Errno> {
        let wiring = self.wiring(hardware, line);
        let vector = hardware.allocate_vector(line, 1, wiring.trigger, cpu, None).ok_or(Errno::ENOSPC)?;
        hardware.connect_line(line, wiring, &vector);
        self.former = self.vector.replace(vector);
        hardware.mask_line(line, self.in_service);
        Ok(())
    }
}

/// Maps a line, whose pirq has the same number.
pub(crate) fn map_line(hardware: &Hardware, line: u32) -> Result<u32, Errno> {
    if line >= hardware.line_count() {
        return Err(Errno::EINVAL);
    }
    let mut table = lock(hardware);
    let slot = table.slot(line)?;
    if matches!(slot.usage, Usage::Free | Usage::Allocated) {
        slot.usage = Usage::Line;
    }
    Ok(line)
}

/// Sets the trigger mode and polarity of a line. This can be done once.
pub(crate) fn set_wiring(hardware: &Hardware, line: u32, wiring: Wiring) -> Result<(), Errno> {
    if line >= hardware.line_count() {
        return Err(Errno::EINVAL);
    }
    let mut table = lock(hardware);
    let slot = table.slot(line)?;
    if slot.wiring.is_some() {
        return Err(Errno::EEXIST);
    }
    slot.wiring = Some(wiring);
    let bound = slot.bound.clone();
    if let Some(binding) = bound {
        slot.connect(hardware, line, binding.cpu())?;
        table.publish(line, wiring.trigger == Trigger::Level);
    }
    Ok(())
}

/// Maps `count` messages (a power of two) of a function's MSI, or one of its MSI-X entries. Returns
/// the first pirq.
pub(crate) fn map_messages(
    hardware: &Hardware,
    function: Function,
    wanted: Option<u32>,
    count: u8,
    entry: Option<(u16, u64)>,
) -> Result<u32, Errno> {
    if !message::exists(hardware, function) {
        return Err(Errno::ENODEV);
    }
    let mut table = lock(hardware);
    let number = match wanted {
        Some(number) if matches!(table.slot(number)?.usage, Usage::Allocated) && count == 1 => number,
        Some(_) => return Err(Errno::EBUSY),
        None => table.find_free(hardware, count.into())?,
    };
    let messages = match entry {
        Some((index, table_base)) => message::msix(hardware, function, index, table_base)?,
        None => message::msi(hardware, function, count)?,
    };
    let vector = hardware.allocate_vector(number, count, Trigger::Edge, CpuId::BOOT, None).ok_or(Errno::ENOSPC)?;
    messages.set(hardware, function, &vector);
    let slot = table.slot(number)?;
    *slot = Slot { usage: Usage::Message { function, messages }, vector: Some(vector), ..Slot::default() };
    for part in 1..u32::from(count) {
        table.slot(number + part)?.usage = Usage::Part { first: number };
    }
    Ok(number)
}

/// Allocates a pirq that is mapped later.
pub(crate) fn allocate(hardware: &Hardware) -> Result<u32, Errno> {
    let mut table = lock(hardware);
    let number = table.find_free(hardware, 1)?;
    table.slot(number)?.usage = Usage::Allocated;
    Ok(number)
}

/// Unmaps a pirq: its line is masked, or its device is stopped from sending messages. Several MSI
/// messages are unmapped together, by the first pirq.
pub(crate) fn unmap(hardware: &Hardware, number: u32) -> Result<(), Errno> {
    let mut table = lock(hardware);
    let slot = table.slot(number)?;
    let usage = match &slot.usage {
        Usage::Free | Usage::Part { .. } => return Err(Errno::EINVAL),
        _ => core::mem::take(&mut slot.usage),
    };
    slot.bound = None;
    slot.in_service = false;
    match usage {
        Usage::Line => hardware.mask_line(number, true),
        Usage::Message { function, messages } => messages.switch_off(hardware, function),
        _ => {}
    }
    (slot.vector, slot.former) = (None, None);
    table.publish(number, false);
    for slot in &mut table.slots {
        if matches!(slot.usage, Usage::Part { first } if first == number) {
            *slot = Slot::default();
        }
    }
    Ok(())
}

/// Binds a pirq to a port. Its interrupts then make the port pending.
///
/// # Errors
/// `EINVAL` if the pirq is not mapped, `EEXIST` if it is bound, `EBUSY` if Paravane uses the line.
pub(crate) fn bind(
    hardware: &Hardware,
    domain: &Arc<Domain>,
    number: u32,
    port: Port,
    vcpu: VcpuId,
) -> Result<(), Errno> {
    let mut table = lock(hardware);
    let slot = table.slot(number)?;
    if slot.bound.is_some() {
        return Err(Errno::EEXIST);
    }
    let binding = Binding { domain: Arc::downgrade(domain), port, vcpu };
    let cpu = binding.cpu();
    match &slot.usage {
        Usage::Free | Usage::Allocated => return Err(Errno::EINVAL),
        Usage::Line if !hardware.has_line(number) => return Err(Errno::EBUSY),
        Usage::Line => {
            slot.in_service = false;
            slot.connect(hardware, number, cpu)?;
        }
        Usage::Message { .. } | Usage::Part { .. } => {}
    }
    slot.bound = Some(binding);
    let is_level = slot.is_level(hardware, number);
    table.publish(number, is_level);
    table.send_to(hardware, number, cpu);
    table.mask_message(hardware, number, false);
    Ok(())
}

/// Unbinds a pirq whose port is closed.
pub(crate) fn unbind(hardware: &Hardware, number: u32, port: Port) {
    let mut table = lock(hardware);
    let Ok(slot) = table.slot(number) else { return };
    if slot.bound.as_ref().is_none_or(|bound| bound.port != port) {
        return;
    }
    slot.bound = None;
    slot.in_service = false;
    if matches!(slot.usage, Usage::Line) {
        hardware.mask_line(number, true);
        (slot.vector, slot.former) = (None, None);
    }
    table.publish(number, false);
    table.mask_message(hardware, number, true);
}

/// Redirects a pirq's interrupts after its port has been bound to another vCPU.
pub(crate) fn notify(hardware: &Hardware, number: u32, port: Port, vcpu: VcpuId) {
    let mut table = lock(hardware);
    let Ok(Slot { bound: Some(bound), .. }) = table.slot(number) else { return };
    if bound.port == port {
        bound.vcpu = vcpu;
        let cpu = bound.cpu();
        table.send_to(hardware, number, cpu);
    }
}

impl Table {
    /// Redirects a pirq's interrupts to a pCPU, if that is possible without losing any.
    fn send_to(&mut self, hardware: &Hardware, number: u32, cpu: CpuId) {
        let Ok(slot) = self.slot(number) else { return };
        slot.astray = 0;
        let Some(old) = slot.vector.as_ref().filter(|vector| vector.cpu() != cpu) else { return };
        match &slot.usage {
            Usage::Line => {
                hardware.mask_line(number, true);
                let _ = slot.connect(hardware, number, cpu);
            }
            Usage::Message { function, messages } => {
                let first = old.first();
                let count = match messages {
                    Messages::Msi { count, .. } => *count,
                    Messages::Msix(_) => 1,
                };
                let new = hardware.allocate_vector(number, count, Trigger::Edge, cpu, Some(first));
                let Some(new) = new.filter(|new| new.cpu() != old.cpu()) else { return };
                // With the same vector, only the address changes, in one write.
                if new.first() == first || messages.can_change(hardware, *function) {
                    messages.set(hardware, *function, &new);
                    slot.former = slot.vector.replace(new);
                }
            }
            _ => {}
        }
    }

    /// Masks or unmasks one message.
    fn mask_message(&mut self, hardware: &Hardware, number: u32, masked: bool) {
        let first = match self.slot(number).map(|slot| &slot.usage) {
            Ok(Usage::Part { first }) => *first,
            Ok(Usage::Message { .. }) => number,
            _ => return,
        };
        if let Ok(Slot { usage: Usage::Message { function, messages }, .. }) = self.slot(first) {
            messages.mask(hardware, *function, 1 << (number - first), masked);
        }
    }
}

/// Handles the domain's EOI: a line that was masked at its interrupt is unmasked.
pub(crate) fn served(hardware: &Hardware, number: u32) -> Result<(), Errno> {
    let mut table = lock(hardware);
    let slot = table.slot(number)?;
    if core::mem::take(&mut slot.in_service) && slot.bound.is_some() {
        hardware.mask_line(number, false);
    }
    Ok(())
}

/// Whether the domain has to send an EOI for this pirq.
pub(crate) fn needs_eoi(hardware: &Hardware, number: u32) -> Result<bool, Errno> {
    Ok(lock(hardware).slot(number)?.is_level(hardware, number))
}

/// Registers the page with a bit for each pirq that needs an EOI.
pub(crate) fn publish_in(hardware: &Hardware, page: SharedPage) -> Result<(), Errno> {
    let mut table = lock(hardware);
    if table.served_page.is_some() {
        return Err(Errno::EBUSY);
    }
    table.served_page = Some(page);
    for number in 0..saturating_u32(table.slots.len()) {
        let slot = table.slot(number)?;
        let wanted = slot.bound.is_some() && slot.is_level(hardware, number);
        table.publish(number, wanted);
    }
    Ok(())
}

/// Rewrites the messages of a function after the function has lost them, for example by a reset.
/// Returns the number of slots that were restored.
pub(crate) fn restore(hardware: &Hardware, function: Function) -> u32 {
    let mut restored = 0;
    for slot in &lock(hardware).slots {
        if let (Usage::Message { function: found, messages }, Some(vector)) = (&slot.usage, &slot.vector)
            && *found == function
        {
            messages.set(hardware, function, vector);
            messages.mask(hardware, function, u32::MAX, slot.bound.is_none());
            restored += 1;
        }
    }
    restored
}

/// Takes the interrupts that are pending on this pCPU, and calls `raise` with the domain, the port
/// and the pirq of each that is bound.
pub(crate) fn deliver(here: CpuId, raise: impl Fn(&Arc<Domain>, Port, u32)) {
    let Some(hardware) = super::any() else { return };
    while let Some(number) = hardware.take_interrupt() {
        let mut table = lock(hardware);
        let Ok(slot) = table.slot(number) else { continue };
        if slot.is_level(hardware, number) {
            slot.in_service = true;
        }
        let Some(binding) = slot.bound.clone() else { continue };
        let cpu = binding.cpu();
        slot.astray = if cpu == here { 0 } else { slot.astray + 1 };
        if slot.astray >= MAX_ASTRAY {
            table.send_to(hardware, number, cpu);
        }
        drop(table);
        if let Some(domain) = binding.domain.upgrade() {
            raise(&domain, binding.port, number);
        }
    }
}
