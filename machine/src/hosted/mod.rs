//! The machine inside a test process: its start, and the ways in which tests can control it.
//!
//! RAM is an allocation of the process, and CPUs are its threads. The hosted back end follows the
//! hardware's rules: page tables are walked by their bits, regardless of the frame table, and
//! translations are cached until they are flushed.

pub mod loader;

/// The console that a test reads and writes.
pub mod console {
    pub use crate::console::backend::{has_room, read_byte, set_full, take_output, type_in, write};
}

/// Simulated device memory.
pub mod device_memory {
    pub use crate::device_memory::backend::{read, write};
}

/// The simulated firmware.
pub mod firmware {
    pub use crate::firmware::install;
}

/// The heap, which counts allocations and can be limited.
pub mod heap {
    pub use crate::heap::{most_allocated, refusing, set_short};
}

/// Lines of the simulated I/O APIC.
pub mod io_apic {
    pub use crate::interrupts::{assert_line, is_masked};
}

/// Simulated processors that take microcode.
pub mod microcode {
    pub use crate::microcode_update::{Simulated, boot, loads, simulate};
}

/// The walk that the processor would perform.
pub mod mmu {
    pub use crate::context::vcpu::mmu::{Access, walk};
}

/// The arrangement of CPUs.
pub mod cpus {
    pub use crate::per_cpu::set_parked;
    pub use crate::topology::simulated::set_thread_bits;
}

/// Registers of simulated devices.
pub mod ports {
    pub use crate::ports::{config, set_config};
}

/// The clock, which a test can advance and stop.
pub mod time {
    pub use crate::time::{advance, stop};
}

/// The simulated TLBs, and running a thread with interrupts off, as a CPU in Paravane.
pub mod tlb {
    pub use crate::tlb::simulated::{Translation, seed, translations};
    pub use crate::tlb::with_interrupts_off;
}

use crate::addr::Mfn;
use crate::boot::{self, BootInfo, Channel, Framebuffer, Memory, Vesa, Video};
use crate::{m2p, ram};

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

/// Starts the machine with `frames` frames of RAM, all of them free; once per process.
///
/// # Panics
/// If the machine has been started already.
pub fn start(frames: u64) {
    ram::init(frames);
    for number in 0..frames {
        m2p::set(Mfn::new(number), m2p::INVALID);
    }
    crate::console::init_log(log::LevelFilter::Info);
    boot::seal_info(BootInfo::default());
    boot::seal_video(Some(Video::Framebuffer(SCREEN)));
    let mut memory = Memory { ram_end: frames, ram_frames: frames, ..Memory::default() };
    memory.ram.push(0..frames);
    boot::seal_memory(memory);
    crate::frames::add_free_range(Mfn::new(0), Mfn::new(frames));
    crate::defences::start_cpu();
}
