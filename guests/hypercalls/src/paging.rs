//! The arguments of calls on page tables. The guest `page-tables` tests their effects on tables.

use kernel::abi::xen::{domid, mmu_command, uvmf, vm_assist, vm_assist_command};
use kernel::call::{DOMID_SELF, error, number};
use kernel::memory::{initial_domain, machine_of, mfn_of, page, pages, poke};
use kernel::tables::{self, READABLE, WRITABLE, mmuext};
use kernel::{call, check, check_eq};

use crate::faults;

pub(crate) fn all() {
    mmu_update();
    mmuext_op();
    update_va_mapping();
    assist();
}

fn mmu_update() {
    let update = |list: u64, count: u32, done: u64, domain: u64| call!(number::MMU_UPDATE, list, count, done, domain);
    let done = page();
    faults("mmu_update", |bad| update(bad, 1, done, DOMID_SELF));
    check_eq!(update(0, 0, 0, DOMID_SELF), 0, "mmu_update of nothing");
    let (list, target) = (pages(16), page());
    let slot = tables::entry_machine(target, 1);
    let fill = |count: u64, command: u64| {
        for at in 0..count {
            poke(list + at * 16, [slot | command, tables::entry_for(target, WRITABLE)]);
        }
    };
    // 4096 updates of one entry: preempted, continued, all executed.
    fill(4096, mmu_command::NORMAL_PT_UPDATE);
    check_eq!(update(list, 4096, done, DOMID_SELF), 0, "4096 updates");
    check_eq!(kernel::memory::peek::<u32>(done), 4096, "updates done of 4096");
    fill(1, mmu_command::PT_UPDATE_PRESERVE_AD);
    check_eq!(update(list, 1, done, DOMID_SELF), 0, "preserve A and D");
    fill(1, mmu_command::PT_UPDATE_NO_TRANSLATE);
    check_eq!(update(list, 1, done, DOMID_SELF), 0, "no translation");
    poke(list, [machine_of(target) & !0xfff | 1, kernel::memory::pfn_of(target)]);
    check_eq!(update(list, 1, done, DOMID_SELF), 0, "M2P update");
    for bad in BAD_DONE {
        let result = update(list, 1, bad, DOMID_SELF);
        check!(result == 0 || result == error::EFAULT, "place for the count at {bad:#x}: {result}");
    }
    for domain in [0x123u64, u64::from(domid::INVALID), u64::from(domid::IDLE)] {
        fill(1, 0);
        check_eq!(update(list, 1, done, domain), error::ESRCH, "mmu_update for domain {domain:#x}");
    }
    if !initial_domain() {
        check_eq!(update(list, 1, done, u64::from(domid::XEN)), error::EPERM, "mmu_update for DOMID_XEN");
        check_eq!(update(list, 1, done, 0), error::EPERM, "mmu_update for domain 0");
    }
    poke(list, [0xffff_ffff_f000u64, 0]);
    check_eq!(update(list, 1, done, DOMID_SELF), error::EINVAL, "mmu_update of a frame that does not exist");
    check_eq!(kernel::memory::peek::<u32>(done), 0, "updates done then");
}

const BAD_DONE: [u64; 2] = [0xffff_8300_0000_0000, 0x10_0000];

fn mmuext_op() {
    let op = |list: u64, count: u32, done: u64, domain: u64| call!(number::MMUEXT_OP, list, count, done, domain);
    let done = page();
    faults("mmuext_op", |bad| op(bad, 1, done, DOMID_SELF));
    check_eq!(op(0, 0, 0, DOMID_SELF), 0, "mmuext_op of nothing");
    let list = pages(24);
    for at in 0..4096u64 {
        poke(list + at * 24, tables::operation(mmuext::INVLPG_LOCAL, list, 0));
    }
    check_eq!(op(list, 4096, done, DOMID_SELF), 0, "4096 operations");
    check_eq!(kernel::memory::peek::<u32>(done), 4096, "operations done of 4096");
    for (command, due) in [(14u32, error::ENOSYS), (21, error::ENOSYS), (u32::MAX, error::ENOSYS)] {
        check_eq!(tables::extended(command, 0, 0), due, "mmuext_op {command}");
    }
    for (command, name) in [
        (mmuext::TLB_FLUSH_LOCAL, "flush"),
        (mmuext::TLB_FLUSH_ALL, "flush all"),
        (mmuext::FLUSH_CACHE_GLOBAL, "cache flush everywhere"),
    ] {
        let due = if command == mmuext::FLUSH_CACHE_GLOBAL && !initial_domain() { error::EINVAL } else { 0 };
        let result = tables::extended(command, 0, 0);
        check_eq!(result, due, "{name}");
    }
    check_eq!(tables::extended(mmuext::INVLPG_ALL, list, 0), 0, "invlpg all");
    check_eq!(tables::extended(mmuext::INVLPG_LOCAL, 0xffff_8300_0000_0000, 0), 0, "invlpg of any address");
    poke(done, 1u64);
    check_eq!(tables::extended(mmuext::TLB_FLUSH_MULTI, 0, done), 0, "flush, by mask");
    check_eq!(tables::extended(mmuext::INVLPG_MULTI, list, done), 0, "invlpg, by mask");
    for bad in crate::BAD {
        check_eq!(tables::extended(mmuext::TLB_FLUSH_MULTI, 0, bad), error::EINVAL, "flush, mask at {bad:#x}");
    }
    let due = if initial_domain() { 0 } else { error::EACCES };
    check_eq!(tables::extended(mmuext::FLUSH_CACHE, 0, 0), due, "cache flush here");
    check_eq!(tables::extended(mmuext::CLEAR_PAGE, mfn_of(list), 0), 0, "clear page");
    check_eq!(tables::extended(mmuext::COPY_PAGE, mfn_of(list), mfn_of(done)), 0, "copy page");
    check_eq!(
        tables::extended(mmuext::CLEAR_PAGE, 0xff_ffff_ffff, 0),
        error::EINVAL,
        "clear a page that does not exist"
    );
    check_eq!(tables::extended(mmuext::COPY_PAGE, mfn_of(list), 0xff_ffff_ffff), error::EINVAL, "copy no page");
    check_eq!(tables::extended(mmuext::MARK_SUPER, mfn_of(list), 0), error::EOPNOTSUPP, "mark super");
    check_eq!(tables::extended(mmuext::UNMARK_SUPER, mfn_of(list), 0), error::EOPNOTSUPP, "unmark super");
    check_eq!(tables::extended(mmuext::SET_LDT, 0, 0), 0, "no LDT");
    check_eq!(tables::extended(mmuext::SET_LDT, list + 8, 1), error::EINVAL, "LDT, not on a page");
    check_eq!(tables::extended(mmuext::SET_LDT, list, 8193), error::EINVAL, "LDT, too long");
    check_eq!(tables::extended(mmuext::SET_LDT, 0xffff_8300_0000_0000, 1), error::EINVAL, "LDT in the hypervisor");
    check_eq!(tables::extended(mmuext::UNPIN_TABLE, mfn_of(list), 0), error::EINVAL, "unpin what is not pinned");
    check_eq!(tables::extended(mmuext::NEW_BASEPTR, mfn_of(list), 0), error::EINVAL, "an invalid root");
    for domain in [0x123u64, u64::from(domid::INVALID)] {
        check_eq!(op(list, 1, done, domain), error::ESRCH, "mmuext_op for domain {domain:#x}");
    }
}

fn update_va_mapping() {
    let target = page();
    let entry = tables::entry_for(target, WRITABLE);
    for flags in [uvmf::NONE, uvmf::TLB_FLUSH, uvmf::INVLPG, uvmf::TLB_FLUSH | uvmf::ALL, uvmf::INVLPG | uvmf::ALL] {
        check_eq!(tables::update_va(target, entry, flags), 0, "update_va_mapping, flags {flags:#x}");
    }
    let mask = page();
    poke(mask, 1u64);
    check_eq!(tables::update_va(target, entry, mask | uvmf::TLB_FLUSH), 0, "flush, by mask");
    check_eq!(tables::update_va(target, entry, mask | uvmf::INVLPG), 0, "invlpg, by mask");
    for bad in crate::BAD {
        if bad != 0 {
            let result = tables::update_va(target, entry, bad | uvmf::INVLPG);
            check_eq!(result, error::EFAULT, "update_va_mapping, mask at {bad:#x}");
        }
    }
    check_eq!(tables::update_va(0xffff_8300_0000_0000, entry, 0), error::EINVAL, "an address of the hypervisor");
    check_eq!(tables::update_va(0x5555_0000_0000, entry, 0), error::EINVAL, "an address without tables");
    check_eq!(tables::update_va(0x8000_0000_0000_0000, entry, 0), error::EINVAL, "a non-canonical address");
    if !initial_domain() {
        let result = tables::update_va(target, 0xff_ffff_f000 | READABLE, 0);
        check_eq!(result, error::EPERM, "a frame that does not exist");
    }
    let other = |domain: u64| call!(number::UPDATE_VA_MAPPING_OTHERDOMAIN, target, entry, 0u32, domain);
    check_eq!(other(DOMID_SELF), 0, "update_va_mapping_otherdomain for oneself");
    check_eq!(other(0x123), error::ESRCH, "update_va_mapping_otherdomain for a nonexistent domain");
    if !initial_domain() {
        check_eq!(other(0), error::EPERM, "update_va_mapping_otherdomain for domain 0");
    }
}

fn assist() {
    let set = |command: u32, kind: u32| call!(number::VM_ASSIST, command, kind);
    for kind in [
        vm_assist::WRITABLE_PAGETABLES,
        vm_assist::PAE_EXTENDED_CR3,
        vm_assist::ARCHITECTURAL_IOPL,
        vm_assist::RUNSTATE_UPDATE_FLAG,
        vm_assist::M2P_STRICT,
        vm_assist::FOUR_GB_SEGMENTS,
        vm_assist::FOUR_GB_SEGMENTS_NOTIFY,
    ] {
        check_eq!(set(vm_assist_command::ENABLE, kind), 0, "vm_assist enables {kind}");
        check_eq!(set(vm_assist_command::DISABLE, kind), 0, "vm_assist disables {kind}");
    }
    for kind in [6u32, 31, 33, 63, 64, u32::MAX] {
        check_eq!(set(vm_assist_command::ENABLE, kind), error::EINVAL, "vm_assist, unknown {kind}");
    }
    check_eq!(set(2, vm_assist::WRITABLE_PAGETABLES), error::ENOSYS, "vm_assist, unknown command");
}
