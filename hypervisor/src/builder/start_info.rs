//! The start info page, which describes a guest's initial environment to it.

use abi::xen::{MAX_GUEST_COMMAND_LINE, StartInfo, sif};
use machine::addr::PAGE_SIZE;
use zerocopy::FromZeros;

use super::layout::Layout;
use super::memory::Memory;
use crate::domain::{Domain, Port};

/// Magic number of the page, including version and architecture.
const MAGIC: &[u8] = b"xen-3.0-x86_64";

/// Ports of the console and xenstore, in domains that have them.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) console: Port,
    pub(super) store: Port,
}

/// The start info of a domain. In the initial domain, a description of the `screen` follows it.
pub(super) fn start_info(
    domain: &Domain,
    memory: &Memory<'_>,
    layout: &Layout,
    ramdisk_length: u64,
    ports: Option<Ports>,
    command_line: &str,
    screen: Option<&[u8]>,
) -> StartInfo {
    let mut info = StartInfo::new_zeroed();
    info.magic.iter_mut().zip(MAGIC).for_each(|(to, byte)| *to = *byte);
    info.page_count = u64::from(domain.max_frames());
    info.shared_info = domain.shared_info().frame().mfn().address().get();
    if let (Some((store, console)), Some(ports)) = (layout.rings, ports) {
        info.store_mfn = memory.mfn(store).get();
        info.store_event_channel = ports.store.get();
        info.console_mfn = memory.mfn(console).get();
        info.console_event_channel = ports.console.get();
    }
    if domain.is_privileged() {
        info.flags |= sif::PRIVILEGED | sif::INITDOMAIN;
        // The screen's description follows this structure. Its size is in the high half, zero if
        // there is none.
        info.console_mfn = size_of::<StartInfo>() as u64 | (screen.map_or(0, <[u8]>::len) as u64) << 32;
    }
    info.page_table_base = layout.address(layout.tables.start);
    info.page_table_frame_count = layout.tables.end - layout.tables.start;
    info.mfn_list = layout.list_address;
    if let Some(region) = &layout.list_region {
        info.first_p2m_pfn = region.start;
        info.p2m_frame_count = region.end - region.start;
    }
    if let Some(ramdisk) = &layout.ramdisk {
        info.module_length = ramdisk_length;
        if ramdisk.start < layout.mapped {
            info.module_start = layout.address(ramdisk.start);
        } else {
            info.module_start = ramdisk.start;
            info.flags |= sif::MOD_START_PFN;
        }
    }
    // the last byte remains zero
    for (place, byte) in info.command_line[..MAX_GUEST_COMMAND_LINE - 1].iter_mut().zip(command_line.bytes()) {
        *place = byte;
    }
    info
}

const _: () = assert!(size_of::<StartInfo>() + 64 <= PAGE_SIZE);
