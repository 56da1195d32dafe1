//! The code that runs in user mode: one page, mapped at the space's base; and the layout of the
//! pages around it.

use core::arch::global_asm;

use kernel::user::BASE;

global_asm!(
    ".pushsection .text",
    ".balign 4096",
    ".globl user_code",
    "user_code:",
    // 0x00: a system call; then the registers returned by the kernel are stored in the data page.
    "syscall",
    "mov [r15], rcx",
    "mov [r15 + 8], r11",
    "mov [r15 + 16], rax",
    "syscall",
    ".org user_code + 0x40, 0xcc",
    "ud2",
    ".org user_code + 0x50, 0xcc",
    "int 0x80",
    ".org user_code + 0x60, 0xcc",
    "int3",
    ".org user_code + 0x70, 0xcc",
    "xor edx, edx",
    "xor ecx, ecx",
    "div ecx",
    ".org user_code + 0x80, 0xcc",
    "mov al, [rdi]",
    "int3",
    ".org user_code + 0x90, 0xcc",
    "mov [rdi], al",
    "int3",
    ".org user_code + 0xa0, 0xcc",
    "jmp rdi",
    ".org user_code + 0xb0, 0xcc",
    "push rax",
    "int3",
    ".org user_code + 0xc0, 0xcc",
    "mov rax, gs:[0]",
    "mov rbx, fs:[0]",
    "int3",
    ".org user_code + 0xe0, 0xcc",
    "cli",
    ".org user_code + 0xe8, 0xcc",
    "hlt",
    ".org user_code + 0xf0, 0xcc",
    "in al, dx",
    ".org user_code + 0xf8, 0xcc",
    "mov rax, cr0",
    ".org user_code + 0x100, 0xcc",
    "int 0x81",
    ".org user_code + 0x108, 0xcc",
    "int 0x82",
    ".org user_code + 0x110, 0xcc",
    "nop",
    "nop",
    "nop",
    "int3",
    ".org user_code + 0x118, 0xcc",
    "mov es, edi",
    "int3",
    ".org user_code + 0x120, 0xcc",
    "rdmsr",
    ".org user_code + 0x128, 0xcc",
    "2: jmp 2b",
    ".org user_code + 0x130, 0xcc",
    "sysenter",
    ".code32",
    ".org user_code + 0x200, 0xcc",
    "int 0x80",
    ".org user_code + 0x210, 0xcc",
    "into",
    ".org user_code + 0x220, 0xcc",
    "bound eax, [edi]",
    ".org user_code + 0x230, 0xcc",
    ".byte 0x0f, 0x05",
    "int3",
    ".org user_code + 0x240, 0xcc",
    ".byte 0x0f, 0x34",
    "int3",
    ".org user_code + 0x250, 0xcc",
    "mov eax, [edi]",
    "int3",
    ".org user_code + 0x260, 0xcc",
    "mov al, [ebp]",
    "int3",
    ".org user_code + 0x270, 0xcc",
    "push eax",
    "pop ecx",
    "int3",
    ".code64",
    ".balign 4096, 0xcc",
    ".popsection",
);

unsafe extern "C" {
    static user_code: u8;
}

/// Address of the code page in the kernel's mapping.
pub(crate) fn address() -> u64 {
    &raw const user_code as u64
}

/// Addresses in user mode: the code, a data page, a read-only page, an unmapped page, and the stack
/// top.
pub(crate) const CODE: u64 = BASE;
pub(crate) const DATA: u64 = BASE + 0x1000;
pub(crate) const READ_ONLY: u64 = BASE + 0x2000;
pub(crate) const NOTHING: u64 = BASE + 0x3000;
pub(crate) const STACK: u64 = BASE + 0x2000;
