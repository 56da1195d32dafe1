//! The states of a domain's life, in this order: building, running, ended, dying, gone. Only the
//! control domain can go back, by resuming a domain that has ended.

use core::fmt;
use core::sync::atomic::Ordering;

use super::{Domain, KillReason};

/// The reason for which a domain has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// It powered off.
    Poweroff,
    /// It requested a reboot.
    Reboot,
    /// It reported a crash.
    Crash,
    /// It suspended itself.
    Suspend,
    /// Its watchdog expired.
    Watchdog,
    /// It requested a soft reset.
    SoftReset,
    /// Paravane killed it.
    Killed(KillReason),
    /// The control domain destroyed it before it had ended.
    Destroyed,
}

impl EndReason {
    /// The code of `SCHEDOP_shutdown`; `None` for a domain that did not end by itself.
    pub const fn code(&self) -> Option<u8> {
        match self {
            Self::Poweroff => Some(0),
            Self::Reboot => Some(1),
            Self::Suspend => Some(2),
            Self::Crash | Self::Killed(_) => Some(3),
            Self::Watchdog => Some(4),
            Self::SoftReset => Some(5),
            Self::Destroyed => None,
        }
    }

    /// Decodes the reason that a guest passes to `SCHEDOP_shutdown`.
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Poweroff,
            1 => Self::Reboot,
            2 => Self::Suspend,
            3 => Self::Crash,
            4 => Self::Watchdog,
            5 => Self::SoftReset,
            _ => return None,
        })
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poweroff => f.write_str("poweroff"),
            Self::Reboot => f.write_str("reboot"),
            Self::Crash => f.write_str("crash"),
            Self::Suspend => f.write_str("suspend"),
            Self::Watchdog => f.write_str("watchdog"),
            Self::SoftReset => f.write_str("soft reset"),
            Self::Killed(why) => write!(f, "killed: {why}"),
            Self::Destroyed => f.write_str("destroyed"),
        }
    }
}

/// The state of a domain's life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Life {
    /// Memory and vCPUs are being set up.
    Building,
    /// It may run.
    Running,
    /// It has ended and keeps its memory.
    Ended(EndReason),
    /// It is being destroyed.
    Dying(EndReason),
}

impl Life {
    /// Whether the domain has not ended yet.
    const fn is_alive(&self) -> bool {
        matches!(self, Self::Building | Self::Running)
    }
}

impl Domain {
    /// Returns the state of the domain's life.
    pub fn life(&self) -> Life {
        self.life.lock().clone()
    }

    /// Marks a domain that has been built as running. Returns `false` if it was marked before.
    pub(crate) fn note_started(&self) -> bool {
        let mut life = self.life.lock();
        let is_new = *life == Life::Building;
        if is_new {
            *life = Life::Running;
        }
        is_new
    }

    /// Marks the domain as ended and counts a pause. Returns `false` if it had ended before.
    pub(crate) fn note_ended(&self, reason: EndReason) -> bool {
        let mut life = self.life.lock();
        if !life.is_alive() {
            return false;
        }
        *life = Life::Ended(reason);
        // The pause must be counted before the end is visible: a resume removes it.
        self.add_pause();
        true
    }

    /// Marks a domain that has ended as running. Returns `false` if it has not ended, or is dying.
    /// The caller removes the pause.
    pub(crate) fn note_resumed(&self) -> bool {
        let mut life = self.life.lock();
        let has_ended = matches!(*life, Life::Ended(_));
        if has_ended {
            *life = Life::Running;
        }
        has_ended
    }

    /// Marks the domain as dying. Returns `false` if it was marked before.
    pub(crate) fn start_dying(&self) -> bool {
        let mut life = self.life.lock();
        let reason = match &*life {
            Life::Dying(_) => return false,
            Life::Ended(reason) => reason.clone(),
            Life::Building | Life::Running => EndReason::Destroyed,
        };
        *life = Life::Dying(reason);
        drop(life);
        self.dying.store(true, Ordering::SeqCst);
        true
    }

    /// Marks the end as printed. Returns `false` if it was printed before.
    pub(crate) fn note_end_printed(&self) -> bool {
        !self.end_printed.swap(true, Ordering::SeqCst)
    }
}
