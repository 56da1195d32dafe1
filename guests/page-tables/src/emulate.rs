//! Plain and locked instructions on a live last-level table, through its read-only mapping.

use kernel::abi::xen::{vm_assist, vm_assist_command};
use kernel::call::number;
use kernel::memory::{page, peek, poke};
use kernel::tables::{self, GLOBAL, READABLE, WRITABLE};
use kernel::{attempt, call, check, check_eq};

use crate::{Region, writable};

pub(crate) fn all() {
    let region = Region::new(2);
    check_eq!(
        call!(number::VM_ASSIST, vm_assist_command::ENABLE, vm_assist::WRITABLE_PAGETABLES),
        0,
        "writable page tables"
    );
    let given = page();
    poke(given, 0x42u64);
    let (readable, full) = (tables::entry_for(given, READABLE), tables::entry_for(given, WRITABLE));
    let at = region.table + 7 * 8;
    let see = |due: u64, what: &str| check_eq!(region.entry(7), due, "{what}: the entry");

    check!(attempt!("mov [{at}], {value}"; at = in(reg) at, value = in(reg) full).is_none(), "mov");
    see(full, "mov");
    check_eq!(peek::<u64>(region.address(7)), 0x42, "the page is there");
    let mut old = 0u64;
    check!(attempt!("xchg [{at}], {value}"; at = in(reg) at, value = inout(reg) old).is_none(), "xchg");
    see(0, "xchg");
    check_eq!(old & !0x160, full & !0x160, "xchg returns the old entry");
    let (mut expected, zero): (u64, u64);
    expected = 0;
    let trap = attempt!("lock cmpxchg [{at}], {value}", "setz {zero:l}";
        at = in(reg) at, value = in(reg) full, inout("rax") expected, zero = out(reg) zero);
    check!(trap.is_none(), "lock cmpxchg");
    check_eq!((expected, zero & 1), (0, 1), "lock cmpxchg succeeds");
    see(full, "lock cmpxchg");
    expected = 0x1234;
    let zero: u64;
    let trap = attempt!("lock cmpxchg [{at}], {value}", "setz {zero:l}";
        at = in(reg) at, value = in(reg) 0u64, inout("rax") expected, zero = out(reg) zero);
    check!(trap.is_none(), "lock cmpxchg, other value");
    check_eq!((expected & !GLOBAL, zero & 1), (full, 0), "lock cmpxchg fails and returns the current entry");
    see(full, "lock cmpxchg that fails");
    check!(attempt!("lock and qword ptr [{at}], -3"; at = in(reg) at).is_none(), "lock and");
    see(full & !2, "lock and");
    check_eq!(tables::extended(tables::mmuext::INVLPG_LOCAL, region.address(7), 0), 0, "invlpg");
    check!(!writable(region.address(7)), "the page is read-only now");
    check!(attempt!("lock or qword ptr [{at}], 2"; at = in(reg) at).is_none(), "lock or");
    see(full, "lock or");
    let carry: u64;
    let trap = attempt!("lock btr qword ptr [{at}], 5", "setc {carry:l}"; at = in(reg) at, carry = out(reg) carry);
    check!(trap.is_none(), "lock btr");
    check_eq!(carry & 1, 1, "lock btr: carry");
    see(full & !0x20, "lock btr");
    let trap = attempt!("lock bts qword ptr [{at}], {bit}"; at = in(reg) at, bit = in(reg) 5u64);
    check!(trap.is_none(), "lock bts by register");
    see(full, "lock bts");
    check!(attempt!("and byte ptr [{at}], 0x9f"; at = in(reg) at).is_none(), "and of a byte");
    see(full & !0x60, "and of a byte");
    check!(
        attempt!("mov dword ptr [{at}], {low:e}"; at = in(reg) at, low = in(reg) readable).is_none(),
        "mov of four bytes"
    );
    see(readable & 0xffff_ffff | full & !0xffff_ffff, "mov of four bytes");
    check!(attempt!("mov qword ptr [{at}], 0"; at = in(reg) at).is_none(), "mov of an immediate");
    see(0, "mov of an immediate");
    let (mut destination, source) = (at, [full, 0]);
    let trap = attempt!("movsq"; inout("rdi") destination, inout("rsi") &source => _);
    check!(trap.is_none() && destination == at + 8, "movsq");
    see(full, "movsq");
    check!(attempt!("stosq"; inout("rdi") at => _, in("rax") 0u64).is_none(), "stosq");
    see(0, "stosq");
    check!(attempt!("push rax", "mov rax, rcx", "mov [{at} + rax*8 - 8], rdx", "pop rax"; at = in(reg) at, in("rcx") 1u64, in("rdx") full).is_none(),
        "mov with index and displacement");
    see(full, "mov with index");

    // Entries that mmu_update refuses are refused here too: a page fault, and the entry is
    // unchanged.
    let bad = tables::entry_for(tables::root(), WRITABLE);
    let trap = attempt!("mov [{at}], {value}"; at = in(reg) at, value = in(reg) bad);
    check!(
        trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 3 && trap.cr2 == at),
        "a bad entry by mov: {trap:x?}"
    );
    see(full, "a bad entry by mov");
    // Upper-level tables cannot be written in this way.
    for level in 2..=4 {
        let slot = tables::entry(region.start, level);
        let before: u64 = peek(slot);
        let trap = attempt!("mov [{at}], {value}"; at = in(reg) slot, value = in(reg) before);
        check!(
            trap.is_some_and(|trap| trap.frame.vector == 14 && trap.frame.error == 3 && trap.cr2 == slot),
            "mov to an L{level}: {trap:x?}"
        );
    }
    // An unaligned write across two entries.
    let trap = attempt!("mov [{at}], {value}"; at = in(reg) at + 4, value = in(reg) 0u64);
    check!(trap.is_some_and(|trap| trap.frame.vector == 14), "an unaligned mov: {trap:x?}");
    see(full, "an unaligned mov");
    check!(attempt!("mov qword ptr [{at}], 0"; at = in(reg) at).is_none(), "mov of zero");
}
