//! Frames as bytes.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use super::message::Message;
use crate::stream::compact::MAX_ITEM;

/// Kinds of payloads.
const MESSAGE: u8 = 0;
const RECORDS: u8 = 1;
const COMPRESSED: u8 = 2;

/// Largest message in bytes. The largest is the guest's configuration.
const MAX_MESSAGE: usize = 1 << 20;

/// A frame with records is complete when it has this many bytes.
pub(crate) const ENOUGH: usize = 1 << 20;

/// Largest number of bytes of records in a frame.
const MAX_RECORDS: usize = ENOUGH + MAX_ITEM;

/// Level of zstd, its fastest usual one.
const LEVEL: i32 = 1;

/// A frame, by its contents.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// Compact items.
    Records {
        /// Number of the frame among those with records, from zero on.
        number: u64,
        /// The items.
        compact: Vec<u8>,
    },
}

impl Frame {
    /// The bytes of a frame with these compact items.
    pub(super) fn records(number: u64, compact: Vec<u8>, compress: bool) -> Result<Vec<u8>> {
        let number = number.to_le_bytes();
        if !compress {
            return bytes(RECORDS, &[&number, &compact]);
        }
        bytes(COMPRESSED, &[&number, &zstd::bulk::compress(&compact, LEVEL).context("cannot compress")?])
    }

    /// The bytes of the frame.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Message(message) => bytes(MESSAGE, &[&serde_json::to_vec(message)?]),
            Self::Records { number, compact } => bytes(RECORDS, &[&number.to_le_bytes(), compact]),
        }
    }

    /// Reads a frame. The end of the input is an error.
    pub(super) fn read(input: &mut impl Read) -> Result<Self> {
        let mut head = [0; 5];
        input.read_exact(&mut head).context("the link to the other host is closed")?;
        let [a, b, c, d, kind] = head;
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d]))?;
        let limit = if kind == MESSAGE { MAX_MESSAGE } else { MAX_RECORDS };
        ensure!(length <= limit, "malformed data from the other host: a frame of kind {kind} has {length} bytes");
        // The memory grows with what arrives, not with what is announced.
        let mut payload = Vec::new();
        input.take(u64::try_from(length)?).read_to_end(&mut payload).context("the link to the other host broke")?;
        ensure!(payload.len() == length, "the link to the other host is closed");
        Self::parse(kind, payload)
    }

    /// The frame with this payload.
    fn parse(kind: u8, payload: Vec<u8>) -> Result<Self> {
        match kind {
            MESSAGE => Ok(Self::Message(serde_json::from_slice(&payload).context("malformed message")?)),
            RECORDS | COMPRESSED => {
                let (number, items) = payload.split_first_chunk().context("malformed frame with records")?;
                let number = u64::from_le_bytes(*number);
                let compact = match kind {
                    RECORDS => items.to_vec(),
                    _ => zstd::bulk::decompress(items, MAX_RECORDS).context("malformed compressed frame")?,
                };
                Ok(Self::Records { number, compact })
            }
            other => bail!("malformed data from the other host: a frame of kind {other}"),
        }
    }
}

/// The frame with this payload, which consists of parts.
fn bytes(kind: u8, parts: &[&[u8]]) -> Result<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(length + 5);
    bytes.extend(u32::try_from(length).context("a frame is too long")?.to_le_bytes());
    bytes.push(kind);
    parts.iter().for_each(|part| bytes.extend(*part));
    Ok(bytes)
}
