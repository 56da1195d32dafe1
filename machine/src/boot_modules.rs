#![expect(unsafe_code, reason = "returns slices of boot modules")]
//! The contents of boot modules, and the release of their memory after use.

use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_os = "none")]
use arrayvec::ArrayVec;

use crate::addr::{MachineAddr, Mfn, PAGE_SIZE};
use crate::boot::{self, MAX_MODULES, MemoryKind};
use crate::integers::to_usize;
use crate::{frames, ram};

/// Bit set of the modules whose contents have been taken.
static TAKEN: AtomicU64 = AtomicU64::new(0);

const _: () = assert!(MAX_MODULES <= 64, "one bit for each module");

/// A boot module's memory. It is read-only while this value lives; dropping the value keeps the
/// memory allocated forever.
#[derive(Debug)]
pub struct ModuleContents {
    index: usize,
    start: MachineAddr,
    length: usize,
}

impl ModuleContents {
    /// The memory of module `index` of `boot::info()`. Returns `None` if there is no such module,
    /// if it is not in usable memory, or if it has been taken before.
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
        // SAFETY: the module is in the direct map, and its first byte is in that frame.
        let first = unsafe { frame.add(to_usize(self.start.get()) % PAGE_SIZE) };
        // SAFETY: boot excludes the module's frames from the allocator and from its own tables, so
        // nothing writes to them before `release` consumes this value.
        unsafe { core::slice::from_raw_parts(first, self.length) }
    }

    /// Gives the module's frames to the allocator, except those that it shares with another module
    /// or with memory that is not free. Returns the number of frames released.
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

/// Runs `act` with the contents of all modules, before any is taken. The contents of a module that
/// cannot be read are empty.
#[cfg(target_os = "none")]
pub(crate) fn inspect<R>(act: impl FnOnce(&[&[u8]]) -> R) -> R {
    let all: ArrayVec<_, MAX_MODULES> = (0..boot::info().modules().len()).map(ModuleContents::take).collect();
    let contents: ArrayVec<_, MAX_MODULES> =
        all.iter().map(|module| module.as_ref().map_or(&[][..], ModuleContents::as_slice)).collect();
    let result = act(&contents);
    let taken = all.iter().flatten().fold(0, |taken, module| taken | 1 << module.index);
    TAKEN.fetch_and(!taken, Ordering::SeqCst);
    result
}

/// Whether every byte is usable memory in the firmware's map, and none is in a range of another
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
