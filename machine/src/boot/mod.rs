//! Boot information: command line, modules, memory map. All of it is untrusted input. It is copied
//! once, with bounds checks, into one [`BootInfo`], which is sealed before the hypervisor starts.

#![cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only the bare machine boots"))]

pub(crate) mod acpi;
mod efi;
pub(crate) mod multiboot;
pub mod options;
pub(crate) mod ranges;
pub(crate) mod video;

use core::ops::Range;

use arrayvec::ArrayVec;

use crate::addr::{MachineAddr, Mfn};
use crate::integers::saturating_u32;
use crate::once::Once;
pub use acpi::{MAX_IO_APICS, MAX_OVERRIDES};
pub use efi::{Efi, EfiRange, RuntimeTable, VENDOR_LENGTH};
#[cfg(target_os = "none")]
pub(crate) use multiboot::parse;
pub use options::{MAX_GRANT_FRAMES, MAX_MAPTRACK_FRAMES, Options};
pub use ranges::MAX_RANGES;
pub use video::{Channel, Framebuffer, TextMode, Vesa, Video};

/// The maximum number of boot modules.
pub const MAX_MODULES: usize = 64;
/// The maximum number of memory map entries.
pub const MAX_MEMORY_RANGES: usize = 128;
/// The maximum number of ranges of EFI's runtime services.
const MAX_EFI_RANGES: usize = 64;
/// RAM from this address on is not used: the direct map has ten root-table slots.
pub const MAX_MEMORY: u64 = 10 << 39;
/// The local APIC and the I/O APICs.
pub(crate) const MAX_OWN_DEVICES: usize = 1 + MAX_IO_APICS;
/// Total size of all command lines in bytes.
pub const STRING_SPACE: usize = 32 * 1024;

/// A string in the string space.
#[derive(Clone, Copy, Default, Debug)]
struct Text {
    start: u32,
    length: u32,
}

/// A file loaded by the boot loader.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    start: u64,
    end: u64,
    arguments: Text,
}

impl Module {
    /// Physical address of its first byte; page-aligned according to the Multiboot specification.
    pub const fn start(&self) -> MachineAddr {
        MachineAddr::new(self.start)
    }

    /// Its size in bytes.
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether it has no content.
    pub const fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// The frames that contain it.
    pub const fn frames(&self) -> Range<Mfn> {
        Mfn::new(self.start >> 12)..Mfn::new(self.end.div_ceil(4096))
    }
}

/// The type of a range of the firmware's memory map, as in E820.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryKind {
    /// Free to use (1).
    Usable,
    /// ACPI tables, free once they are read (3).
    AcpiReclaimable,
    /// Firmware memory that must be preserved (4).
    AcpiNvs,
    /// Bad memory (5).
    Unusable,
    /// Anything else, reserved (2) included.
    Reserved,
}

impl MemoryKind {
    pub(crate) const fn from_e820(number: u32) -> Self {
        match number {
            1 => Self::Usable,
            3 => Self::AcpiReclaimable,
            4 => Self::AcpiNvs,
            5 => Self::Unusable,
            _ => Self::Reserved,
        }
    }

    /// The number that E820 uses for it.
    pub const fn e820(self) -> u32 {
        match self {
            Self::Usable => 1,
            Self::Reserved => 2,
            Self::AcpiReclaimable => 3,
            Self::AcpiNvs => 4,
            Self::Unusable => 5,
        }
    }
}

/// One entry of the memory map, as the firmware wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryRange {
    /// First byte.
    pub start: u64,
    /// End: one byte beyond the last.
    pub end: u64,
    /// Its type.
    pub kind: MemoryKind,
}

/// All information from the boot loader.
#[derive(Default)]
pub struct BootInfo {
    command_line: Text,
    modules: ArrayVec<Module, MAX_MODULES>,
    memory_map: ArrayVec<MemoryRange, MAX_MEMORY_RANGES>,
    rsdp: Option<u64>,
    efi_system_table: Option<u64>,
    video: Option<video::Claim>,
    vesa: Vesa,
    efi_runtime: ArrayVec<EfiRange, MAX_EFI_RANGES>,
    strings: ArrayVec<u8, STRING_SPACE>,
    omitted: usize,
}

impl BootInfo {
    /// Paravane's own command line.
    pub fn command_line(&self) -> &str {
        self.text(self.command_line)
    }

    /// The boot modules in order.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// A module's arguments; under Multiboot 1 the file name may come first.
    pub fn arguments(&self, module: &Module) -> &str {
        self.text(module.arguments)
    }

    /// The firmware's memory map.
    pub fn memory_map(&self) -> &[MemoryRange] {
        &self.memory_map
    }

    /// Number of modules, strings and map entries that did not fit or were invalid.
    pub const fn omitted(&self) -> usize {
        self.omitted
    }

    /// Address of ACPI's root pointer, if the loader passed it.
    pub(crate) fn rsdp(&self) -> Option<u64> {
        self.rsdp
    }

    /// Address of EFI's system table, if the loader passed it.
    pub(crate) fn efi_system_table(&self) -> Option<u64> {
        self.efi_system_table
    }

    /// The loader's description of the screen, unchecked.
    pub(crate) fn video(&self) -> Option<(video::Claim, Vesa)> {
        Some((self.video?, self.vesa))
    }

    /// The memory and devices that EFI's runtime services use.
    pub fn efi_runtime(&self) -> &[EfiRange] {
        &self.efi_runtime
    }

    fn add_efi_memory(&mut self, kind: u32, start: u64, pages: u64, attributes: u64) {
        match EfiRange::of_runtime(kind, start, pages, attributes) {
            Some(range) if self.efi_runtime.try_push(range).is_err() => self.omitted += 1,
            _ => {}
        }
    }

    fn text(&self, text: Text) -> &str {
        let bytes = self.strings.get(text.start as usize..(text.start + text.length) as usize);
        bytes.and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("")
    }

    /// Keeps the modules whose range `keep` accepts.
    pub(crate) fn retain_modules(&mut self, mut keep: impl FnMut(u64, u64) -> bool) {
        let before = self.modules.len();
        self.modules.retain(|module| keep(module.start, module.end));
        self.omitted += before - self.modules.len();
    }

    fn add_module(&mut self, start: u64, end: u64, arguments: Text) {
        if start > end || self.modules.try_push(Module { start, end, arguments }).is_err() {
            self.omitted += 1;
        }
    }

    fn add_memory(&mut self, start: u64, length: u64, kind: u32) {
        let range = MemoryRange { start, end: start.saturating_add(length), kind: MemoryKind::from_e820(kind) };
        if length != 0 && self.memory_map.try_push(range).is_err() {
            self.omitted += 1;
        }
    }

    /// Stores a string, up to a zero byte, the end of the source or the end of the space. White
    /// space becomes a blank; any other byte that is not printable ASCII becomes a question mark.
    fn add_text(&mut self, bytes: impl Iterator<Item = u8>) -> Text {
        let start = saturating_u32(self.strings.len());
        for byte in bytes.take_while(|&byte| byte != 0) {
            let byte = match byte {
                b'\t' | b'\n' | b'\r' => b' ',
                b' '..=b'~' => byte,
                _ => b'?',
            };
            if self.strings.try_push(byte).is_err() {
                self.omitted += 1;
                break;
            }
        }
        Text { start, length: saturating_u32(self.strings.len()) - start }
    }
}

/// The layout of the machine's memory as determined at boot.
#[derive(Default, Debug)]
pub struct Memory {
    pub(crate) ram_end: u64,
    pub(crate) ram_frames: u64,
    pub(crate) free: ArrayVec<Range<u64>, { ranges::MAX_RANGES }>,
    /// Frames of RAM that Paravane uses or may use later.
    pub(crate) ram: ArrayVec<Range<u64>, { ranges::MAX_RANGES }>,
    /// Frames of the interrupt controllers, which are reserved for Paravane.
    pub(crate) own_devices: ArrayVec<u64, MAX_OWN_DEVICES>,
    /// Frames that the hardware domain may map read-only: the HPET, which firmware code reads, and
    /// the start-up code of CPUs, which is in the first MiB that kernels search for tables.
    pub(crate) read_only: ArrayVec<u64, 2>,
    /// Frames of firmware code and data that run in ring 0. They may be mapped read-only.
    pub(crate) firmware: ArrayVec<Range<u64>, MAX_EFI_RANGES>,
    pub(crate) m2p: u64,
    pub(crate) frame_table: u64,
}

impl Memory {
    /// One more than the highest frame of RAM; frame table and M2P end here.
    pub const fn ram_end(&self) -> Mfn {
        Mfn::new(self.ram_end)
    }

    /// Frames of RAM in the memory map.
    pub const fn ram_frames(&self) -> u64 {
        self.ram_frames
    }

    /// The frames of the devices that are reserved for Paravane.
    pub fn own_devices(&self) -> impl Iterator<Item = Mfn> {
        self.own_devices.iter().map(|&number| Mfn::new(number))
    }

    /// Unallocated RAM: outside the image, modules and tables.
    pub fn free(&self) -> impl Iterator<Item = Range<Mfn>> {
        self.free.iter().map(|range| Mfn::new(range.start)..Mfn::new(range.end))
    }

    /// Physical start address of the M2P.
    pub const fn m2p(&self) -> MachineAddr {
        MachineAddr::new(self.m2p)
    }

    /// Physical start address of the frame table.
    pub const fn frame_table(&self) -> MachineAddr {
        MachineAddr::new(self.frame_table)
    }
}

static INFO: Once<BootInfo> = Once::new();
static OPTIONS: Once<Options<'static>> = Once::new();
static EFI: Once<Option<Efi>> = Once::new();
#[cfg(target_os = "none")]
static ACPI: Once<acpi::Acpi> = Once::new();
static VIDEO: Once<Option<Video>> = Once::new();
static MEMORY: Once<Memory> = Once::new();

/// The boot loader's information.
pub fn info() -> &'static BootInfo {
    INFO.get()
}

/// The options of the command line.
pub fn options() -> &'static Options<'static> {
    OPTIONS.get()
}

/// The memory layout determined at boot.
pub fn memory() -> &'static Memory {
    MEMORY.get()
}

/// The EFI system table, if the machine was booted by EFI.
pub fn efi() -> Option<&'static Efi> {
    EFI.try_get().and_then(Option::as_ref)
}

/// The ACPI tables, if they could be read.
#[cfg(target_os = "none")]
pub(crate) fn acpi() -> Option<&'static acpi::Acpi> {
    ACPI.try_get()
}

/// Local APIC IDs of the application processors.
#[cfg(target_os = "none")]
pub(crate) fn other_cpus() -> &'static [u32] {
    acpi().and_then(|acpi| acpi.cpus.get(1..)).unwrap_or(&[])
}

#[cfg(target_os = "none")]
pub(crate) fn seal_acpi(acpi: acpi::Acpi) -> &'static acpi::Acpi {
    ACPI.set(acpi)
}

/// The screen, if the loader left one that Paravane can draw on.
pub fn video() -> Option<&'static Video> {
    VIDEO.try_get().and_then(Option::as_ref)
}

pub(crate) fn seal_video(video: Option<Video>) -> Option<&'static Video> {
    VIDEO.set(video).as_ref()
}

pub(crate) fn seal_efi(efi: Option<Efi>) {
    EFI.set(efi);
}

/// The options, for code that may run before they are parsed.
pub fn try_options() -> Option<&'static Options<'static>> {
    OPTIONS.try_get()
}

pub(crate) fn seal_info(info: BootInfo) -> &'static BootInfo {
    let info = INFO.set(info);
    OPTIONS.set(Options::parse(info.command_line()));
    info
}

pub(crate) fn seal_memory(memory: Memory) -> &'static Memory {
    MEMORY.set(memory)
}

/// Defines the function that runs on the boot CPU after start-up: `entry_point!(path::to::main)`
/// with `fn main() -> !`.
#[macro_export]
macro_rules! entry_point {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn paravane_main() -> ! {
            $main()
        }
    };
}
