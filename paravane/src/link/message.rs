//! The messages of the two sides, in the order of their use.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the protocol. Both sides need the same.
pub const PROTOCOL: u32 = 1;

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Sign of life.
    Alive,
    /// First message of both sides.
    Hello(Hello),
    /// To the target: would this guest run there? Answered by `Findings`.
    Check(Box<Needs>),
    /// What the target found.
    Findings(Vec<Finding>),
    /// To the target: create the guest, paused. Answered by `Accepted`; records follow.
    Begin(Box<Begin>),
    /// The domain exists at the target and has its memory.
    Accepted,
    /// To the target: a connection for records of the migration with this id. Answered by
    /// `Accepted`; after the last records follows `Done`.
    Join(String),
    /// To the target: answer when all records before this have been handed on.
    Ping {
        /// Number of the question.
        number: u64,
        /// Frames with records before this.
        records: u64,
    },
    /// The answer.
    Pong(u64),
    /// To the target: the stream is complete. Answered by `Ready`.
    End {
        /// Frames with records before this.
        records: u64,
    },
    /// The guest is complete at the target, paused.
    Ready,
    /// To the target: the right to run is yours. Answered by `Held`.
    Go,
    /// The target has recorded that it has the right to run, and lets the guest run.
    Held,
    /// To the target: the source's copy is gone. Answered by `Settled`.
    Done,
    /// The guest has its name at the target.
    Settled {
        /// The name.
        name: String,
    },
    /// To the target: the migration ends, the guest stays at the source.
    Abort,
    /// The target's copy is gone.
    Aborted,
    /// The sender cannot continue, for this reason.
    Failed(String),
    /// About a migration that was broken off. Answered by `Answer`.
    Question(Question),
    /// The answer.
    Answer(Answer),
}

impl Message {
    /// Frames with records that come before it.
    pub(super) fn records_before(&self) -> u64 {
        match self {
            Self::Ping { records, .. } | Self::End { records } => *records,
            _ => 0,
        }
    }
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Version of the program.
    pub version: String,
    /// Name of the host.
    pub host: String,
    /// Identifies the host's kernel since its start.
    pub boot: String,
}

/// What a guest needs at the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Needs {
    /// The guest's configuration, as `libxl` writes it.
    pub configuration: Value,
    /// Pages that the guest has.
    pub pages: u64,
    /// The version of Xen's interface at the source, for example `4.17`.
    pub interface: String,
    /// [`Hello::boot`] of the source.
    pub boot: String,
    /// The guest's CPU policy: leaf, subleaf, EAX, EBX, ECX, EDX.
    pub cpuid: Vec<[u32; 6]>,
    /// Size of each disk in bytes, in the order of the configuration; `None` if it is not known.
    pub disks: Vec<Option<u64>>,
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was checked, in one or two words.
    pub check: String,
    /// Whether the migration may start.
    pub severity: Severity,
    /// What was found.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Passed,
    /// The guest can be moved, but something may be missing later.
    Warning,
    /// The guest cannot be moved.
    Failed,
}

/// The guest that is about to arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// Identifies the migration.
    pub id: String,
    /// The guest's configuration.
    pub configuration: Value,
    /// Pages that the guest has; the target claims as many.
    pub pages: u64,
    /// Further connections for records.
    pub streams: u32,
}

/// A question about a migration that was broken off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// To the target, from a source that has given the right to run: take it if you can.
    Take(String),
    /// To the target, from a source that has kept the right to run: remove what you have.
    Drop(String),
    /// To the source: has the right to run been given?
    Given(String),
}

/// Answer to a [`Question`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The right to run is at the target.
    Target,
    /// The right to run is at the source.
    Source,
    /// A process at this host works on the migration at present.
    Busy,
}
