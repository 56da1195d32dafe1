//! The domain builder turns boot modules into a domain that can be started.
//!
//! Modules are hostile input: every offset in them is checked, every size has a limit, and a failed
//! build releases all memory of the domain.

mod bzimage;
pub(crate) mod elf;
pub(crate) mod hypercall_page;
mod image;
mod layout;
mod memory;
mod notes;
mod page_tables;
mod start_info;
#[cfg(test)]
mod tests;

pub(crate) use image::{Image, ImageError};

use alloc::sync::Arc;
use core::fmt;

use abi::xen::MAX_GUEST_COMMAND_LINE;
use machine::addr::PAGE_SIZE;
use machine::frames::{self, NoMemory, SharedPage};
use machine::speculation::MaskedIndex;
use zerocopy::IntoBytes;

use crate::console;
use crate::domain::Domain;
use crate::event_channel::{self, Consumer};
use crate::xenstore;
use layout::{Layout, Needs};
use memory::Memory;
use start_info::Ports;

/// The reason why a domain could not be built.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum BuildError {
    /// The kernel is not usable, or its requirements cannot be met.
    Image(ImageError),
    /// The domain's memory in bytes, and the larger number of bytes that this kernel requires.
    MemoryTooSmall(u64, u64),
    /// The domain's memory in bytes, and the number of bytes that are free.
    NoMemory(u64, u64),
    /// The length of a command line that does not fit in the start info.
    CommandLine(usize),
    /// The kernel's notes do not offer the feature `dom0`.
    NotForInitialDomain,
    /// No event channels could be allocated for the console and xenstore.
    NoPorts,
    /// The initial page tables did not pass validation: a bug in the builder.
    Refused,
}

struct MebiBytes(u64);

impl fmt::Display for MebiBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::MemoryTooSmall(has, needs) => {
                write!(
                    f,
                    "too little memory: {} given, {} needed by kernel and ramdisk",
                    MebiBytes(*has),
                    MebiBytes(*needs)
                )
            }
            Self::NoMemory(wanted, free) => {
                write!(f, "too little memory: {} needed, {} KiB free", MebiBytes(*wanted), free >> 10)
            }
            Self::CommandLine(length) => {
                write!(f, "command line of {length} bytes, more than {}", MAX_GUEST_COMMAND_LINE - 1)
            }
            Self::NotForInitialDomain => f.write_str(
                "its kernel's ELF notes do not offer the feature dom0; install one that can (linux-image-amd64)",
            ),
            Self::NoPorts => f.write_str("no event channels for its console and xenstore"),
            Self::Refused => f.write_str("the initial page tables were refused"),
        }
    }
}

impl From<ImageError> for BuildError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// Allocates the memory of a new domain and loads `kernel` into it. The domain gets `max_frames`
/// frames. Afterwards, vCPU 0 is up and at the kernel's entry point.
///
/// # Errors
/// See [`BuildError`]. The domain then owns no memory.
pub(crate) fn build(
    domain: &Arc<Domain>,
    kernel: &Image<'_>,
    ramdisk: Option<&[u8]>,
    command_line: &str,
) -> Result<(), BuildError> {
    let result = build_into(domain, kernel, ramdisk, command_line);
    if result.is_err() {
        memory::give_back(domain);
    }
    result
}

fn build_into(
    domain: &Arc<Domain>,
    image: &Image<'_>,
    ramdisk: Option<&[u8]>,
    command_line: &str,
) -> Result<(), BuildError> {
    let kernel = image.kernel();
    if command_line.len() >= MAX_GUEST_COMMAND_LINE {
        return Err(BuildError::CommandLine(command_line.len()));
    }
    if domain.is_privileged() && !kernel.notes.initial_domain {
        return Err(BuildError::NotForInitialDomain);
    }
    let ramdisk = ramdisk.filter(|ramdisk| !ramdisk.is_empty());
    let ramdisk_length = ramdisk.map_or(0, |ramdisk| ramdisk.len() as u64);
    let frames = u64::from(domain.max_frames());
    let layout = Layout::new(&Needs {
        kernel,
        ramdisk: ramdisk.map(|_| ramdisk_length),
        memory: frames,
        has_rings: !domain.is_privileged(),
    })?;
    let bytes = |frames: u64| frames * PAGE_SIZE as u64;
    if layout.needed > frames {
        return Err(BuildError::MemoryTooSmall(bytes(frames), bytes(layout.needed)));
    }
    let no_memory = || BuildError::NoMemory(bytes(frames), bytes(frames::free_frames()));
    if !memory::is_available(frames) {
        return Err(no_memory());
    }
    let memory = Memory::allocate(domain, frames).map_err(|NoMemory| {
        memory::give_back(domain);
        no_memory()
    })?;

    for segment in &kernel.segments {
        let contents = image.bytes().part(segment.file.clone());
        memory.write(segment.physical, contents.ok_or(ImageError::Malformed("ELF file", "a segment ends beyond it"))?);
    }
    if let Some(page) = kernel.notes.hypercall_page {
        memory.write(hypercall_page_place(page, &layout, kernel)?, &hypercall_page::contents());
    }
    if let (Some(place), Some(ramdisk)) = (&layout.ramdisk, ramdisk) {
        memory.write(bytes(place.start), ramdisk);
    }
    memory.write(bytes(layout.list.start), memory.list());
    let ports = layout.rings.map(|_| allocate_ports(domain)).transpose()?;
    let screen = domain.is_privileged().then(console::screen::description).flatten();
    let screen = screen.as_ref().map(<[u8; _]>::as_slice);
    let info = start_info::start_info(domain, &memory, &layout, ramdisk_length, ports, command_line, screen);
    memory.write(bytes(layout.start_info), info.as_bytes());
    if let Some(screen) = screen {
        memory.write(bytes(layout.start_info) + size_of_val(&info) as u64, screen);
    }
    let root = page_tables::build(domain, &memory, &layout).map_err(|_| BuildError::Refused)?;
    let vcpu = domain.vcpus().first().ok_or(BuildError::Refused)?;

    // nothing below fails
    if let (Some(rings), Some(ports)) = (layout.rings, ports) {
        attach_rings(domain, &memory, rings, ports);
    }

    if let Some(context) = vcpu.parked().as_mut() {
        let registers = context.registers_mut();
        registers.rip = kernel.notes.entry;
        registers.rsp = layout.address(layout.stack + 1);
        registers.rsi = layout.address(layout.start_info);
        context.set_roots(Some(root), None);
    }
    vcpu.set_initialised();
    vcpu.set_up(true);
    Ok(())
}

/// Pseudo-physical address of the hypercall page, for which the kernel reserves a page.
fn hypercall_page_place(page: u64, layout: &Layout, kernel: &elf::Kernel) -> Result<u64, ImageError> {
    let offset = page.wrapping_sub(layout.base);
    let inside = kernel.extent.contains(&offset) && kernel.extent.contains(&(offset + PAGE_SIZE as u64 - 1));
    inside.then_some(offset).ok_or(ImageError::Malformed("layout", "the hypercall page lies outside the kernel"))
}

/// Allocates the ports of a domain's console and xenstore.
fn allocate_ports(domain: &Arc<Domain>) -> Result<Ports, BuildError> {
    let port =
        |consumer: Consumer| event_channel::allocate_for_paravane(domain, consumer).map_err(|_| BuildError::NoPorts);
    Ok(Ports { store: port(xenstore::CONSUMER)?, console: port(console::CONSUMER)? })
}

/// Attaches the new domain's xenstore and console pages to Paravane's ends of the rings.
fn attach_rings(domain: &Arc<Domain>, memory: &Memory<'_>, (store, console): (u64, u64), ports: Ports) {
    let page = |pfn| SharedPage::new(memory.writable(pfn));
    domain.store.attach(page(store), ports.store, &[]);
    domain.console.attach(page(console), ports.console);
}
