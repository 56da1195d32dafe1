//! Searches the hypervisor's part of the address space for mappings; see README.md.
#![no_std]
#![no_main]

use core::arch::global_asm;

use abi::arch_x86_64::address::{HYPERVISOR_END, HYPERVISOR_START};
use kernel::memory::page;
use kernel::start::trap_stack_top;
use kernel::tables::{self, NX, READABLE, WRITABLE};
use kernel::trap;
use kernel::user::{self, BASE, Space};
use kernel::{attempt, call::stack_switch, check, check_eq, say};

kernel::guest!(main);

const PAGE: u64 = 4096;
const SLOT: u64 = 1 << 39;
/// The parts of Paravane's address space (`docs/design.md`).
const IMAGE: u64 = HYPERVISOR_START + SLOT;
const FRAME_TABLE: u64 = IMAGE + SLOT;
const WINDOWS: u64 = FRAME_TABLE + SLOT;
const DEVICES: u64 = WINDOWS + SLOT;
const DIRECT_MAP: u64 = HYPERVISOR_START + 6 * SLOT;
/// Size of a window, and of the part of it that restricted roots map.
const WINDOW: u64 = 4 << 20;
const MAPPED_PART: u64 = 2 << 20;
/// Pages of entry code and of the interrupt table.
const MAX_CODE: u64 = 8;

global_asm!(
    ".pushsection .text",
    ".balign 4096",
    ".globl counts",
    "counts:",
    "2: inc qword ptr [rdi]",
    "dec rax",
    "jnz 2b",
    "ud2",
    ".balign 4096, 0xcc",
    ".popsection",
);

unsafe extern "C" {
    static counts: u8;
}

fn main() {
    let pages =
        |start: u64, size: u64, step: u64| (start..start + size).step_by(step as usize).filter(|&at| is_mapped(at));
    check!(read(HYPERVISOR_START).is_none(), "the M2P is readable");
    check_eq!(pages(FRAME_TABLE, 16 << 20, PAGE).count(), 0, "pages of the frame table");
    check_eq!(pages(DEVICES, 4 << 20, PAGE).count(), 0, "pages of devices");
    check_eq!(pages(DEVICES + (1 << 30), 2 << 20, PAGE).count(), 0, "pages of the device window");
    check_eq!(pages(DIRECT_MAP, 1 << 30, 8 * PAGE).count(), 0, "pages of the direct map");
    let code = pages(IMAGE, 64 << 20, PAGE).count() as u64;
    check!((1..=MAX_CODE).contains(&code), "{code} pages of the image");
    let (mut seen, mut others) = (0, 0);
    for at in pages(WINDOWS, 8 * WINDOW, PAGE) {
        let own = at - WINDOWS < MAPPED_PART;
        seen += u64::from(own);
        others += u64::from(!own);
    }
    check!(seen > 0, "this pCPU's window is mapped");
    check_eq!(others, 0, "pages of stacks, and of other pCPUs' windows");
    let rest = pages(HYPERVISOR_START + SLOT, HYPERVISOR_END - HYPERVISOR_START - SLOT, 1 << 30);
    let surplus = rest.filter(|at| ![IMAGE, WINDOWS].contains(at)).count();
    check_eq!(surplus, 0, "parts of 1 GiB of the rest");
    say!("{code} pages of the image and {seen} of the window are mapped");

    let counter = page();
    let _ =
        Space::new(&[tables::entry_for(&raw const counts as u64, READABLE), tables::entry_for(counter, WRITABLE | NX)]);
    stack_switch(trap_stack_top(0));
    let mut frame = user::frame(BASE, BASE + 0x1f00);
    (frame.rdi, frame.rax) = (BASE + 0x1000, 1 << 30);
    say!("ready for a list of the mappings");
    let trap = user::run(&frame);
    check_eq!(trap.frame.vector, 6, "the process ends by itself");
}

/// Reads a byte; returns the error code of the page fault, if there is one.
fn read(address: u64) -> Option<u64> {
    let trap = attempt!("mov {value}, [{address}]"; value = out(reg_byte) _, address = in(reg) address);
    trap.map(|trap: trap::Trap| trap.frame.error)
}

/// Whether the hypervisor maps an address, by bit 0 of the error code.
fn is_mapped(address: u64) -> bool {
    read(address).is_none_or(|error| error & 1 != 0)
}
