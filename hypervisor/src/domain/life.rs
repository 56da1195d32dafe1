//! Where a domain is in its life. It moves one way: building, running, ended, dying, gone; except
//! that the control domain can resume one that has ended.

use core::fmt;
use core::sync::atomic::Ordering;

use super::{Domain, KillReason};

/// Why a domain has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EndReason {
    /// It powered off.
    Poweroff,
    /// It wants to be started again.
    Reboot,
    /// It says that it crashed.
    Crash,
    /// It suspended itself.
    Suspend,
    /// Its watchdog ran out.
    Watchdog,
    /// It asked for a soft reset.
    SoftReset,
    /// It did what no guest may do, or could not be continued.
    Killed(KillReason),
    /// The control domain destroyed it before it ended.
    Destroyed,
}

impl EndReason {
    /// The number that the interface has for it; none for a domain that did not end by itself.
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

    /// From the number that a guest gives in `SCHEDOP_shutdown`.
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

/// Where a domain is in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Life {
    /// Memory and vCPUs are being set up.
    Building,
    /// It runs, or could.
    Running,
    /// It has ended; its memory still stands.
    Ended(EndReason),
    /// It is being taken apart.
    Dying(EndReason),
}

impl Life {
    /// Whether it has not ended.
    const fn goes_on(&self) -> bool {
        matches!(self, Self::Building | Self::Running)
    }
}

impl Domain {
    /// Where the domain is in its life.
    pub fn life(&self) -> Life {
        self.life.lock().clone()
    }

    /// Notes that building is done; `false` if it was before.
    pub(crate) fn note_started(&self) -> bool {
        let mut life = self.life.lock();
        let is_new = *life == Life::Building;
        if is_new {
            *life = Life::Running;
        }
        is_new
    }

    /// Notes that the domain has ended, and counts a pause for that; `false` if it had ended
    /// before.
    pub(crate) fn note_ended(&self, reason: EndReason) -> bool {
        let mut life = self.life.lock();
        if !life.goes_on() {
            return false;
        }
        *life = Life::Ended(reason);
        // Before anybody sees that it has ended: what resumes it takes this pause back.
        self.add_pause();
        true
    }

    /// Notes that a domain that has ended runs again; `false` if it has not ended, or is dying. Its
    /// pause is still counted.
    pub(crate) fn note_resumed(&self) -> bool {
        let mut life = self.life.lock();
        let has_ended = matches!(*life, Life::Ended(_));
        if has_ended {
            *life = Life::Running;
        }
        has_ended
    }

    /// Notes that its destruction begins; `false` if it has begun already.
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

    /// Notes that its end is being announced; `false` if it has been.
    pub(crate) fn note_announced(&self) -> bool {
        !self.announced.swap(true, Ordering::SeqCst)
    }
}
