//! Moving a guest to another host, so that it is never lost and never runs twice.
//!
//! The right to run the guest is a token that exactly one host holds. Each side keeps a record of
//! the migration that it writes durably before it acts on it ([`records`]). The token's place
//! follows from the two records:
//!
//! | source's record | target's record | token |
//! | --- | --- | --- |
//! | none, or `Sending` | none, `Receiving` or `Ready` | source |
//! | `Given` | `Ready` | on its way: the target may take it |
//! | `Given` | none, or `Receiving` | source: it takes the token back when the target says so |
//! | any | `Held` | target |
//!
//! Invariants, which hold when either process ends or the link breaks at any moment:
//!
//! - **TK-1** The target lets its copy run only after it has recorded `Held`.
//! - **TK-2** The target records `Held` only from `Ready`, with a complete copy, when a source
//!   whose record is `Given` says so: by `Go`, or by a question or an answer about a broken-off
//!   migration.
//! - **TK-3** The source lets its copy run only while its record is `Sending` or absent. It leaves
//!   `Given` only by an answer of the target: `Target`, and its copy goes; or `Source`, after the
//!   target has removed its record, and its copy runs again. (An operator who knows that the target
//!   is gone for good can decide instead.)
//! - **TK-4** The source removes its copy only after the target has said that it recorded `Held`.
//! - **TK-5** The target removes its copy only from `Receiving` or `Ready`, and from `Ready` only
//!   if the source's record is not `Given` and cannot become so: the source says so (`Abort`,
//!   `Drop`), or answers that no process works on the migration and the token is there.
//! - **TK-6** A record is read and changed only under its lock, which a process holds as long as it
//!   works on the migration. Only the process that wrote `Sending` can write `Given`.
//!
//! So two copies never run, and there is always one that runs or that a command can let run.
//! `tests` ends either process before and after each effect, cuts the link at each message, and
//! checks this.

pub mod convergence;
pub mod records;
pub mod resolve;
pub mod source;
pub mod target;

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::link::{Begin, Finding, Needs};
use crate::migration::convergence::Decision;

/// The guest, on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its UUID, which the copies share.
    pub uuid: String,
    /// The domain of this side's copy, once there is one.
    pub domain: Option<u32>,
}

/// What the source's process learns while the guest is being saved.
#[derive(Debug)]
pub enum Event {
    /// Bytes of the stream.
    Stream(Vec<u8>),
    /// A live save has completed this many rounds and asks for a decision. `dirty` is the number of
    /// pages that the next round sends; it is `None` directly after a round.
    Round {
        /// Completed rounds.
        round: u32,
        /// Pages to send.
        dirty: Option<u64>,
    },
    /// The guest must be suspended now.
    Suspend,
    /// The stream is complete, or the save has failed.
    End(Result<()>),
    /// Nothing has happened for a moment.
    Idle,
}

/// The guest at the host that it leaves.
pub trait Source {
    /// Starts to save the guest, in rounds while it runs, or suspended from the beginning.
    fn start(&mut self, live: bool) -> Result<()>;

    /// Waits for the next event, but not for long.
    fn event(&mut self) -> Result<Event>;

    /// Answers [`Event::Round`].
    fn decide(&mut self, decision: Decision) -> Result<()>;

    /// Answers [`Event::Suspend`]: suspends the guest. Returns when it is suspended.
    fn suspend(&mut self) -> Result<()>;

    /// Ends the save, if there is one.
    fn stop(&mut self);

    /// Limits the guest to this percentage of its vCPUs' time.
    fn throttle(&mut self, percent: u32) -> Result<()>;

    /// Makes sure that the guest runs here and is watched. Does nothing to one that runs.
    fn keep(&mut self) -> Result<()>;

    /// Removes the guest here. Does nothing if it is gone.
    fn destroy(&mut self) -> Result<()>;
}

/// The guest at the host that it comes to.
pub trait Target {
    /// Whether a guest with these needs would run here.
    fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>>;

    /// Creates the domain with its memory; it is paused.
    fn start(&mut self, begin: &Begin) -> Result<Guest>;

    /// Takes bytes of the stream.
    fn write(&mut self, stream: &[u8]) -> Result<()>;

    /// Returns when the guest is complete, paused and watched.
    fn finish(&mut self) -> Result<()>;

    /// Whether the complete, paused copy is still there.
    fn is_complete(&mut self, guest: &Guest) -> Result<bool>;

    /// Lets the guest run. Does nothing to one that runs; fails if it is gone.
    fn run(&mut self, guest: &Guest) -> Result<()>;

    /// Gives the guest its name; returns the name that it has.
    fn settle(&mut self, guest: &Guest) -> Result<String>;

    /// Removes the copy. Does nothing if it is gone.
    fn destroy(&mut self, guest: &Guest) -> Result<()>;
}

/// What the user wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds while the guest runs.
    pub live: bool,
    /// The rest is sent when that takes at most this time.
    pub max_downtime: Duration,
    /// Time for the rounds.
    pub timeout: Duration,
    /// After the timeout, suspend the guest whatever remains to be sent.
    pub force: bool,
    /// Whether the guest may be slowed down.
    pub throttle: bool,
    /// Compress records.
    pub compress: bool,
    /// Bytes per second for records.
    pub bandwidth: Option<u64>,
}

/// What happens during a migration, for the user.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Report {
    /// The target has created the guest and claimed its memory.
    Accepted,
    /// A round begins.
    Round {
        /// Completed rounds.
        round: u32,
        /// Pages that the round sends.
        pages: u64,
        /// Pages that the guest writes per second; unknown in the first round.
        dirty_rate: Option<u64>,
        /// Estimated time to send these pages, in milliseconds.
        estimate: Option<u64>,
    },
    /// Pages have been handed on: with contents, and of zeros.
    Sent {
        /// Pages with contents.
        pages: u64,
        /// Pages of zeros.
        zero: u64,
        /// Bytes on the wire.
        bytes: u64,
    },
    /// The guest may use this percentage of its vCPUs' time.
    Throttled {
        /// Percentage.
        percent: u32,
    },
    /// The guest is suspended.
    Suspended,
    /// The guest runs at the target.
    Moved(Moved),
    /// Something to know that did not end the migration.
    Note {
        /// What.
        text: String,
    },
}

/// Figures of a migration that succeeded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Identifies the migration.
    pub id: String,
    /// The guest's name at the target.
    pub name: String,
    /// Completed rounds while the guest ran.
    pub rounds: u32,
    /// Pages with contents that were sent, repeated ones included.
    pub pages: u64,
    /// Pages of zeros.
    pub zero: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// From the request to suspend to the target's report that the guest runs, in milliseconds.
    pub downtime: u64,
    /// Of all, in milliseconds.
    pub time: u64,
}

/// The part of a guest's configuration that names it.
pub fn name_of(configuration: &Value) -> Option<&str> {
    configuration.get("c_info")?.get("name")?.as_str()
}

#[cfg(test)]
mod tests;
