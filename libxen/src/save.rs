//! Saving a domain: `xc_domain_save`, which writes a stream of version 3 to a file.
#![expect(unsafe_code, reason = "callbacks of a C library")]

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::declarations::{LIVE, POLICY_ABORT, POLICY_CONTINUE, POLICY_STOP};
use crate::declarations::{PrecopyStats, STREAM_PLAIN, SaveCallbacks};
use crate::error::Error;
use crate::interface::{Interface, checked};

/// How far the rounds of a live save are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Number of completed rounds.
    pub round: u32,
    /// Pages sent in all rounds, those that were sent several times included.
    pub total: u64,
    /// Pages that the next round sends; `None` directly after a round, before they are counted.
    pub dirty: Option<u64>,
}

/// What a live save does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precopy {
    /// Another round while the guest runs.
    Continue,
    /// Suspend the guest and send the rest.
    Stop,
    /// End the save with an error; the guest has not been touched.
    Abort,
}

/// The decisions that a save asks for.
pub trait Save {
    /// Suspends the domain and returns whether it is suspended.
    fn suspend(&mut self) -> bool;

    /// Decides, before and after each round, what follows.
    fn precopy(&mut self, progress: Progress) -> Precopy;
}

/// What the callbacks' data points to.
struct Data<'a> {
    save: &'a mut dyn Save,
}

impl Interface {
    /// Writes the domain to `stream`; `live`, in rounds while the guest runs.
    pub fn save(&self, id: u32, stream: BorrowedFd<'_>, live: bool, save: &mut dyn Save) -> Result<(), Error> {
        let mut data = Data { save };
        let mut callbacks = SaveCallbacks {
            suspend: Some(suspend),
            precopy_policy: Some(precopy),
            checkpoints: [None; 3],
            switch_qemu: None,
            data: (&raw mut data).cast(),
        };
        let flags = if live { LIVE } else { 0 };
        // SAFETY: LX-1, LX-2, LX-3: `data` and `callbacks` outlive the call, and only the callbacks
        // use them meanwhile. A plain stream uses no other callback and no back channel.
        let status = unsafe {
            (self.guest.save)(self.handle(), stream.as_raw_fd(), id, flags, &raw mut callbacks, STREAM_PLAIN, -1)
        };
        checked("xc_domain_save", status)
    }
}

extern "C" fn suspend(data: *mut c_void) -> c_int {
    // SAFETY: LX-3.
    let data = unsafe { &mut *data.cast::<Data<'_>>() };
    c_int::from(data.save.suspend())
}

extern "C" fn precopy(stats: PrecopyStats, data: *mut c_void) -> c_int {
    // SAFETY: LX-3.
    let data = unsafe { &mut *data.cast::<Data<'_>>() };
    let dirty = u64::try_from(stats.dirty_count).ok();
    match data.save.precopy(Progress { round: stats.iteration, total: stats.total_written, dirty }) {
        Precopy::Continue => POLICY_CONTINUE,
        Precopy::Stop => POLICY_STOP,
        Precopy::Abort => POLICY_ABORT,
    }
}
