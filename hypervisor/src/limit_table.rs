//! The table of all fixed limits, from which `docs/limits.md` is generated. Values come from the
//! constants that the code uses. Xen's values are those of version 4.17.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::event_channel::two_level;
use abi::xen::DomainId;
use machine::boot::{self, Options};
use machine::{addr, console, hardware};

use crate::builder::elf;
use crate::domain::{self, MAX_VCPUS};
use crate::event_channel::ports;
use crate::hardware::interrupts;
use crate::hypercall::platform_op::microcode_update;
use crate::hypercall::sched_op;
use crate::limits::Limit;
use crate::memory::memory_op::{control, reservation};
use crate::time::Watchdogs;
use crate::xenstore::{session, tree};
use crate::{grant_table, start};

/// One limit.
pub struct Row {
    /// What is limited.
    pub what: &'static str,
    /// Paravane's value.
    pub value: String,
    /// The value of Xen 4.17.
    pub xen: &'static str,
    /// The effect of reaching the limit.
    pub at: &'static str,
    /// Whether a refusal is logged by [`crate::limits::met`].
    pub logged: bool,
}

/// Rows about one subject, under a heading.
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// The limits.
    pub rows: Vec<Row>,
}

fn row(what: &'static str, value: impl ToString, xen: &'static str, at: &'static str) -> Row {
    Row { what, value: value.to_string(), xen, at, logged: false }
}

/// A limit whose refusals are logged.
fn logged(limit: Limit, value: impl ToString, xen: &'static str, at: &'static str) -> Row {
    Row { logged: true, ..row(limit.name(), value, xen, at) }
}

/// All limits.
pub fn sections() -> [Section; 6] {
    [
        Section { title: "The machine", rows: machine_rows() },
        Section { title: "Boot loader data", rows: boot_rows() },
        Section { title: "Domains and vCPUs", rows: domain_rows() },
        Section { title: "Grants and events", rows: grant_and_event_rows() },
        Section { title: "Memory calls", rows: memory_rows() },
        Section { title: "Without a control domain", rows: store_rows() },
    ]
}

fn machine_rows() -> Vec<Row> {
    [
        row(
            "pCPUs",
            addr::MAX_CPUS,
            "256 (`NR_CPUS`, up to 4095)",
            "the others are not started; a log line counts them",
        ),
        row(
            "memory",
            format!("{} TiB", boot::MAX_MEMORY >> 40),
            "16 TiB (123 TiB with `BIGMEM`)",
            "memory above is not used",
        ),
        row("separate ranges of memory", boot::MAX_RANGES, "1024 (E820)", "further ranges are not used"),
        row("I/O APICs", boot::MAX_IO_APICS, "128", "lines of the others cannot be bound"),
        row("interrupt source overrides", boot::MAX_OVERRIDES, "256", "the others are ignored"),
        row(
            "pages of devices' MSI-X tables",
            hardware::MAX_DEVICE_PAGES,
            "none",
            "the device's messages are refused (`-ENXIO`)",
        ),
        logged(
            Limit::InterruptMessages,
            format!("{} in total, {} vectors per pCPU", interrupts::MESSAGES, hardware::VECTORS),
            "`extra_guest_irqs=` (256 and more), about 190 vectors per pCPU",
            "`-ENOSPC`",
        ),
        row(
            "console log",
            format!("{} KiB", console::history::HISTORY_SIZE >> 10),
            "16 KiB and more",
            "the oldest text is overwritten",
        ),
        row(
            "file of microcode that the control domain loads",
            format!("{} MiB", microcode_update::LARGEST_FILE >> 20),
            "the free memory",
            "`-E2BIG`",
        ),
        row("CPU pools", 1, "none", "operations on other pools are refused"),
    ]
    .into()
}

fn boot_rows() -> Vec<Row> {
    [
        row("boot modules", boot::MAX_MODULES, "64", "the others are ignored; a log line counts them"),
        row("entries of the memory map", boot::MAX_MEMORY_RANGES, "1024", "as above; further ranges are not used"),
        row(
            "command lines, in total",
            format!("{} KiB", boot::STRING_SPACE >> 10),
            "1023 bytes for Xen's own",
            "truncated; a log line counts them",
        ),
        row("kernel, decompressed", format!("{} MiB", decompress::MAX_SIZE >> 20), "none", "the kernel is refused"),
        row("program headers of a kernel", elf::MAX_SEGMENTS, "none", "the kernel is refused"),
        row("section headers of a kernel", elf::MAX_SECTIONS, "none", "the kernel is refused"),
        row("name of a guest", format!("{} bytes", start::MAX_NAME), "none", "the guest is not started"),
    ]
    .into()
}

fn domain_rows() -> Vec<Row> {
    [
        logged(Limit::Domains, DomainId::FIRST_RESERVED.0 - 1, "32751", "`createdomain`: `-ENOMEM`"),
        logged(Limit::Vcpus, MAX_VCPUS, "8192 (PV)", "`createdomain`: `-EINVAL`; `dom0_max_vcpus=` is reduced"),
        row("timers of a vCPU", "1 single-shot, 1 periodic", "the same", "the previous setting is replaced"),
        row("watchdogs of a domain", Watchdogs::COUNT, "2", "`-ENOSPC`"),
        row("pauses by the control domain", domain::MAX_PAUSES, "255", "`pausedomain`: `-EOVERFLOW`"),
        logged(Limit::PolledPorts, sched_op::MAX_POLL_PORTS, "128", "`-EINVAL`"),
        row("LDT entries, GDT frames", "8192, 14", "the same", "`-EINVAL`"),
        logged(
            Limit::OwnMemory,
            "the free memory",
            "the same",
            "`-ENOMEM`, or the status of the call; nothing else is affected",
        ),
    ]
    .into()
}

fn grant_and_event_rows() -> Vec<Row> {
    let usual = Options::default();
    [
        logged(
            Limit::GrantFrames,
            format!("{}; `gnttab_max_frames=`, up to {}", usual.grant_frames, boot::MAX_GRANT_FRAMES),
            "64; `gnttab_max_frames=`",
            "`createdomain`: `-EINVAL`; `setup_table`: `GNTST_general_error`",
        ),
        logged(
            Limit::GrantMappings,
            format!(
                "{}; {} per frame of `gnttab_max_maptrack_frames=`, up to {}",
                usual.maptrack_frames * grant_table::MAPPINGS_PER_FRAME,
                grant_table::MAPPINGS_PER_FRAME,
                boot::MAX_MAPTRACK_FRAMES
            ),
            "262144; `gnttab_max_maptrack_frames=`",
            "`createdomain`: `-EINVAL`; `map_grant_ref`: `GNTST_no_space`",
        ),
        row("uses of one grant", "2147483647 for reading, 2147483647 for writing", "fewer", "`GNTST_general_error`"),
        logged(
            Limit::EventChannels,
            format!(
                "{} for the initial domain; {} for others, or as the tools set it; {} with the two-level ABI",
                ports::HIGHEST.get(),
                ports::DEFAULT_LIMIT.get(),
                two_level::NR_CHANNELS - 1
            ),
            "the same",
            "`-ENOSPC`",
        ),
    ]
    .into()
}

fn memory_rows() -> Vec<Row> {
    [
        logged(
            Limit::ExtentOrder,
            reservation::MAX_ORDER,
            "12 for the control domain, 9 for others and `exchange` (`memop-max-order=`)",
            "no extent is processed; `exchange`: `-EPERM`",
        ),
        logged(Limit::MemoryMapEntries, control::MAX_RANGES, "1024", "`set_memory_map`: `-EINVAL`"),
    ]
    .into()
}

fn store_rows() -> Vec<Row> {
    [
        logged(
            Limit::Store,
            format!(
                "{} nodes, {} watches, {} transactions, {} paths changed per transaction",
                tree::MAX_NODES,
                session::MAX_WATCHES,
                session::MAX_TRANSACTIONS,
                session::MAX_CHANGES
            ),
            "`xenstored`: 1000 nodes, 128 watches, 10 transactions",
            "`ENOSPC`; watches: `E2BIG`",
        ),
        row(
            "bytes in a guest's built-in xenstore",
            format!(
                "{} KiB in nodes, {} KiB in watches, {} KiB of paths changed per transaction",
                tree::MAX_BYTES >> 10,
                session::MAX_WATCH_BYTES >> 10,
                session::MAX_CHANGE_BYTES >> 10
            ),
            "2048 bytes per node",
            "as above",
        ),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_logged_limit_has_one_row() {
        let sections = sections();
        for limit in Limit::ALL {
            let rows = sections.iter().flat_map(|section| &section.rows);
            assert_eq!(rows.filter(|row| row.what == limit.name()).count(), 1, "{limit:?}");
        }
    }
}
