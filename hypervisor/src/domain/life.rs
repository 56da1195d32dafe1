//! How a domain ends. The life cycle moves one way: building, running, shut down or crashed, dying, gone.

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
}

impl EndReason {
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

impl Domain {
    /// Where the domain is in its life.
    pub fn life(&self) -> Life {
        self.life.lock().clone()
    }

    /// Building is done: the domain's vCPUs may run.
    pub fn start(&self) {
        let mut life = self.life.lock();
        if *life == Life::Building {
            *life = Life::Running;
            drop(life);
            self.unpause();
        }
    }

    /// Ends the domain for `reason`: its vCPUs stop for good. The first reason counts.
    pub fn end(self: &Arc<Self>, reason: EndReason) {
        let mut life = self.life.lock();
        if !matches!(*life, Life::Building | Life::Running) {
            return;
        }
        *life = Life::Ended(reason);
        drop(life);
        self.pause();
        super::destroy::note_ended(self);
    }

    /// Marks the domain as being taken apart; `false` if it is already.
    pub(super) fn start_dying(&self) -> bool {
        let mut life = self.life.lock();
        let reason = match &*life {
            Life::Dying(_) => return false,
            Life::Ended(reason) => reason.clone(),
            Life::Building | Life::Running => EndReason::Killed(String::from("destroyed")),
        };
        *life = Life::Dying(reason);
        drop(life);
        self.dying.store(true, Ordering::SeqCst);
        true
    }
}
