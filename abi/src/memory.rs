//! `memory.h`: operations of `memory_op`.

use crate::layout::{constants, structs};
use crate::physdev::PciDevice;
use crate::xen::DomainId;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

constants! {
    header "xen/memory.h";

    /// Sub-operations, in the low six bits of the first argument. A guest sets the other bits to
    /// zero.
    pub mod op: u32 {
        INCREASE_RESERVATION = 0, "XENMEM_increase_reservation";
        DECREASE_RESERVATION = 1, "XENMEM_decrease_reservation";
        POPULATE_PHYSMAP = 6, "XENMEM_populate_physmap";
        EXCHANGE = 11, "XENMEM_exchange";
        MAXIMUM_RAM_PAGE = 2, "XENMEM_maximum_ram_page";
        CURRENT_RESERVATION = 3, "XENMEM_current_reservation";
        MAXIMUM_RESERVATION = 4, "XENMEM_maximum_reservation";
        MAXIMUM_GPFN = 14, "XENMEM_maximum_gpfn";
        MACHPHYS_MFN_LIST = 5, "XENMEM_machphys_mfn_list";
        MACHPHYS_COMPAT_MFN_LIST = 25, "XENMEM_machphys_compat_mfn_list";
        MACHPHYS_MAPPING = 12, "XENMEM_machphys_mapping";
        ADD_TO_PHYSMAP = 7, "XENMEM_add_to_physmap";
        ADD_TO_PHYSMAP_BATCH = 23, "XENMEM_add_to_physmap_batch";
        REMOVE_FROM_PHYSMAP = 15, "XENMEM_remove_from_physmap";
        MEMORY_MAP = 9, "XENMEM_memory_map";
        MACHINE_MEMORY_MAP = 10, "XENMEM_machine_memory_map";
        SET_MEMORY_MAP = 13, "XENMEM_set_memory_map";
        SET_POD_TARGET = 16, "XENMEM_set_pod_target";
        GET_POD_TARGET = 17, "XENMEM_get_pod_target";
        GET_SHARING_FREED_PAGES = 18, "XENMEM_get_sharing_freed_pages";
        GET_SHARING_SHARED_PAGES = 19, "XENMEM_get_sharing_shared_pages";
        PAGING_OP = 20, "XENMEM_paging_op";
        ACCESS_OP = 21, "XENMEM_access_op";
        SHARING_OP = 22, "XENMEM_sharing_op";
        CLAIM_PAGES = 24, "XENMEM_claim_pages";
        RESERVED_DEVICE_MEMORY_MAP = 27, "XENMEM_reserved_device_memory_map";
        ACQUIRE_RESOURCE = 28, "XENMEM_acquire_resource";
        GET_VNUMAINFO = 26, "XENMEM_get_vnumainfo";
    }

    /// Bits of [`Reservation::memory_flags`]; bits 0-7 are the address width, 8-15 the node plus
    /// one.
    pub mod memory_flags: u32 {
        POPULATE_ON_DEMAND = 0x0001_0000, "XENMEMF_populate_on_demand";
        EXACT_NODE_REQUEST = 0x0002_0000, "XENMEMF_exact_node_request";
        VNODE = 0x0004_0000, "XENMEMF_vnode";
    }

    /// Values of [`AddToPhysmap::space`].
    pub mod map_space: u32 {
        SHARED_INFO = 0, "XENMAPSPACE_shared_info";
        GRANT_TABLE = 1, "XENMAPSPACE_grant_table";
        GMFN = 2, "XENMAPSPACE_gmfn";
        GMFN_RANGE = 3, "XENMAPSPACE_gmfn_range";
        GMFN_FOREIGN = 4, "XENMAPSPACE_gmfn_foreign";
        DEV_MMIO = 5, "XENMAPSPACE_dev_mmio";
    }

    /// Bits of [`AddToPhysmap::index`].
    pub mod map_index: u64 {
        GRANT_TABLE_STATUS = 0x8000_0000, "XENMAPIDX_grant_table_status";
    }

    /// Values of [`AcquireResource::resource_type`] and, where the name has `ID`, of
    /// [`AcquireResource::id`].
    pub mod resource: u32 {
        IOREQ_SERVER = 0, "XENMEM_resource_ioreq_server";
        GRANT_TABLE = 1, "XENMEM_resource_grant_table";
        VMTRACE_BUF = 2, "XENMEM_resource_vmtrace_buf";
        GRANT_TABLE_ID_SHARED = 0, "XENMEM_resource_grant_table_id_shared";
        GRANT_TABLE_ID_STATUS = 1, "XENMEM_resource_grant_table_id_status";
        IOREQ_SERVER_FRAME_BUFIOREQ = 0, "XENMEM_resource_ioreq_server_frame_bufioreq";
    }

    /// Bits of [`ReservedDeviceMemoryMap::flags`].
    pub mod reserved_device_memory: u32 {
        ALL = 1, "XENMEM_RDM_ALL";
    }
}

/// One range of a memory map, an entry of the lists in `memory_map` and `machine_memory_map` (20
/// bytes each, unaligned).
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct E820Entry {
    /// First byte.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
    /// One of [`e820_type`].
    pub kind: u32,
}

const _: () = assert!(size_of::<E820Entry>() == 20);

/// Values of [`E820Entry::kind`], as ACPI defines them.
pub mod e820_type {
    /// Usable.
    pub const RAM: u32 = 1;
    /// Not usable.
    pub const RESERVED: u32 = 2;
    /// ACPI tables, reclaimable.
    pub const ACPI: u32 = 3;
    /// ACPI non-volatile storage.
    pub const NVS: u32 = 4;
    /// Memory with errors.
    pub const UNUSABLE: u32 = 5;
}

structs! {
    header "xen/memory.h";

    /// `increase_reservation`, `decrease_reservation`, `populate_physmap`.
    pub struct Reservation = "struct xen_memory_reservation" [32] {
        /// Guest address of a list of frames (`u64`).
        [0] extent_start: u64,
        [8] extent_count: u64 = "nr_extents",
        [16] extent_order: u32,
        /// Bits of [`memory_flags`].
        [20] memory_flags: u32 = "mem_flags",
        [24] domain: DomainId = "domid",
        [26] _pad: [u8; 6],
    }

    /// `exchange`.
    pub struct Exchange = "struct xen_memory_exchange" [72] {
        [0] input: Reservation = "in",
        [32] output: Reservation = "out",
        /// In: zero. Out: number of extents of `input` that were exchanged.
        [64] exchanged_count: u64 = "nr_exchanged",
    }

    /// `current_reservation`, `maximum_reservation`, `maximum_gpfn`.
    pub struct MemoryDomain = "struct xen_memory_domain" [2] {
        [0] domain: DomainId = "domid",
    }

    /// `machphys_mfn_list`.
    pub struct MachphysMfnList = "struct xen_machphys_mfn_list" [24] {
        [0] max_extents: u32,
        [4] _pad0: u32,
        /// Guest address of the list (`u64`) that receives the frames.
        [8] extent_start: u64,
        /// Out.
        [16] extent_count: u32 = "nr_extents",
        [20] _pad1: u32,
    }

    /// `machphys_mapping`; all fields out.
    pub struct MachphysMapping = "struct xen_machphys_mapping" [24] {
        [0] virtual_start: u64 = "v_start",
        [8] virtual_end: u64 = "v_end",
        [16] max_mfn: u64,
    }

    /// `add_to_physmap`.
    pub struct AddToPhysmap = "struct xen_add_to_physmap" [24] {
        [0] domain: DomainId = "domid",
        /// Number of frames, for `GMFN_RANGE`.
        [2] size: u16,
        /// One of [`map_space`].
        [4] space: u32,
        [8] index: u64 = "idx",
        [16] gpfn: u64,
    }

    /// `add_to_physmap_batch`.
    pub struct AddToPhysmapBatch = "struct xen_add_to_physmap_batch" [32] {
        [0] domain: DomainId = "domid",
        /// One of [`map_space`].
        [2] space: u16,
        [4] size: u16,
        [6] foreign_domain: DomainId = "u.foreign_domid",
        /// Guest address of a list of `u64`.
        [8] indices: u64 = "idxs",
        /// Guest address of a list of `u64`.
        [16] gpfns: u64,
        /// Guest address of a list of `i32`.
        [24] errors: u64 = "errs",
    }

    /// `remove_from_physmap`.
    pub struct RemoveFromPhysmap = "struct xen_remove_from_physmap" [16] {
        [0] domain: DomainId = "domid",
        [2] _pad: [u8; 6],
        [8] gpfn: u64,
    }

    /// `memory_map`, `machine_memory_map`.
    pub struct MemoryMap = "struct xen_memory_map" [16] {
        /// In: capacity. Out: entries written.
        [0] entry_count: u32 = "nr_entries",
        [4] _pad: u32,
        /// Guest address of a list of [`E820Entry`].
        [8] buffer: u64,
    }

    /// `set_memory_map`.
    pub struct ForeignMemoryMap = "struct xen_foreign_memory_map" [24] {
        [0] domain: DomainId = "domid",
        [2] _pad: [u8; 6],
        [8] map: MemoryMap,
    }

    /// `set_pod_target`, `get_pod_target`.
    pub struct PodTarget = "struct xen_pod_target" [40] {
        [0] target_pages: u64,
        /// Out.
        [8] total_pages: u64 = "tot_pages",
        /// Out.
        [16] cache_pages: u64 = "pod_cache_pages",
        /// Out.
        [24] entries: u64 = "pod_entries",
        [32] domain: DomainId = "domid",
        [34] _pad: [u8; 6],
    }

    /// `reserved_device_memory_map`: one range.
    pub struct ReservedDeviceMemory = "struct xen_reserved_device_memory" [16] {
        [0] start_pfn: u64,
        [8] page_count: u64 = "nr_pages",
    }

    /// `reserved_device_memory_map`.
    pub struct ReservedDeviceMemoryMap = "struct xen_reserved_device_memory_map" [24] {
        [0] flags: u32,
        [4] entry_count: u32 = "nr_entries",
        /// Guest address of a list of [`ReservedDeviceMemory`].
        [8] buffer: u64,
        [16] device: PciDevice = "dev.pci",
        [20] _pad: u32,
    }

    /// `acquire_resource`.
    pub struct AcquireResource = "struct xen_mem_acquire_resource" [32] {
        [0] domain: DomainId = "domid",
        [2] resource_type: u16 = "type",
        [4] id: u32,
        /// In: number of frames, or zero to query it. Out: the number of frames, if queried.
        [8] frame_count: u32 = "nr_frames",
        [12] _pad: u32,
        /// Index of the first frame.
        [16] frame: u64,
        /// Guest address of a list of `u64`.
        [24] frame_list: u64,
    }

    /// `get_vnumainfo`: one range.
    pub struct VirtualMemoryRange = "struct xen_vmemrange" [24] {
        [0] start: u64,
        [8] end: u64,
        [16] flags: u32,
        [20] node: u32 = "nid",
    }

    /// `get_vnumainfo`.
    pub struct VnumaTopologyInfo = "struct xen_vnuma_topology_info" [40] {
        [0] domain: DomainId = "domid",
        [2] _pad: u16,
        [4] node_count: u32 = "nr_vnodes",
        [8] vcpu_count: u32 = "nr_vcpus",
        [12] memory_range_count: u32 = "nr_vmemranges",
        [16] distances: u64 = "vdistance.pad",
        [24] vcpu_to_node: u64 = "vcpu_to_vnode.pad",
        [32] memory_ranges: u64 = "vmemrange.pad",
    }
}
