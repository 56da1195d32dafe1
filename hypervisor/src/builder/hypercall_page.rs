//! The hypercall page, through which a guest's kernel makes its hypercalls: a routine of 32 bytes
//! per number.

use abi::xen::hypercall::IRET;
use machine::addr::PAGE_SIZE;

const SLOT: usize = 32;

/// push rcx; push r11; mov eax, number; syscall; pop r11; pop rcx; ret
const CALL: ([u8; 4], [u8; 6]) = ([0x51, 0x41, 0x53, 0xb8], [0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3]);
/// push rcx; push r11; push rax; mov eax, number; syscall: `iret` takes a frame that begins with
/// these three registers.
const IRET_CALL: ([u8; 5], [u8; 2]) = ([0x51, 0x41, 0x53, 0x50, 0xb8], [0x0f, 0x05]);

/// The page's contents. Bytes outside the routines are `int3`.
pub(crate) fn contents() -> [u8; PAGE_SIZE] {
    let mut page = [0xcc; PAGE_SIZE];
    for (slot, number) in page.chunks_exact_mut(SLOT).zip(0u32..) {
        if number == IRET {
            assemble(slot, &IRET_CALL.0, number, &IRET_CALL.1);
        } else {
            assemble(slot, &CALL.0, number, &CALL.1);
        }
    }
    page
}

fn assemble(slot: &mut [u8], before: &[u8], number: u32, after: &[u8]) {
    let number = number.to_le_bytes();
    for (place, byte) in slot.iter_mut().zip(before.iter().chain(&number).chain(after)) {
        *place = *byte;
    }
}
