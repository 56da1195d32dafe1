//! The restricted roots of each CPU (see `context::roots`): built at boot. Their
//! mappings of Paravane never change, except for the pages of the CPU's window that belong to the
//! active vCPU.

use super::early::Early;
use super::tables::{self, Mapper, PRESENT, WRITABLE};
use super::windows;
use crate::addr::CpuId;
use crate::layout;
use crate::per_cpu::RESTRICTED_ROOTS_SIZE;

/// The root-table entry that maps the entry code and the interrupt table at their addresses in the
/// image.
pub(crate) fn entry_code(interrupt_table: u64, memory: &mut Early) -> u64 {
    let mut mapper = Mapper::empty(memory);
    let parts = [
        (layout::entry_page(), layout::entry_end(), PRESENT),
        (interrupt_table, interrupt_table + 4096, mapper.read_only()),
    ];
    for (start, end, flags) in parts {
        for page in (start..end).step_by(4096) {
            mapper.map(memory, page, page - layout::IMAGE_OFFSET, 4096, flags);
        }
    }
    tables::read(mapper.root(), layout::slot(layout::IMAGE_OFFSET))
}

/// Builds the restricted roots of a CPU, whose window is complete. Returns their physical address.
pub(crate) fn build(cpu: CpuId, entry_code: u64, own: &Mapper, memory: &mut Early) -> u64 {
    let base = windows::base(cpu);
    let roots = memory.take_zeroed(RESTRICTED_ROOTS_SIZE, RESTRICTED_ROOTS_SIZE);
    let [level3, level2] = [(); 2].map(|()| memory.take_zeroed(4096, 4096));
    let first_part = tables::entry_at(own.root(), base, 2).expect("the window is mapped by small pages");
    tables::write(level2, tables::index(base, 2), first_part);
    tables::write(level3, tables::index(base, 3), level2 | PRESENT | WRITABLE);
    for root in [roots, roots + 4096] {
        tables::write(root, layout::slot(base), level3 | PRESENT | WRITABLE);
        tables::write(root, layout::slot(layout::IMAGE_OFFSET), entry_code);
    }
    roots
}
