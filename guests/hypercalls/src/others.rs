//! Stateless calls: unassigned numbers, versions, multicall, console, and operations that require
//! privilege.

use kernel::abi::version::{self, op};
use kernel::abi::xen::{MulticallEntry, console_io};
use kernel::call::{error, number};
use kernel::memory::{initial_domain, page, peek, poke};
use kernel::{call, check, check_eq};

use crate::faults;

/// A hypercall without the hypercall page. Returns the result and the registers RDI, RSI, RDX, R10,
/// R8, R9 and RBX after it.
fn direct(op: u64, words: [u64; 6]) -> (i64, [u64; 7]) {
    let mut after = [0; 7];
    let result;
    // SAFETY: a hypercall changes only memory that its arguments name.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "mov rbx, 0x1234567",
            "syscall",
            "mov r12, rbx",
            "pop rbx",
            inlateout("rax") op => result,
            inlateout("rdi") words[0] => after[0],
            inlateout("rsi") words[1] => after[1],
            inlateout("rdx") words[2] => after[2],
            inlateout("r10") words[3] => after[3],
            inlateout("r8") words[4] => after[4],
            inlateout("r9") words[5] => after[5],
            lateout("r12") after[6],
            out("rcx") _,
            out("r11") _,
        );
    }
    (result, after)
}

pub(crate) fn unknown_numbers() {
    for op in [11u64, 38, 43, 47, 50, 51, 55, 56, 63, 64, 100, 127, 128, 0x1000, 0xffff_ffff, 1 << 32, u64::MAX] {
        check_eq!(direct(op, [0; 6]).0, error::ENOSYS, "hypercall {op:#x}");
    }
    let high = 1 << 32 | u64::from(number::XEN_VERSION);
    check_eq!(direct(high, [0; 6]).0, error::ENOSYS, "the number is the whole of RAX");
}

pub(crate) fn registers() {
    let words = [0x7, 0, 0x22, 0x33, 0x44, 0x55];
    let (result, after) = direct(u64::from(number::XEN_VERSION), words);
    check_eq!(result, 4096, "page size, without the hypercall page");
    check_eq!(after, [0x7, 0, 0x22, 0x33, 0x44, 0x55, 0x1234567], "registers after a call");
}

fn text_at<const N: usize>(at: u64) -> Option<usize> {
    peek::<[u8; N]>(at).iter().position(|&byte| byte == 0)
}

pub(crate) fn xen_version() {
    let buffer = page();
    let get = |op: u32, at: u64| call!(number::XEN_VERSION, op, at);
    check_eq!(get(op::VERSION, 0), 4 << 16 | 17, "version");
    check_eq!(get(op::VERSION, 0x10), 4 << 16 | 17, "version needs no pointer");
    check_eq!(get(op::PAGESIZE, 0), 4096, "pagesize");
    check_eq!(get(op::PAGESIZE, buffer), error::EINVAL, "pagesize requires a null pointer");
    check_eq!(get(op::EXTRAVERSION, buffer), 0, "extraversion");
    check!(
        text_at::<{ version::EXTRA_VERSION_LENGTH }>(buffer).is_some_and(|length| length > 1),
        "extra version's text"
    );
    check_eq!(get(op::COMPILE_INFO, buffer), 0, "compile_info");
    check!(text_at::<64>(buffer).is_some_and(|length| length > 1), "compiler");
    check_eq!(get(op::CAPABILITIES, buffer), 0, "capabilities");
    let capabilities: [u8; 1024] = peek(buffer);
    check!(capabilities.starts_with(b"xen-3.0-x86_64"), "capabilities begin with xen-3.0-x86_64");
    check_eq!(get(op::CHANGESET, buffer), 0, "changeset");
    check_eq!(get(op::PLATFORM_PARAMETERS, buffer), 0, "platform_parameters");
    check_eq!(peek::<u64>(buffer), 0xffff_8000_0000_0000, "start of the hypervisor");
    poke(buffer, 0u64);
    check_eq!(get(op::GET_FEATURES, buffer), 0, "get_features");
    let features: u32 = peek(buffer + 4);
    // Bit 0, writable page tables, is reported only to auto-translated guests; 4, 5, 6 and 7 to all
    // guests.
    check_eq!(features & 0xff, 0xf0 & features | 0x60, "features {features:#x}");
    check_eq!(features >> 11 & 1 == 1, initial_domain(), "feature dom0 is for the initial domain");
    check_eq!(features >> 16 & 3, 2, "feature directly mapped");
    poke(buffer, 1u64);
    check_eq!(get(op::GET_FEATURES, buffer), error::EINVAL, "get_features, second group");
    poke(buffer, 0x1000u64);
    check_eq!(get(op::GET_FEATURES, buffer), error::EINVAL, "get_features, no such group");
    poke(buffer, [0xffu8; 16]);
    check_eq!(get(op::GUEST_HANDLE, buffer), 0, "guest_handle");
    check!(peek::<[u8; 16]>(buffer) != [0xff; 16], "the handle is written");
    check_eq!(get(op::COMMANDLINE, buffer), 0, "commandline");
    if !initial_domain() {
        check!(peek::<[u8; 9]>(buffer) == *b"<denied>\0", "the command line is not for everyone");
    }
    let id = get(op::BUILD_ID, 0);
    check!(id > 0 || id == error::ENODATA || id == error::EPERM, "length of the build id: {id}");
    check_eq!(get(11, buffer), error::ENOSYS, "unknown sub-operation");
    check_eq!(get(u32::MAX, buffer), error::ENOSYS, "unknown sub-operation");
    for op in [
        op::EXTRAVERSION,
        op::COMPILE_INFO,
        op::CAPABILITIES,
        op::CHANGESET,
        op::PLATFORM_PARAMETERS,
        op::GET_FEATURES,
        op::GUEST_HANDLE,
        op::COMMANDLINE,
    ] {
        faults("xen_version", |bad| get(op, bad));
    }
}

fn entry(op: u32, arguments: [u64; 6]) -> MulticallEntry {
    MulticallEntry { operation: u64::from(op), result: 0x77, arguments }
}

/// `iret` in a multicall is executed, ends it, and returns its RAX as the result of both.
fn iret_in_a_multicall() {
    let mut calls =
        [entry(number::XEN_VERSION, [0; 6]), entry(number::IRET, [0; 6]), entry(number::XEN_VERSION, [0; 6])];
    let (rax, rcx, r11): (u64, u64, u64);
    // SAFETY: the frame on the stack returns to the label that follows, with the former stack.
    unsafe {
        core::arch::asm!(
            "mov rax, rsp",
            "push 0xe02b",
            "push rax",
            // Without IF: events stay masked.
            "push 2",
            "push 0xe030",
            "lea rax, [rip + 3f]",
            "push rax",
            "push 0",
            "push 0x22",
            "push 0x11",
            "push 0x33",
            "mov eax, 13",
            "syscall",
            "ud2",
            "3:",
            in("rdi") &raw mut calls,
            in("rsi") 3u64,
            out("rax") rax,
            out("rcx") rcx,
            out("r11") r11,
        );
    }
    check_eq!((rax, rcx, r11), (0x33, 0x22, 0x11), "registers after an iret in a multicall");
    check_eq!(calls[0].result, 4 << 16 | 17, "the call before an iret in a multicall");
    check_eq!(calls[1].result, 0x33, "an iret in a multicall");
    check_eq!(calls[2].result, 0x77, "the call after an iret in a multicall");
}

pub(crate) fn multicall() {
    iret_in_a_multicall();
    let mut calls = [
        entry(number::XEN_VERSION, [7, 0, 0, 0, 0, 0]),
        entry(number::MULTICALL, [0; 6]),
        entry(63, [0; 6]),
        entry(number::SCHED_OP, [0; 6]),
        entry(number::XEN_VERSION, [3, 0x10_0000, 0, 0, 0, 0]),
        entry(number::XEN_VERSION, [0; 6]),
        entry(0, [1, 0, 0, 0, 0, 0]),
    ];
    calls[6].operation = 1 << 40;
    let result = call!(number::MULTICALL, &mut calls, 7u32);
    check_eq!(result, 0, "multicall");
    check_eq!(calls[0].result as i64, 4096, "first of a multicall");
    check_eq!(calls[1].result as i64, error::EINVAL, "a multicall in a multicall");
    check_eq!(calls[2].result as i64, error::ENOSYS, "an unknown call in a multicall");
    check_eq!(calls[3].result as i64, 0, "yield in a multicall");
    check_eq!(calls[4].result as i64, error::EFAULT, "a bad pointer in a multicall");
    check_eq!(calls[5].result, 4 << 16 | 17, "the last of a multicall");
    check_eq!(calls[6].result as i64, error::ENOSYS, "a call number beyond 32 bits in a multicall");
    check_eq!(call!(number::MULTICALL, &mut calls, 0u32), 0, "an empty multicall");
    faults("multicall", |bad| call!(number::MULTICALL, bad, 1u32));
    // 4096 calls in one: preempted, continued, all executed.
    let list = kernel::memory::pages(64);
    for at in 0..4096u64 {
        poke(list + at * 64, entry(number::XEN_VERSION, [u64::from(op::PAGESIZE), 0, 0, 0, 0, 0]));
    }
    check_eq!(call!(number::MULTICALL, list, 4096u32), 0, "4096 calls in one");
    let done = (0..4096u64).filter(|at| peek::<MulticallEntry>(list + at * 64).result == 4096).count();
    check_eq!(done, 4096, "calls done of 4096");
}

pub(crate) fn console_io() {
    let text = b"";
    if initial_domain() {
        check_eq!(call!(number::CONSOLE_IO, console_io::WRITE, 0u32, text.as_ptr() as u64), 0, "nothing to write");
        faults("console_io write", |bad| call!(number::CONSOLE_IO, console_io::WRITE, 1u32, bad));
        check_eq!(call!(number::CONSOLE_IO, console_io::READ, 0u32, page()), 0, "no room to read into");
        check_eq!(call!(number::CONSOLE_IO, console_io::READ, 16u32, page()), 0, "nothing to read");
        check_eq!(call!(number::CONSOLE_IO, 2u32, 0u32, 0u32), error::ENOSYS, "unknown sub-operation");
    } else {
        for op in [console_io::WRITE, console_io::READ, 2] {
            check_eq!(call!(number::CONSOLE_IO, op, 0u32, page()), error::EPERM, "console_io {op} unprivileged");
        }
    }
}

/// Calls that are refused for an unprivileged domain.
pub(crate) fn privileged() {
    if initial_domain() {
        return;
    }
    let buffer = page();
    let platform = [3u32, 0x0300_0001];
    poke(buffer, platform);
    check_eq!(call!(number::PLATFORM_OP, buffer), error::EPERM, "platform_op");
    poke(buffer, [1u32, 0x15]);
    check_eq!(call!(number::SYSCTL, buffer), error::EPERM, "sysctl");
    // Pauses this domain, and queries domain 0.
    poke(buffer, [3u32, 0x15, 0x7ff0, 0]);
    let result = call!(number::DOMCTL, buffer);
    check!(result == error::EPERM || result == error::ESRCH, "domctl pausedomain on oneself: {result}");
    check_eq!(call!(number::KEXEC_OP, 0u32, buffer), error::EPERM, "kexec_op");
    {
        let op = number::ARCH_0;
        let result = call!(op, buffer);
        check!(result == error::EPERM || result == error::ENOSYS, "mca: {result}");
    }
    for op in
        [number::XSM_OP, number::XENOPROF_OP, number::TMEM_OP, number::ARGO_OP, number::XENPMU_OP, number::HYPFS_OP]
    {
        let result = call!(op, 0u32, buffer, 0u32, 0u32, 0u32);
        check!(result < 0, "hypercall {op} unprivileged: {result}");
    }
}
