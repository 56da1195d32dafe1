//! How a domain ends. The life cycle moves one way: building, running, ended, dying, gone; but the control domain can let one that has ended
//! go on.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::Ordering;

use super::Domain;

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
    Killed(String),
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

    /// Building is done: the domain's vCPUs may run.
    pub fn start(&self) {
        if self.note_started() {
            self.unpause();
        }
    }

    /// Notes that building is done; `false` if it was before.
    pub(super) fn note_started(&self) -> bool {
        let mut life = self.life.lock();
        let is_new = *life == Life::Building;
        if is_new {
            *life = Life::Running;
        }
        is_new
    }

    /// Ends the domain for `reason`: its vCPUs stop. The first reason counts. On a host with a control domain it stays like that until that one
    /// resumes or destroys it; otherwise it is taken apart.
    pub fn end(self: &Arc<Self>, reason: EndReason) {
        let mut life = self.life.lock();
        if !life.goes_on() {
            return;
        }
        *life = Life::Ended(reason.clone());
        // Before anybody sees that it has ended: who lets it go on takes this pause back.
        self.pause();
        drop(life);
        if self.is_privileged() || super::control_domain().is_none() {
            super::destroy::note_ended(self);
        } else {
            log::info!("domain {} has ended: {reason}", self.id().0);
            crate::event_channel::report_end(self, reason == EndReason::Suspend);
        }
    }

    /// Lets a domain that has ended, by suspending itself say, go on where it was.
    pub fn resume(&self) {
        let mut life = self.life.lock();
        if !matches!(*life, Life::Ended(_)) {
            return;
        }
        *life = Life::Running;
        drop(life);
        self.scheduling.forget_shutdown_code();
        self.unpause();
    }

    /// Ends the domain, if it has not ended, and begins to take it apart.
    pub fn destroy(self: &Arc<Self>) {
        if self.start_dying() {
            self.pause();
            super::destroy::note_ended(self);
        }
    }

    /// Marks the domain as being taken apart; `false` if it is already.
    pub(super) fn start_dying(&self) -> bool {
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
}
