//! The network between two hosts: a network card in each, joined by a pair of sockets, so that no
//! frame leaves the two QEMU processes.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};

/// Ends that no machine has yet.
#[derive(Debug)]
pub(super) struct Cable {
    ends: Vec<OwnedFd>,
}

/// One end. Processes that are started while it exists have it as well.
#[derive(Debug)]
pub(super) struct End(OwnedFd);

impl Cable {
    pub(super) fn new() -> Result<Self> {
        let (one, other) = UnixDatagram::pair().context("cannot join two machines")?;
        Ok(Self { ends: vec![one.into(), other.into()] })
    }

    /// An end for the next machine.
    pub(super) fn end(&mut self) -> Result<End> {
        let end = self.ends.pop().context("a cable has two ends")?;
        fcntl_setfd(&end, FdFlags::empty())?;
        Ok(End(end))
    }
}

impl End {
    /// QEMU arguments for a network card at this end: `eth0` of the host with this number.
    pub(super) fn arguments(&self, number: u8) -> [String; 4] {
        let device = "virtio-net-pci,netdev=cable,iommu_platform=on,disable-legacy=on";
        [
            "-netdev".into(),
            format!("dgram,id=cable,local.type=fd,local.str={}", self.0.as_raw_fd()),
            "-device".into(),
            format!("{device},mac=52:54:00:00:00:{number:02x}"),
        ]
    }
}
