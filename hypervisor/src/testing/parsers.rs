//! Random bytes for the parsers of input from guests and boot loaders: emulator, rings, module
//! arguments. They must not panic. The tests of the modules check everything else.

use std::cell::RefCell;
use std::string::String;

use abi::xen::{DomainId, MmuextOp, mmuext};
use abi::xenstore::MessageHeader;
use machine::addr::GuestVirt;
use machine::frames::{self, Budget, SharedPage, TypedRef, Writable};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Guest, start_machine_with, writable};
use crate::builder::{self, Image};
use crate::domain::{Domain, Port, Settings, VcpuId};
use crate::lifecycle;
use crate::memory::{mmuext::mmuext_op, update_va_mapping::update_va_mapping};
use crate::{console, start, trap::emulate, xenstore};

const GUEST: u16 = 7;
/// The pages of the two rings.
const STORE: usize = 2;
const CONSOLE: usize = 3;
/// The page of a page table.
const TABLE: usize = 7;
/// Flags of a page-table entry: present, user, accessed, dirty.
const READ_ONLY: u64 = 0x65;

std::thread_local! {
    static SUBJECT: RefCell<Option<Guest>> = const { RefCell::new(None) };
}

/// Calls `act` with a guest that has rings. The guest is created once and used for all inputs.
fn with_guest(act: impl FnOnce(&mut Guest)) {
    SUBJECT.with_borrow_mut(|subject| act(subject.get_or_insert_with(guest)));
}

fn guest() -> Guest {
    let mut guest = Guest::new(GUEST, 8);
    make_table(&mut guest);
    let page = |number| SharedPage::new(writable(guest.domain.frame(guest.mfn(number)).expect("its own frame")));
    guest.domain.store.attach(page(STORE), Port::new(1), &[("device/0", "x")]);
    guest.domain.console.attach(page(CONSOLE), Port::new(2));
    guest
}

/// Turns the page [`TABLE`] into an L1 table, pinned but not used otherwise, and mapped read-only.
fn make_table(guest: &mut Guest) {
    let (address, mfn) = (guest.address(TABLE), guest.mfn(TABLE));
    let pin = MmuextOp { command: mmuext::PIN_L1_TABLE, _pad: 0, argument1: mfn.get(), argument2: 0 };
    let list = guest.put(&pin);
    let mut caller = guest.caller();
    update_va_mapping(&mut caller, address, mfn.address().get() | READ_ONLY, 0).expect("a table for the address");
    mmuext_op(&mut caller, list, 1, GuestVirt::new(0), DomainId::SELF).expect("an empty table");
}

/// The input before the instructions.
#[derive(FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Start {
    registers: [u64; 6],
    fault: u64,
    rip_offset: u16,
    flags: u16,
    selector: u16,
    entry: u16,
}

/// Emulates instructions. The input contains registers, a fault address and the instructions.
pub fn emulate(bytes: &[u8]) {
    let Ok((start, code)) = Start::read_from_prefix(bytes) else { return };
    let code = code.get(..15).unwrap_or(code);
    if code.is_empty() {
        return;
    }
    with_guest(|guest| {
        let (domain, vcpu) = (guest.domain.clone(), guest.domain.vcpu(VcpuId::BOOT).expect("a vCPU").clone());
        let rip = guest.address(4).offset(u64::from(start.rip_offset % 8192));
        let pages = [guest.address(5), guest.address(4), guest.address(TABLE)];
        let caller = guest.caller();
        let cpu = caller.cpu;
        for act in 0..3 {
            let _ = cpu.write(rip, code);
            let registers = cpu.registers_mut();
            // Mapped addresses are made more frequent.
            let near = |value: u64| pages.get((value >> 56) as usize).map_or(value, |page| page.get() + value % 4096);
            [registers.rax, registers.rcx, registers.rdx, registers.rbx] =
                [0, 1, 2, 3].map(|at| near(start.registers[at]));
            (registers.rsi, registers.rdi) = (near(start.registers[4]), near(start.registers[5]));
            registers.rip = rip.get();
            registers.rflags = u64::from(start.flags);
            registers.cs = u64::from(start.selector);
            let _ = match act {
                0 => emulate::privileged(cpu, &domain, &vcpu),
                1 => emulate::invalid_opcode(cpu, &domain, &vcpu),
                _ => {
                    let address = pages[2].offset(start.fault % 4096);
                    emulate::page_table_write(cpu, &domain, &vcpu, address, &mut Budget::new(1000))
                }
            };
        }
    });
}

/// Writes to a guest's rings and notifies their consumers.
pub fn rings(bytes: &[u8]) {
    with_guest(|guest| {
        let domain = guest.domain.clone();
        let pages = [STORE, CONSOLE].map(|page| guest.domain.frame(guest.mfn(page)).expect("its own frame"));
        pages.into_iter().for_each(|page| writable(page).clear());
        let mut rest = bytes;
        while let Some((&[command, offset, length], behind)) = rest.split_first_chunk() {
            let store = command & 1 == 0;
            let page = guest.domain.frame(guest.mfn(if store { STORE } else { CONSOLE })).expect("its own frame");
            let page = writable(page);
            let (data, tail) = behind.split_at_checked(length.into()).unwrap_or((behind, &[]));
            rest = tail;
            match command >> 1 & 3 {
                // The indices: those of xenstore are at offset 2048, those of the console at 3072.
                0 => {
                    let at = if store { 2048 } else { 3072 } + usize::from(offset % 8) * 4;
                    let mut index = [0; 4];
                    index.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                    page.copy_in(at, &index);
                }
                // Bytes of requests, sent according to the protocol.
                1 if store => send(&page, data),
                // A whole request. Its type and transaction are in the second byte.
                2 if store => {
                    let header = MessageHeader {
                        kind: u32::from(offset % 32),
                        request_id: 1,
                        transaction_id: u32::from(offset / 32),
                        length: data.len() as u32,
                    };
                    send(&page, header.as_bytes());
                    send(&page, data);
                    // Marks the replies as read.
                    let answered = page.frame().read_u64(257) >> 32;
                    page.copy_in(2056, (answered as u32).as_bytes());
                }
                _ => page.copy_in(usize::from(offset) * 8, &data[..data.len().min(2048)]),
            }
            if store {
                xenstore::notified(&domain);
            } else {
                console::notified(&domain);
            }
        }
    });
}

/// Appends bytes to the xenstore ring.
fn send(page: &TypedRef<Writable>, bytes: &[u8]) {
    let producer = page.frame().read_u64(256) >> 32;
    for (at, byte) in (producer..).zip(bytes) {
        page.copy_in((at % 1024) as usize, &[*byte]);
    }
    let next = (producer as u32).wrapping_add(bytes.len() as u32);
    page.copy_in(2052, next.as_bytes());
}

/// Parses the arguments of modules.
pub fn plan(modules: &[&str]) {
    start::plan_of(modules);
}

/// Numbers of frames of a machine that decompresses kernels, and of the domain that is built.
const BUILDER_FRAMES: u64 = 32 * 1024;
const DOMAIN_FRAMES: u32 = 1024;

/// Builds a domain from a boot module. All frames must be free again afterwards, also after an
/// error.
///
/// # Panics
/// If a frame has leaked.
pub fn build(module: &[u8]) {
    start_machine_with(BUILDER_FRAMES);
    let free = frames::free_frames();
    for privileged in [false, true] {
        let Ok(image) = Image::open(module) else { break };
        let settings = Settings {
            name: String::from("test"),
            privileged,
            vcpus: 1,
            max_frames: DOMAIN_FRAMES,
            weight: 256,
            cap: 0,
        };
        let domain = Domain::new(DomainId(GUEST), settings).expect("memory for a domain");
        let _ = builder::build(&domain, &image, Some(&module[..module.len().min(5000)]), "console=hvc0");
        lifecycle::destroy_initial(&domain);
    }
    assert_eq!(frames::free_frames(), free, "frames have leaked");
}
