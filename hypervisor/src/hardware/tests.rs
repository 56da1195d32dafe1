//! Interrupts from simulated lines and devices to a domain's ports, and access to them.

use core::mem::offset_of;
use core::sync::atomic::Ordering;

use abi::errno::Errno;
use abi::event_channel::{BindPirq, BindVcpu, Close, op};
use abi::physdev::{
    Eoi, IrqStatusQuery, MapPirq, PciDevice, PirqEoiGmfn, SetupGsi, UnmapPirq, irq_status, map_pirq, op as physdev,
};
use abi::xen::{DomainId, SharedInfo};
use machine::cpu::{self, Pending};
use machine::hardware::pci::Function;
use machine::hardware::ports::Width;
use machine::hosted::{device_memory, io_apic, ports};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::interrupts;
use crate::call::{CallError, CallResult};
use crate::domain::Port;
use crate::event_channel::{event_channel_op, poll_ready};
use crate::hypercall::physdev_op::physdev_op;
use crate::memory::update_va_mapping::update_va_mapping;
use crate::testing::Guest;

const EDGE_LINE: u32 = 1;
const LEVEL_LINE: u32 = 17;
const SERIAL_LINE: u32 = 4;

fn outcome(result: CallResult) -> Result<(), Errno> {
    match result {
        Ok(_) => Ok(()),
        Err(CallError::Errno(errno)) => Err(errno),
        Err(other) => panic!("{other:?}"),
    }
}

fn physical<T: IntoBytes + FromBytes + Immutable>(guest: &mut Guest, operation: u32, value: &T) -> Result<T, Errno> {
    let place = guest.put(value);
    outcome(physdev_op(&mut guest.caller(), operation, place))?;
    Ok(guest.read(place))
}

fn event<T: IntoBytes + FromBytes + Immutable>(guest: &mut Guest, operation: u32, value: &T) -> Result<T, Errno> {
    let place = guest.put(value);
    outcome(event_channel_op(&mut guest.caller(), operation, place))?;
    Ok(guest.read(place))
}

fn request(kind: u32, index: i32) -> MapPirq {
    let mut request = MapPirq::new_zeroed();
    (request.domain, request.kind) = (DomainId::SELF, kind.cast_signed());
    (request.index, request.pirq) = (index, -1);
    request
}

fn map_line(guest: &mut Guest, line: u32) -> Result<u32, Errno> {
    let request = request(map_pirq::GSI, line.cast_signed());
    physical(guest, physdev::MAP_PIRQ, &request).map(|request| request.pirq.cast_unsigned())
}

fn bind(guest: &mut Guest, pirq: u32) -> Result<u32, Errno> {
    event(guest, op::BIND_PIRQ, &BindPirq { pirq, flags: 1, port: 0 }).map(|arguments| arguments.port)
}

/// Handles pending interrupts as a pCPU does. Returns whether that made `port` pending, and clears
/// it.
fn comes_in(guest: &Guest, port: u32) -> bool {
    if cpu::take_pending().contains(Pending::DEVICE) {
        interrupts::deliver(cpu::current(), crate::event_channel::raise_interrupt);
    }
    let pending = poll_ready(&guest.domain, &[Port::new(port)]);
    let offset = offset_of!(SharedInfo, event_pending) + (port / 64 * 8) as usize;
    guest.domain.shared_info().atomic_u64(offset).fetch_and(!(1 << (port % 64)), Ordering::SeqCst);
    pending
}

#[test]
fn an_edge_makes_the_port_pending_once() {
    let mut guest = Guest::privileged(0, 2);
    let pirq = map_line(&mut guest, EDGE_LINE).expect("a line");
    assert!(io_apic::is_masked(EDGE_LINE));
    let port = bind(&mut guest, pirq).expect("a free port");
    assert_eq!(bind(&mut guest, pirq), Err(Errno::EEXIST));
    io_apic::assert_line(EDGE_LINE, true);
    assert!(comes_in(&guest, port));
    assert!(!comes_in(&guest, port));
    io_apic::assert_line(EDGE_LINE, true);
    assert!(comes_in(&guest, port));
}

#[test]
fn a_level_line_is_masked_until_eoi_and_raised_again_if_asserted() {
    let mut guest = Guest::privileged(0, 2);
    let setup = SetupGsi { gsi: LEVEL_LINE.cast_signed(), triggering: 1, polarity: 0, _pad: 0 };
    assert!(physical(&mut guest, physdev::SETUP_GSI, &setup).is_ok());
    assert_eq!(physical(&mut guest, physdev::SETUP_GSI, &setup).err(), Some(Errno::EEXIST));
    let pirq = map_line(&mut guest, LEVEL_LINE).expect("a line");
    let port = bind(&mut guest, pirq).expect("a free port");
    let query = IrqStatusQuery { irq: pirq, flags: 0 };
    let answer = physical(&mut guest, physdev::IRQ_STATUS_QUERY, &query).expect("an answer");
    assert_eq!(answer.flags, irq_status::NEEDS_EOI);
    io_apic::assert_line(LEVEL_LINE, true);
    assert!(io_apic::is_masked(LEVEL_LINE), "masked as it came in");
    assert!(comes_in(&guest, port));
    assert!(!comes_in(&guest, port), "still asserted, still masked");
    assert!(physical(&mut guest, physdev::EOI, &Eoi { irq: pirq }).is_ok());
    assert!(comes_in(&guest, port), "still asserted");
    io_apic::assert_line(LEVEL_LINE, false);
    assert!(physical(&mut guest, physdev::EOI, &Eoi { irq: pirq }).is_ok());
    assert!(!io_apic::is_masked(LEVEL_LINE));
    assert!(!comes_in(&guest, port));
}

#[test]
fn a_closed_port_masks_its_line_and_the_number_can_be_bound_again() {
    let mut guest = Guest::privileged(0, 2);
    let pirq = map_line(&mut guest, EDGE_LINE).expect("a line");
    let port = bind(&mut guest, pirq).expect("a free port");
    assert!(!io_apic::is_masked(EDGE_LINE));
    assert!(event(&mut guest, op::CLOSE, &Close { port }).is_ok());
    assert!(io_apic::is_masked(EDGE_LINE));
    let port = bind(&mut guest, pirq).expect("a free port");
    let unmap = UnmapPirq { domain: DomainId::SELF, _pad: 0, pirq: pirq.cast_signed() };
    assert!(physical(&mut guest, physdev::UNMAP_PIRQ, &unmap).is_ok());
    assert!(io_apic::is_masked(EDGE_LINE));
    io_apic::assert_line(EDGE_LINE, true);
    assert!(!comes_in(&guest, port));
    assert_eq!(bind(&mut guest, pirq), Err(Errno::EINVAL), "no longer mapped");
}

#[test]
fn lines_of_paravane_and_absent_lines_are_refused() {
    let mut guest = Guest::privileged(0, 2);
    let pirq = map_line(&mut guest, SERIAL_LINE).expect("a number");
    assert_eq!(bind(&mut guest, pirq), Err(Errno::EBUSY));
    assert_eq!(map_line(&mut guest, 1000), Err(Errno::EINVAL));
    assert_eq!(bind(&mut guest, u32::MAX), Err(Errno::EINVAL));
}

#[test]
fn the_eoi_page_marks_interrupts_that_need_an_eoi() {
    let mut guest = Guest::privileged(0, 3);
    let gmfn = guest.mfn(2).get();
    assert!(physical(&mut guest, physdev::PIRQ_EOI_GMFN_V2, &PirqEoiGmfn { gmfn }).is_ok());
    assert_eq!(physical(&mut guest, physdev::PIRQ_EOI_GMFN_V2, &PirqEoiGmfn { gmfn }).err(), Some(Errno::EBUSY));
    for line in [EDGE_LINE, LEVEL_LINE] {
        let pirq = map_line(&mut guest, line).expect("a line");
        bind(&mut guest, pirq).expect("a free port");
    }
    let place = guest.address(2);
    assert_eq!(guest.read::<u64>(place), 1 << LEVEL_LINE);
}

/// Creates a function with MSI at 0x50 and MSI-X at 0x60, whose table is in its first BAR.
fn make_device(address: u32) {
    for (register, value) in [
        (0x00, 0x1234_8086),
        (0x04, 0x0010_0006),
        (0x10, 0xfeb0_0000),
        (0x34, 0x50),
        (0x50, 0x0080_6005),
        (0x60, 0x0003_0011),
        (0x64, 0x0000_1000),
    ] {
        ports::set_config(address + register, value);
    }
}

const DEVICE: u32 = 0x8000_0000 | 3 << 11;

#[test]
fn a_message_is_written_to_the_capability() {
    let mut guest = Guest::privileged(0, 2);
    make_device(DEVICE);
    let mut request = request(map_pirq::MSI_SEG, -1);
    request.device_function = 3 << 3;
    let pirq = physical(&mut guest, physdev::MAP_PIRQ, &request).expect("a number").pirq.cast_unsigned();
    assert_eq!(ports::config(DEVICE + 0x54), 0xfee0_0000);
    let vector = ports::config(DEVICE + 0x5c) & 0xff;
    assert!((0x30..0xf0).contains(&vector), "{vector:#x}");
    assert!(bind(&mut guest, pirq).is_ok());
    request.device_function = 4 << 3;
    assert_eq!(physical(&mut guest, physdev::MAP_PIRQ, &request).err(), Some(Errno::ENODEV), "no such function");
    request.bus = 1 << 16;
    assert_eq!(physical(&mut guest, physdev::MAP_PIRQ, &request).err(), Some(Errno::ENODEV), "no such segment");
}

#[test]
fn a_message_of_msix_is_masked_unless_bound() {
    const TABLE: u64 = 0xfeb0_1000;
    let mut guest = Guest::privileged(0, 2);
    make_device(DEVICE);
    let mut request = request(map_pirq::MSI_SEG, -1);
    (request.device_function, request.entry, request.table_base) = (3 << 3, 2, 0xfeb0_0000);
    let pirq = physical(&mut guest, physdev::MAP_PIRQ, &request).expect("a number").pirq.cast_unsigned();
    let entry = TABLE + 2 * 16;
    assert_eq!((device_memory::read(entry), device_memory::read(entry + 12)), (0xfee0_0000, 1));
    let port = bind(&mut guest, pirq).expect("a free port");
    assert_eq!(device_memory::read(entry + 12), 0);
    assert!(event(&mut guest, op::BIND_VCPU, &BindVcpu { port, vcpu: 1 }).is_ok());
    assert!(event(&mut guest, op::CLOSE, &Close { port }).is_ok());
    assert_eq!(device_memory::read(entry + 12), 1);
    request.entry = 4;
    assert_eq!(physical(&mut guest, physdev::MAP_PIRQ, &request).err(), Some(Errno::EINVAL), "it has four entries");
    // a table in RAM is refused
    ports::set_config(DEVICE + 0x10, 0x1000);
    request.entry = 0;
    assert_eq!(physical(&mut guest, physdev::MAP_PIRQ, &request).err(), Some(Errno::ENXIO));
}

#[test]
fn a_guest_without_devices_changes_nothing() {
    let mut initial = Guest::privileged(0, 2);
    let pirq = map_line(&mut initial, EDGE_LINE).expect("a line");
    let port = bind(&mut initial, pirq).expect("a free port");
    make_device(DEVICE);
    ports::set_config(DEVICE + 0x54, 0);

    let mut guest = Guest::new(1, 2);
    assert_eq!(map_line(&mut guest, EDGE_LINE), Err(Errno::EPERM));
    let mut message = request(map_pirq::MSI_SEG, -1);
    message.device_function = 3 << 3;
    assert_eq!(physical(&mut guest, physdev::MAP_PIRQ, &message).err(), Some(Errno::EPERM));
    let unmap = UnmapPirq { domain: DomainId(0), _pad: 0, pirq: pirq.cast_signed() };
    assert_eq!(physical(&mut guest, physdev::UNMAP_PIRQ, &unmap).err(), Some(Errno::EPERM));
    let setup = SetupGsi { gsi: EDGE_LINE.cast_signed(), triggering: 1, polarity: 1, _pad: 0 };
    assert_eq!(physical(&mut guest, physdev::SETUP_GSI, &setup).err(), Some(Errno::EPERM));
    let device = PciDevice { segment: 0, bus: 0, device_function: 3 << 3 };
    for operation in
        [physdev::PCI_DEVICE_REMOVE, physdev::RESTORE_MSI_EXT, physdev::PREPARE_MSIX, physdev::RELEASE_MSIX]
    {
        assert_eq!(physical(&mut guest, operation, &device).err(), Some(Errno::EPERM), "{operation}");
    }
    assert_eq!(bind(&mut guest, pirq), Err(Errno::EPERM));
    assert_eq!(ports::config(DEVICE + 0x54), 0);
    io_apic::assert_line(EDGE_LINE, true);
    assert!(comes_in(&initial, port), "the line is as it was");
}

/// A frame of a device, present, writable, accessed, dirty, and uncached.
const UNCACHED_DEVICE: u64 = 0xfebf_0000 | 0x77;
const CACHE_DISABLED: u64 = 0x10;

fn map(guest: &mut Guest, page: usize, entry: u64) -> Result<(), Errno> {
    let address = guest.address(page);
    outcome(update_va_mapping(&mut guest.caller(), address, entry, 0))
}

#[test]
fn devices_are_mapped_with_the_cache_attributes_that_were_asked_for() {
    let mut guest = Guest::privileged(0, 3);
    assert_eq!(map(&mut guest, 1, UNCACHED_DEVICE), Ok(()));
    assert_eq!(guest.entry(1) & !4, UNCACHED_DEVICE & !4);
    // Beyond the processor's physical address width.
    assert_eq!(map(&mut guest, 1, 1 << 45 | 0x67), Err(Errno::EPERM));
    let own = guest.entry(2) | CACHE_DISABLED;
    assert_eq!(map(&mut guest, 2, own), Ok(()));
    assert_eq!(guest.entry(2), own);
    assert_eq!(map(&mut guest, 2, own & !CACHE_DISABLED), Ok(()));
    assert_eq!(guest.entry(2), own & !CACHE_DISABLED);
}

#[test]
fn a_guest_without_devices_maps_memory_and_nothing_else() {
    let _initial = Guest::privileged(0, 2);
    let mut guest = Guest::new(1, 3);
    let before = (guest.entry(1), guest.entry(2));
    assert_eq!(map(&mut guest, 1, UNCACHED_DEVICE), Err(Errno::EPERM));
    assert_eq!(map(&mut guest, 1, UNCACHED_DEVICE & !CACHE_DISABLED), Err(Errno::EPERM));
    assert_eq!(map(&mut guest, 2, before.1 | CACHE_DISABLED), Err(Errno::EINVAL));
    assert_eq!((guest.entry(1), guest.entry(2)), before);
}

#[test]
fn ports_of_paravane_read_as_absent_and_configuration_space_is_shared() {
    let _initial = Guest::privileged(0, 2);
    let hardware = super::any().expect("devices");
    for port in [0x20, 0xa1, 0x40, 0x4d0, 0x3f8, 0x3ff] {
        hardware.port_write(port, Width::Byte, 0x12);
        assert_eq!(hardware.port_read(port, Width::Byte), 0xff, "{port:#x}");
    }
    assert_eq!(hardware.port_read(0x1f, Width::Word), 0xffff, "half of it is Paravane's");
    hardware.port_write(0x80, Width::Word, 0x1234);
    assert_eq!(hardware.port_read(0x81, Width::Byte), 0x12);
    make_device(DEVICE);
    hardware.port_write(0xcf8, Width::Double, DEVICE + 0x10);
    let other = Function { bus: 0, device_function: 3 << 3 };
    assert_eq!(hardware.config_read(other, 0, Width::Word), 0x8086, "Paravane's own access in between");
    assert_eq!(hardware.port_read(0xcf8, Width::Double), DEVICE + 0x10);
    assert_eq!(hardware.port_read(0xcfe, Width::Word), 0xfeb0);
}
