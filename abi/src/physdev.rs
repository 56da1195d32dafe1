//! `physdev.h`: operations of `physdev_op`.

use crate::layout::{constants, structs};
use crate::xen::DomainId;

constants! {
    header "xen/physdev.h";

    /// Sub-operations.
    pub mod op: u32 {
        EOI = 12, "PHYSDEVOP_eoi";
        PIRQ_EOI_GMFN_V1 = 17, "PHYSDEVOP_pirq_eoi_gmfn_v1";
        PIRQ_EOI_GMFN_V2 = 28, "PHYSDEVOP_pirq_eoi_gmfn_v2";
        IRQ_STATUS_QUERY = 5, "PHYSDEVOP_irq_status_query";
        SET_IOPL = 6, "PHYSDEVOP_set_iopl";
        SET_IOBITMAP = 7, "PHYSDEVOP_set_iobitmap";
        APIC_READ = 8, "PHYSDEVOP_apic_read";
        APIC_WRITE = 9, "PHYSDEVOP_apic_write";
        ALLOC_IRQ_VECTOR = 10, "PHYSDEVOP_alloc_irq_vector";
        FREE_IRQ_VECTOR = 11, "PHYSDEVOP_free_irq_vector";
        MAP_PIRQ = 13, "PHYSDEVOP_map_pirq";
        UNMAP_PIRQ = 14, "PHYSDEVOP_unmap_pirq";
        MANAGE_PCI_ADD = 15, "PHYSDEVOP_manage_pci_add";
        MANAGE_PCI_REMOVE = 16, "PHYSDEVOP_manage_pci_remove";
        RESTORE_MSI = 19, "PHYSDEVOP_restore_msi";
        MANAGE_PCI_ADD_EXT = 20, "PHYSDEVOP_manage_pci_add_ext";
        SETUP_GSI = 21, "PHYSDEVOP_setup_gsi";
        GET_FREE_PIRQ = 23, "PHYSDEVOP_get_free_pirq";
        PCI_MMCFG_RESERVED = 24, "PHYSDEVOP_pci_mmcfg_reserved";
        PCI_DEVICE_ADD = 25, "PHYSDEVOP_pci_device_add";
        PCI_DEVICE_REMOVE = 26, "PHYSDEVOP_pci_device_remove";
        RESTORE_MSI_EXT = 27, "PHYSDEVOP_restore_msi_ext";
        PREPARE_MSIX = 30, "PHYSDEVOP_prepare_msix";
        RELEASE_MSIX = 31, "PHYSDEVOP_release_msix";
        DBGP_OP = 29, "PHYSDEVOP_dbgp_op";
    }

    /// Bits of [`IrqStatusQuery::flags`].
    pub mod irq_status: u32 {
        NEEDS_EOI = 1, "XENIRQSTAT_needs_eoi";
        SHARED = 2, "XENIRQSTAT_shared";
    }

    /// Values of [`MapPirq::kind`].
    pub mod map_pirq: u32 {
        MSI = 0, "MAP_PIRQ_TYPE_MSI";
        GSI = 1, "MAP_PIRQ_TYPE_GSI";
        UNKNOWN = 2, "MAP_PIRQ_TYPE_UNKNOWN";
        MSI_SEG = 3, "MAP_PIRQ_TYPE_MSI_SEG";
        MULTI_MSI = 4, "MAP_PIRQ_TYPE_MULTI_MSI";
    }

    /// Bits of [`PciMmcfgReserved::flags`].
    pub mod mmcfg: u32 {
        RESERVED = 1, "XEN_PCI_MMCFG_RESERVED";
    }

    /// Bits of [`PciDeviceAdd::flags`].
    pub mod pci_device: u32 {
        EXTFN = 1, "XEN_PCI_DEV_EXTFN";
        VIRTFN = 2, "XEN_PCI_DEV_VIRTFN";
        PXM = 4, "XEN_PCI_DEV_PXM";
    }

    /// Values of [`DebugPort::operation`] and [`DebugPort::bus`].
    pub mod debug_port: u32 {
        RESET_PREPARE = 1, "PHYSDEVOP_DBGP_RESET_PREPARE";
        RESET_DONE = 2, "PHYSDEVOP_DBGP_RESET_DONE";
        BUS_UNKNOWN = 0, "PHYSDEVOP_DBGP_BUS_UNKNOWN";
        BUS_PCI = 1, "PHYSDEVOP_DBGP_BUS_PCI";
    }
}

structs! {
    header "xen/physdev.h";

    /// `eoi`.
    pub struct Eoi = "struct physdev_eoi" [4] {
        [0] irq: u32,
    }

    /// `pirq_eoi_gmfn_v1`, `pirq_eoi_gmfn_v2`.
    pub struct PirqEoiGmfn = "struct physdev_pirq_eoi_gmfn" [8] {
        [0] gmfn: u64,
    }

    /// `irq_status_query`.
    pub struct IrqStatusQuery = "struct physdev_irq_status_query" [8] {
        [0] irq: u32,
        /// Out: bits of [`irq_status`].
        [4] flags: u32,
    }

    /// `set_iopl`.
    pub struct SetIopl = "struct physdev_set_iopl" [4] {
        [0] iopl: u32,
    }

    /// `set_iobitmap`.
    pub struct SetIoBitmap = "struct physdev_set_iobitmap" [16] {
        /// Guest address; zero removes the bitmap.
        [0] bitmap: u64,
        [8] port_count: u32 = "nr_ports",
        [12] _pad: u32,
    }

    /// `apic_read`, `apic_write`.
    pub struct Apic = "struct physdev_apic" [16] {
        /// Physical address of the I/O APIC.
        [0] physical_base: u64 = "apic_physbase",
        [8] register: u32 = "reg",
        [12] value: u32,
    }

    /// `alloc_irq_vector`, `free_irq_vector`.
    pub struct IrqVector = "struct physdev_irq" [8] {
        [0] irq: u32,
        [4] vector: u32,
    }

    /// `map_pirq`.
    pub struct MapPirq = "struct physdev_map_pirq" [40] {
        [0] domain: DomainId = "domid",
        [2] _pad0: u16,
        /// One of [`map_pirq`].
        [4] kind: i32 = "type",
        [8] index: i32,
        /// In: negative to allocate one. Out: the number.
        [12] pirq: i32,
        /// Segment in the high half, for `MSI_SEG`.
        [16] bus: i32,
        [20] device_function: i32 = "devfn",
        /// MSI-X entry, or count for `MULTI_MSI`.
        [24] entry: i32 = "entry_nr",
        [28] _pad1: u32,
        /// Address of the MSI-X table; zero means MSI.
        [32] table_base: u64,
    }

    /// `unmap_pirq`.
    pub struct UnmapPirq = "struct physdev_unmap_pirq" [8] {
        [0] domain: DomainId = "domid",
        [2] _pad: u16,
        [4] pirq: i32,
    }

    /// `manage_pci_add`, `manage_pci_remove`, `restore_msi`.
    pub struct ManagePci = "struct physdev_manage_pci" [2] {
        [0] bus: u8,
        [1] device_function: u8 = "devfn",
    }

    /// `manage_pci_add_ext`.
    pub struct ManagePciExtended = "struct physdev_manage_pci_ext" [16] {
        [0] bus: u8,
        [1] device_function: u8 = "devfn",
        [2] _pad0: u16,
        [4] is_extended_function: u32 = "is_extfn",
        [8] is_virtual_function: u32 = "is_virtfn",
        [12] physical_bus: u8 = "physfn.bus",
        [13] physical_device_function: u8 = "physfn.devfn",
        [14] _pad1: u16,
    }

    /// `setup_gsi`.
    pub struct SetupGsi = "struct physdev_setup_gsi" [8] {
        [0] gsi: i32,
        /// 0 edge, 1 level.
        [4] triggering: u8,
        /// 0 active high, 1 active low.
        [5] polarity: u8,
        [6] _pad: u16,
    }

    /// `get_free_pirq`.
    pub struct GetFreePirq = "struct physdev_get_free_pirq" [8] {
        /// One of [`map_pirq`].
        [0] kind: i32 = "type",
        /// Out.
        [4] pirq: u32,
    }

    /// `pci_mmcfg_reserved`.
    pub struct PciMmcfgReserved = "struct physdev_pci_mmcfg_reserved" [16] {
        [0] address: u64,
        [8] segment: u16,
        [10] start_bus: u8,
        [11] end_bus: u8,
        /// Bits of [`mmcfg`].
        [12] flags: u32,
    }

    /// `pci_device_add`; followed by a `u32` if flag `PXM` is set.
    pub struct PciDeviceAdd = "struct physdev_pci_device_add" [12] {
        [0] segment: u16 = "seg",
        [2] bus: u8,
        [3] device_function: u8 = "devfn",
        /// Bits of [`pci_device`].
        [4] flags: u32,
        [8] physical_bus: u8 = "physfn.bus",
        [9] physical_device_function: u8 = "physfn.devfn",
        [10] _pad: u16,
    }

    /// `pci_device_remove`, `restore_msi_ext`, `prepare_msix`, `release_msix`.
    pub struct PciDevice = "struct physdev_pci_device" [4] {
        [0] segment: u16 = "seg",
        [2] bus: u8,
        [3] device_function: u8 = "devfn",
    }

    /// `dbgp_op`.
    pub struct DebugPort = "struct physdev_dbgp_op" [6] {
        [0] operation: u8 = "op",
        [1] bus: u8,
        [2] device: PciDevice = "u.pci",
    }
}
