//! The state passed by the hypervisor at a guest's start.
use kernel::abi::arch_x86_64::flat;
use kernel::abi::xen::{SharedInfo, sif};
use kernel::memory::{self, M2P, PAGE, command_line, m2p, p2m, peek, start_info, total_pages};
use kernel::start::{self, VIRT_BASE, start_info_address};
use kernel::tables::{self, ADDRESS, LARGE, PRESENT, WRITE};
use kernel::{attempt, check, check_eq, say};

unsafe extern "C" {
    static kernel_end: u8;
}

/// All checks of the start of day.
pub fn main() {
    registers();
    fields();
    frames();
    initial_tables();
    machine_to_physical();
    module();
    shared_info();
}

fn registers() {
    let info = start_info();
    let stack = start::entry_stack();
    check!(
        stack.is_multiple_of(PAGE) && stack > start_info_address(),
        "the boot stack's top {stack:#x} is a page's end"
    );
    check!(stack > info.page_table_base, "the boot stack is after the page tables");
    let (cs, ss): (u64, u64);
    // SAFETY: reads selectors.
    unsafe { core::arch::asm!("mov {0:e}, cs", "mov {1:e}, ss", out(reg) cs, out(reg) ss) };
    check_eq!(cs & 0xffff, u64::from(flat::KERNEL_CS64), "CS");
    check_eq!(ss & 0xffff, u64::from(flat::KERNEL_SS64), "SS");
    check_eq!(start::entry_mask(), 1, "events are masked at start");
}

fn fields() {
    let info = start_info();
    check!(start_info_address().is_multiple_of(PAGE), "the start info is a page");
    check!(info.magic.starts_with(b"xen-3.0-x86_64"), "magic");
    check_eq!(info.flags & sif::MULTIBOOT_MOD, 0, "no multiboot module list");
    if memory::initial_domain() {
        check_eq!(info.flags & sif::PRIVILEGED, sif::PRIVILEGED, "the initial domain is privileged");
    } else {
        check_eq!(info.flags & sif::PRIVILEGED, 0, "not privileged");
        for (what, mfn, port) in [
            ("console", info.console_mfn, info.console_event_channel),
            ("store", info.store_mfn, info.store_event_channel),
        ] {
            check!(mfn != 0 && m2p(mfn) < total_pages(), "{what} frame {mfn:#x} is the guest's");
            check!(p2m(m2p(mfn)) == mfn, "{what} frame {mfn:#x} is in the P2M");
            check!(port != 0, "{what} port");
        }
    }
    check!(info.shared_info.is_multiple_of(PAGE) && info.shared_info != 0, "machine address of the shared info");
    let line = command_line();
    let text = core::str::from_utf8(line).unwrap_or("?");
    say!("command line: {text}");
    check!(text.contains("one=1 two=22  last"), "the command line is unchanged, blanks included: {text:?}");
    check_eq!(memory::argument("two"), Some(22), "command line argument");
}

/// Pages, their order, and that each belongs only to this guest.
fn frames() {
    let info = start_info();
    let total = info.page_count;
    check!(total >= 4096, "at least 16 MiB: {total} pages");
    check!(info.mfn_list.is_multiple_of(PAGE), "the P2M list begins on a page");
    if memory::argument("high").is_some() {
        check_eq!(info.mfn_list, 0xffff_c000_0000_0000, "P2M list at the address of INIT_P2M");
        check!(info.first_p2m_pfn < total, "first P2M frame {:#x}", info.first_p2m_pfn);
        // The frames of the list, and of the tables that map it.
        let list = (total * 8).div_ceil(PAGE);
        check!(info.p2m_frame_count > list && info.p2m_frame_count < list + 10, "P2M frames {}", info.p2m_frame_count);
        for page in [0, list - 1] {
            let pfn = m2p(frame_of(info.mfn_list + page * PAGE));
            let range = info.first_p2m_pfn..info.first_p2m_pfn + info.p2m_frame_count;
            check!(range.contains(&pfn), "P2M page {page} at frame {pfn:#x}, inside {range:x?}");
        }
    } else {
        check_eq!(info.p2m_frame_count, 0, "no P2M frames of their own");
        let end = &raw const kernel_end as u64;
        check!(info.mfn_list >= end, "the P2M list {:#x} is after the kernel's end {end:#x}", info.mfn_list);
        check!(info.mfn_list + total * 8 <= start_info_address(), "the P2M list is before the start info");
    }
    let mut wrong = 0;
    for pfn in 0..total {
        let mfn = p2m(pfn);
        if m2p(mfn) != pfn {
            wrong += 1;
        }
    }
    check_eq!(wrong, 0, "frames whose M2P entry is not their number");
}

/// Machine frame mapped at `address`, by tables that need not be mapped themselves.
fn frame_of(address: u64) -> u64 {
    let window = memory::page();
    let mut table = memory::mfn_of(tables::root());
    for shift in [39, 30, 21, 12] {
        check_eq!(tables::update_va(window, (table * PAGE) | tables::READABLE, 2), 0, "mapping a table");
        let entry: u64 = peek(window + ((address >> shift) & 511) * 8);
        check!(entry & PRESENT != 0, "{address:#x} is mapped ({entry:#x}, shift {shift})");
        table = (entry & ADDRESS) / PAGE;
    }
    tables::unprotect(window);
    table
}

/// The tables map the whole start region once, and are themselves read-only.
fn initial_tables() {
    let info = start_info();
    let root = info.page_table_base;
    check!(root.is_multiple_of(PAGE), "the root is a page");
    let cr3: u64;
    // SAFETY: an emulated read.
    unsafe { core::arch::asm!("mov {}, cr3", out(reg) cr3) };
    check_eq!(cr3, memory::machine_of(root), "CR3 is the root's machine address");
    let frames = info.page_table_frame_count;
    check!((4..64).contains(&frames), "count of table frames {frames}");
    let tables = root..root + frames * PAGE;
    check!(start::entry_stack() >= tables.end, "the stack is after the tables");
    let mut end = VIRT_BASE;
    let mut writable_tables = 0;
    let mut read_only = 0;
    let mut strange = 0;
    while let Some(slot) = tables::entry_in(root, end, 1) {
        let entry: u64 = peek(slot);
        if entry & PRESENT == 0 {
            break;
        }
        let pfn = (end - VIRT_BASE) / PAGE;
        if (entry & ADDRESS) / PAGE != p2m(pfn) || entry & LARGE != 0 {
            // The shared kernel has mapped the shared info over this page.
            strange += u64::from(end != memory::shared_info());
        }
        if tables.contains(&end) {
            writable_tables += u64::from(entry & WRITE != 0);
        } else {
            read_only += u64::from(entry & WRITE == 0);
        }
        end += PAGE;
    }
    check_eq!(strange, 0, "pages of the start region that are not virtual = pseudo-physical + base");
    check_eq!(writable_tables, 0, "page tables that are mapped writable");
    check_eq!(read_only, 0, "other pages that are mapped read-only");
    check_eq!(end % (4 << 20), 0, "the region's end {end:#x} is at 4 MiB");
    let last = start::entry_stack();
    check!(end >= last + (512 << 10), "512 KiB after the last element: {last:#x} to {end:#x}");
    let trap = attempt!("mov [{at}], rax"; at = in(reg) root);
    check!(
        trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 3 && trap.cr2 == root),
        "a write to the root faults: {trap:x?}"
    );
    let trap = attempt!("mov al, [{at}]"; at = in(reg) end, out("al") _);
    check!(
        trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 0 && trap.cr2 == end),
        "a read after the region faults: {trap:x?}"
    );
}

fn machine_to_physical() {
    let trap = attempt!("mov [{at}], rax"; at = in(reg) M2P + p2m(0) * 8);
    check!(
        trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 3),
        "the M2P is read-only: {trap:x?}"
    );
    let trap = attempt!("mov al, [{at}]"; at = in(reg) 0xffff_8300_0000_0000u64, out("al") _);
    check!(trap.is_some_and(|trap| trap.frame.vector == 14), "the hypervisor's memory is not accessible: {trap:x?}");
    let trap = attempt!("jmp {at}"; at = in(reg) M2P);
    check!(trap.is_some_and(|trap| trap.frame.vector == 14), "the M2P is not executable: {trap:x?}");
    let shared = m2p(start_info().shared_info / PAGE);
    check!(shared >= total_pages(), "the shared info is no frame of the P2M ({shared:#x})");
}

fn module() {
    let info = start_info();
    let Some(length) = memory::argument("module") else {
        check_eq!((info.module_start, info.module_length), (0, 0), "no module");
        return;
    };
    // The length of a module given by frame may be rounded up to whole pages.
    let told = info.module_length;
    check!(told == length || told == length.next_multiple_of(PAGE), "the module's length {told}");
    let start = if info.flags & sif::MOD_START_PFN == 0 { info.module_start } else { 0 };
    check_eq!(start == 0, memory::argument("high").is_some(), "MOD_START_PFN is set as requested by the notes");
    if start != 0 {
        check!(start % PAGE == 0 && start >= &raw const kernel_end as u64, "the module is after the kernel");
        check!(start + length <= info.mfn_list, "the module is before the P2M list");
        check_eq!(peek::<[u8; 8]>(start), *b"paravane", "the module's first bytes");
        check_eq!(peek::<[u8; 4]>(start + length - 4), *b"end\n", "the module's last bytes");
    } else {
        check!(info.module_start + length.div_ceil(PAGE) <= total_pages(), "frames of the module");
    }
}

fn shared_info() {
    let shared: SharedInfo = peek(memory::shared_info());
    check_eq!(shared.arch.p2m_frame_list_list, 0, "no P2M tree yet");
    check_eq!(shared.arch.p2m_cr3, 0, "no linear P2M announced yet");
    check_eq!(shared.wall_clock_version % 2, 0, "the wall clock is not being written");
    check!(shared.wall_clock_seconds > 1_000_000_000, "wall clock {} s", shared.wall_clock_seconds);
    let time = shared.vcpu_info[0].time;
    check!(time.version.is_multiple_of(2) && time.version != 0, "time version {}", time.version);
    check!(time.tsc_to_system_mul != 0 && time.system_time != 0, "time of vCPU 0: {time:x?}");
}
