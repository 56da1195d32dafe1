#![expect(unsafe_code, reason = "the first Rust code on the machine")]
//! Start-up, from the boot loader to `main`.

pub(crate) mod smp;

use core::arch::{asm, global_asm};
use core::cell::RefCell;

use arrayvec::ArrayVec;

use crate::addr::{CpuId, MAX_CPUS, Mfn};
use crate::address_space::early::Early;
use crate::address_space::tables::{self, Mapper};
use crate::address_space::{boot_memory, restricted_roots, windows};
use crate::boot::acpi::Acpi;
use crate::boot::options::{HistorySequence, Thunk};
use crate::boot::{self, BootInfo, Efi, MAX_OWN_DEVICES, Memory, MemoryKind};
use crate::console::backend as console;
use crate::context::entry;
use crate::defences::HistoryControl;
use crate::integers::to_usize;
use crate::processor::{self, msr, registers};
use crate::ram::{self, Ram};
use crate::{apic, defences, firmware, frames, heap, interrupts, layout, microcode_update, time, traps};

global_asm!(
    include_str!("boot.S"),
    image_offset = const layout::IMAGE_OFFSET,
    image_slot = const layout::slot(layout::IMAGE_OFFSET),
    direct_map_slot = const layout::slot(layout::DIRECT_MAP_BASE),
    start = sym start_boot_cpu,
    start_ap = sym smp::start_ap,
    ap_root = sym smp::AP_ROOT,
    ap_stack = sym smp::AP_STACK,
    msr_efer = const msr::EFER,
);

unsafe extern "Rust" {
    safe fn paravane_main() -> !;
}

/// Called by the entry code on the boot stack, with the boot page tables: the first 4 GiB are in
/// the direct map.
extern "C" fn start_boot_cpu(magic: u32, information: u32) -> ! {
    let mut info = BootInfo::default();
    let parsed = boot::parse(magic, information.into(), &boot_memory::read_low, &mut info);
    boot_memory::claim_modules(&mut info);
    let info = boot::seal_info(info);
    let options = boot::options();
    let features = processor::detect();
    let consoles = console::init(options, info);
    crate::console::init_log(options.log_level);
    log::info!("Paravane {}", env!("CARGO_PKG_VERSION"));
    log::info!("command line: {}", info.command_line());
    assert!(parsed.is_some(), "not started by a Multiboot loader (eax = {magic:#x})");
    consoles.log(options);
    for complaint in boot::options::complaints(info.command_line()) {
        log::warn!("{complaint}");
    }
    if info.omitted() > 0 {
        log::warn!("{} modules or memory ranges of the loader are invalid or did not fit", info.omitted());
    }
    processor::enable();
    log::debug!("{features:?}");

    let (mut memory, low_page) = boot_memory::free(info);
    let mut mapper = Mapper::new(&mut memory);
    let mut described = build_memory(info, &mut mapper, &mut memory);
    let mapper = RefCell::new((mapper, memory));
    let acpi = read_acpi(info, &mapper);
    let acpi = boot::seal_acpi(acpi.unwrap_or_default());
    let (mut mapper, mut memory) = mapper.into_inner();
    bring_up_devices(acpi, &mut mapper, &mut memory);
    described.ram = boot_memory::ram(info);
    described.own_devices = own_devices(acpi);
    let firmware = info.efi_runtime().iter().filter(|range| range.is_memory());
    described.firmware = firmware.map(|range| range.start >> 12..range.end >> 12).collect();
    described.read_only = [acpi.hpet, low_page].into_iter().flatten().map(|address| address >> 12).collect();
    build_windows(&mut mapper, &mut memory);
    if let Some(page) = low_page {
        smp::place_trampoline(page);
    }
    finish_memory(described, memory);

    // SAFETY: this is the only running CPU, and there is no guest.
    unsafe { traps::prepare() };
    let stack = windows::main_stack_top(CpuId::BOOT);
    // SAFETY: the stack was just mapped for this CPU, and no data on the old one is needed again.
    unsafe {
        asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2", in(reg) stack, sym on_main_stack, options(noreturn))
    }
}

/// Initial size of Paravane's own heap. Half is the reserve; the rest is enough for about twenty
/// guests with two vCPUs and devices.
const HEAP_SIZE: u64 = 2 << 20;

/// Builds the direct map and maps image, M2P, frame table, heap and video memory; then loads the
/// new tables.
fn build_memory(info: &BootInfo, mapper: &mut Mapper, memory: &mut Early) -> Memory {
    let ram_end = boot_memory::ram_end(info);
    let frames = ram_end >> 12;
    map_image(mapper, memory);
    mapper.map(memory, layout::direct(0), 0, 1 << 20, mapper.data() | tables::GLOBAL);
    for range in info.memory_map() {
        if matches!(range.kind, MemoryKind::Usable | MemoryKind::AcpiReclaimable | MemoryKind::AcpiNvs) {
            let (start, end) = (range.start & !0xfff, range.end.min(boot::MAX_MEMORY).next_multiple_of(4096));
            if start < end {
                mapper.map(memory, layout::direct(start), start, end - start, mapper.data() | tables::GLOBAL);
            }
        }
    }
    let large = 1 << 21;
    let m2p_size = (frames * layout::M2P_ENTRY_SIZE).next_multiple_of(large);
    let m2p = memory.take_filled(m2p_size, large, 0xff);
    // Not global: roots that do not map it must not find it in the TLB.
    mapper.map(memory, layout::M2P_BASE, m2p, m2p_size, mapper.read_only() | tables::USER);
    let table_size = (frames * ram::FRAME_SLOT_SIZE as u64).next_multiple_of(4096);
    let table = memory.take_zeroed(table_size, if table_size < large { 4096 } else { large });
    mapper.map(memory, layout::FRAME_TABLE_BASE, table, table_size, mapper.data() | tables::GLOBAL);
    let ram_frames = boot_memory::ram_frames(info);
    let heap = memory.take(HEAP_SIZE, 4096);
    let screen = console::screen::map(mapper, memory);
    // SAFETY: image, boot stack (in the image) and all RAM are mapped as in the boot tables.
    unsafe { mapper.activate() };
    console::screen::use_mapping(screen);
    // SAFETY: the range was permanently removed from free memory, and is in the direct map.
    unsafe { heap::add(layout::direct(heap), to_usize(HEAP_SIZE)) };
    log::info!(
        "{} MiB of RAM, {} MiB of it for Paravane's tables and heap",
        ram_frames >> 8,
        (m2p_size + table_size + HEAP_SIZE) >> 20
    );
    Memory { ram_end: frames, ram_frames, m2p, frame_table: table, ..Memory::default() }
}

fn map_image(mapper: &mut Mapper, memory: &mut Early) {
    let code = tables::PRESENT;
    let parts = [
        (layout::image_start(), layout::boot_end(), code),
        (layout::text_start(), layout::text_end(), code),
        (layout::text_end(), layout::rodata_end(), mapper.read_only()),
        (layout::rodata_end(), layout::image_end(), mapper.data()),
    ];
    for (start, end, flags) in parts {
        mapper.map(memory, start, start - layout::IMAGE_OFFSET, end - start, flags | tables::GLOBAL);
    }
}

fn read_acpi(info: &BootInfo, tables: &RefCell<(Mapper, Early)>) -> Option<Acpi> {
    let map = |address: u64, length: u64| {
        let (mapper, memory) = &mut *tables.borrow_mut();
        boot_memory::map_firmware(address, length, mapper, memory)
    };
    let acpi = Acpi::read(&map, info.rsdp());
    let efi = info.efi_system_table().and_then(|address| Efi::read(&map, address, info.efi_runtime()));
    if let Some(efi) = &efi {
        log::debug!("{efi:x?}");
        if boot::options().efi_runtime_services {
            let (mapper, memory) = &mut *tables.borrow_mut();
            firmware::init(info, efi, mapper, memory);
        }
    }
    boot::seal_efi(efi);
    match &acpi {
        Some(acpi) => {
            log::debug!("{acpi:?}");
            if acpi.cpus_left_out > 0 {
                log::warn!("{} CPUs stay off: at most {MAX_CPUS} are started", acpi.cpus_left_out);
            }
        }
        None => log::warn!("no ACPI tables: one CPU, no power-off"),
    }
    acpi
}

fn bring_up_devices(acpi: &'static Acpi, mapper: &mut Mapper, memory: &mut Early) {
    apic::choose(processor::features().x2apic, acpi.local_apic, |physical| mapper.map_mmio(memory, physical, 4096));
    interrupts::silence_old_controllers();
    apic::init();
    interrupts::init(acpi, |physical| mapper.map_mmio(memory, physical, 0x20));
    time::init(acpi, |physical| mapper.map_mmio(memory, physical, 1024));
    mapper.prepare_device_window(memory);
}

/// The frames of the interrupt controllers, which Paravane reserves.
fn own_devices(acpi: &Acpi) -> ArrayVec<u64, MAX_OWN_DEVICES> {
    let io_apics = acpi.io_apics.iter().map(|found| found.address);
    [apic::physical()].into_iter().chain(io_apics).map(|address| address >> 12).collect()
}

fn build_windows(mapper: &mut Mapper, memory: &mut Early) {
    let zeros = memory.take_zeroed(4096, 4096);
    tables::set_zeros(zeros);
    let others = boot::other_cpus().iter().copied();
    let entry_code = restricted_roots::entry_code(traps::interrupt_table(), memory);
    for (number, apic_id) in (0..).zip([apic::id()].into_iter().chain(others)) {
        if let Some(cpu) = CpuId::new(number) {
            let info = windows::build(cpu, zeros, mapper, memory);
            info.apic_id = apic_id;
            info.own_root = mapper.root();
            info.restricted_roots = restricted_roots::build(cpu, entry_code, mapper, memory);
        }
    }
}

/// Seals the memory layout.
fn finish_memory(mut described: Memory, memory: Early) {
    for range in memory.into_free().iter() {
        // A range that does not fit is not used; there is no other effect.
        let _ = described.free.try_push(range.start >> 12..range.end >> 12);
    }
    let mut root_entries = [0; layout::SLOTS];
    for (index, entry) in root_entries.iter_mut().enumerate() {
        *entry = tables::root_entry(layout::FIRST_SLOT + index);
    }
    ram::init(Ram { m2p: layout::direct(described.m2p), root_entries }, described.ram_end);
    boot::seal_memory(described);
}

/// Removes from the assembly what is not needed, and prepares the processor for what is.
fn apply_defences() {
    use entry::Feature;
    let plan = &defences::report().plan;
    let split_roots = plan.split_roots.any();
    if split_roots {
        processor::forget_global_pages();
    }
    let (verw, returns, barrier) = (plan.verw, plan.fill_return_stack, plan.barrier_at_entry.any());
    let spec_ctrl = defences::report().guest_spec_ctrl().at_entry;
    let sequence = match plan.history {
        HistoryControl::Cleared(sequence, _) => Some(sequence),
        _ => None,
    };
    let branches = barrier || spec_ctrl || sequence.is_some() || returns;
    let rare_at_enter = spec_ctrl || plan.div_scrub;
    let features = [
        (processor::smap(), Feature::UserAccess),
        (split_roots, Feature::SplitRoots),
        (verw, Feature::ClearBuffers),
        (returns, Feature::ReturnStack),
        (barrier, Feature::BarrierAtEntry),
        (spec_ctrl, Feature::SpecCtrl),
        (sequence == Some(HistorySequence::Short), Feature::HistoryShort),
        (sequence == Some(HistorySequence::Long), Feature::HistoryLong),
        (sequence == Some(HistorySequence::Tsx), Feature::HistoryTransaction),
        (sequence.is_some(), Feature::ClearHistory),
        (plan.div_scrub, Feature::OverwriteQuotient),
        (plan.verw_idle, Feature::BuffersBeforeIdle),
        (plan.fill_return_stack_idle, Feature::ReturnStackBeforeIdle),
        (branches, Feature::BranchesAtExit),
        (rare_at_enter, Feature::RareAtEnter),
        (split_roots || branches, Feature::AnyAtExit),
        (split_roots || verw || rare_at_enter, Feature::AnyAtEnter),
        (!plan.align_branches, Feature::PlainReturn),
        (plan.thunk == Thunk::Jump, Feature::PlainBranch),
        (plan.thunk == Thunk::Lfence, Feature::FencedBranch),
    ];
    for (_, feature) in features.into_iter().filter(|(used, _)| !used) {
        // SAFETY: this is the only running CPU, and there is no guest.
        unsafe { entry::remove(feature) };
    }
    if !plan.align_branches {
        // SAFETY: as above.
        unsafe { processor::returns::make_plain() };
    }
}

/// The rest of start-up, on this CPU's own stack.
extern "C" fn on_main_stack() -> ! {
    traps::load(CpuId::BOOT);
    let memory = boot::memory();
    for range in memory.free() {
        frames::add_free_range(Mfn::new(range.start.get()), range.end);
    }
    // Faults are handled already, and the defences are not planned yet.
    if microcode_update::load_at_boot() && processor::have_changed() {
        log::warn!("microcode: the update has changed features that were detected before");
    }
    defences::init();
    apply_defences();
    console::end_of_boot(&boot::options().serial);
    log::debug!("CR4 {:#x}, APIC {}", registers::read_cr4(), if apic::is_x2apic() { "by MSR" } else { "in memory" });
    paravane_main()
}
