//! The back end for tests: RAM is an allocation of the process, CPUs are its threads. It keeps the hardware's rules: page
//! tables are walked as they stand, whatever the frame table says of them.

pub mod console;
pub mod cpu;
pub mod device_memory;
pub mod firmware;
pub mod heap;
pub mod io_apic;
pub mod loader;
pub mod mmu;
pub mod ports;
pub mod power;
pub(crate) mod ram;
pub(crate) mod symbols;
pub mod time;
pub mod tlb;
pub(crate) mod vcpu;

use crate::addr::Mfn;
use crate::boot::{self, BootInfo, Channel, Framebuffer, Memory, Vesa, Video};

/// The screen of the machine.
pub const SCREEN: Framebuffer = Framebuffer {
    address: 0x12_8000_0000,
    pitch: 5120,
    width: 1280,
    height: 800,
    depth: 32,
    channels: [Channel { position: 16, size: 8 }, Channel { position: 8, size: 8 }, Channel { position: 0, size: 8 }],
    vesa: Vesa { capabilities: 1, attributes: 0xbb },
};

/// Brings the machine up with `frames` frames of RAM, all of them free; once for each process.
///
/// # Panics
/// If the machine is up already.
pub fn start(frames: u64) {
    ram::init(frames);
    crate::console::init_log(log::LevelFilter::Info);
    boot::seal_info(BootInfo::default());
    boot::seal_video(Some(Video::Framebuffer(SCREEN)));
    let mut memory = Memory { ram_end: frames, ram_frames: frames, ..Memory::default() };
    memory.ram.push(0..frames);
    boot::seal_memory(memory);
    crate::frames::add_free_range(Mfn::new(0), Mfn::new(frames));
}
