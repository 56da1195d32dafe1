//! The two ends of a link. A peer that takes nothing for too long counts as gone.
//!
//! Both ends may be one open file, as sockets are, so both are prepared for one that does not
//! block.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::frame::Frame;

/// The receiving end.
pub(super) struct Input(pub(super) OwnedFd);

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.0, &mut *buffer) {
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None)?;
                }
                result => return Ok(result?),
            }
        }
    }
}

/// The sending end.
pub(super) struct Output {
    file: OwnedFd,
    patience: Timespec,
}

impl Output {
    pub(super) fn new(file: OwnedFd, patience: Duration) -> Result<Self> {
        fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK).context("the link cannot be set up")?;
        Ok(Self { file, patience: Timespec::try_from(patience)? })
    }

    pub(super) fn send(&mut self, frame: &Frame) -> Result<()> {
        self.write(&frame.bytes()?)
    }

    /// Writes the bytes of whole frames.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.file, bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait()?,
                Err(error) => return Err(error).context("the link to the other host broke"),
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&self.patience)) {
            Ok(0) => bail!("the other host took nothing for {} seconds", self.patience.tv_sec),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("the link to the other host broke"),
        }
    }
}
