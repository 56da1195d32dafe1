#![expect(unsafe_code, reason = "hands out slices of the memory that the loader put modules into")]
//! The contents of boot modules, and what becomes of their memory once they have been used.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{MachineAddr, Mfn, PAGE_SIZE};
use crate::boot::{self, MAX_MODULES, MemoryKind};
use crate::integers::to_usize;
use crate::{frames, ram};

/// Modules whose contents have been handed out, by bit.
static TAKEN: AtomicU64 = AtomicU64::new(0);

const _: () = assert!(MAX_MODULES <= 64, "one bit for each module");

/// A boot module's memory. While this value lives it is read-only; dropping it leaves the module
/// where it is, for good.
#[derive(Debug)]
pub struct ModuleContents {
    index: usize,
    start: MachineAddr,
    length: usize,
}

impl ModuleContents {
    /// The memory of module `index` of `boot::info()`. `None` if there is no such module, if it
    /// does not lie in memory of the firmware's map, or if it has been taken before.
    pub fn take(index: usize) -> Option<Self> {
        let module = boot::info().modules().get(index)?;
        let length = usize::try_from(module.len()).ok()?;
        let inside = module.frames().end.get() <= ram::frame_count();
        let usable = is_usable(module.start().get(), module.start().get() + module.len());
        if !(inside && usable) {
            return None;
        }
        let bit = 1 << index;
        (TAKEN.fetch_or(bit, Ordering::SeqCst) & bit == 0).then_some(Self { index, start: module.start(), length })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        if self.length == 0 {
            return &[];
        }
        let frame = ram::direct_map(Mfn::containing(self.start));
        // SAFETY: the module lies in the direct map, and its first byte in that frame.
        let first = unsafe { frame.add(to_usize(self.start.get()) % PAGE_SIZE) };
        // SAFETY: boot has kept the module's frames out of the allocator and out of every table of
        // its own, so nothing writes there before `release` consumes this value.
        unsafe { core::slice::from_raw_parts(first, self.length) }
    }

    /// Gives the module's frames to the allocator, those left out that it shares with another
    /// module or with something that is not free memory. Returns how many that were.
    pub fn release(self) -> u64 {
        let modules = boot::info().modules();
        let Some(range) = modules.get(self.index).map(|module| module.frames()) else { return 0 };
        let mut given = 0;
        let mut run = range.start.get();
        for number in range.start.get()..=range.end.get() {
            let frame = number..number + 1;
            let shared = modules.iter().enumerate().any(|(index, other)| {
                let other = other.frames();
                index != self.index && other.start.get() < frame.end && frame.start < other.end.get()
            });
            let address = Mfn::new(number).address().get();
            if number < range.end.get() && !shared && is_usable(address, address + PAGE_SIZE as u64) {
                continue;
            }
            if run < number {
                frames::add_free_range(Mfn::new(run), Mfn::new(number));
                given += number - run;
            }
            run = number + 1;
        }
        given
    }
}

/// Whether each byte is usable memory in the firmware's map, and none is in a range of another
/// kind.
fn is_usable(start: u64, end: u64) -> bool {
    let map = boot::info().memory_map();
    let mut at = start;
    while at < end {
        let Some(range) =
            map.iter().find(|range| range.kind == MemoryKind::Usable && range.start <= at && at < range.end)
        else {
            return false;
        };
        at = range.end;
    }
    !map.iter().any(|range| range.kind != MemoryKind::Usable && range.start < end && start < range.end)
}
