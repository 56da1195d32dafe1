//! A guest of this host that leaves.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::watch;
use crate::migration::convergence::Decision;
use crate::migration::records::SourceRecord;
use crate::migration::{self, Source};
use crate::xen::tools;
use crate::xen::worker::{Choice, Domain, Event, Shutdown, Worker};
use crate::xen::xenstore::Store;

/// Time for a guest to react to the request to suspend, and then to suspend.
const SUSPEND: Duration = Duration::from_secs(60);

/// Time after which a guest that was asked to suspend, and has not, counts as running.
const LATE: Duration = Duration::from_secs(5);

/// How long to wait for an event.
const MOMENT: Duration = Duration::from_millis(200);

/// The guest.
pub struct Local {
    name: String,
    domain: u32,
    uuid: String,
    vcpus: u32,
    /// Before the migration, in percent of a CPU; zero means none.
    cap: u32,
    /// Whether it may have been throttled.
    is_throttled: bool,
    store: Store,
    worker: Option<Worker>,
}

impl Local {
    /// The guest of a record. A record of an earlier process may concern one that is throttled.
    pub fn new(record: &SourceRecord, vcpus: u32, is_throttled: bool) -> Result<Self> {
        let guest = &record.guest;
        let mut store = Store::connect()?;
        store.watch("@releaseDomain")?;
        Ok(Self {
            name: guest.name.clone(),
            domain: guest.domain.context("the record has no domain")?,
            uuid: guest.uuid.clone(),
            vcpus,
            cap: record.cap,
            is_throttled,
            store,
            worker: None,
        })
    }

    fn worker(&mut self) -> Result<&mut Worker> {
        match &mut self.worker {
            Some(worker) => Ok(worker),
            none => Ok(none.insert(Worker::start()?)),
        }
    }

    /// The domain, or `None` if it is gone.
    fn domain(&mut self) -> Result<Option<Domain>> {
        let id = self.domain;
        let domain = self.worker()?.domain(id)?;
        // A domain with this id may be another one by now.
        Ok(domain.filter(|domain| domain.uuid == self.uuid && !domain.is_dying))
    }

    /// The node by which a guest is asked to suspend. The guest clears it when it reacts.
    fn request(&self) -> String {
        format!("/local/domain/{}/control/shutdown", self.domain)
    }

    /// Asks the guest to suspend and waits until it has.
    fn ask_to_suspend(&mut self) -> Result<()> {
        let request = self.request();
        self.store.write(&request, "suspend")?;
        let mut end = Instant::now() + SUSPEND;
        let mut has_reacted = false;
        while !self.is_suspended()? {
            if Instant::now() >= end {
                ensure!(!has_reacted, "it reacted and did not suspend within {} s", SUSPEND.as_secs());
                if self.store.replace(&request, "suspend", "")? {
                    bail!("it did not react to the request within {} s", SUSPEND.as_secs());
                }
                // It reacted at the last moment.
                has_reacted = true;
                end = Instant::now() + SUSPEND;
            }
            self.store.wait(end.min(Instant::now() + Duration::from_secs(1)))?;
        }
        Ok(())
    }

    /// Whether the guest is suspended; an error if it has ended.
    fn is_suspended(&mut self) -> Result<bool> {
        match self.domain()?.context("it is gone")?.shutdown {
            None => Ok(false),
            Some(Shutdown::Suspend) => Ok(true),
            Some(other) => bail!("it has ended meanwhile: {other:?}"),
        }
    }

    /// Withdraws a request to suspend. Returns whether the guest is suspended all the same.
    fn withdraw(&mut self) -> Result<bool> {
        let request = self.request();
        if self.store.replace(&request, "suspend", "")? {
            return Ok(false);
        }
        // Either it was not asked, or it has reacted and is about to suspend.
        let end = Instant::now() + LATE;
        while Instant::now() < end {
            match self.domain()? {
                Some(Domain { shutdown: None, .. }) => {}
                Some(Domain { shutdown: Some(Shutdown::Suspend), .. }) => return Ok(true),
                _ => return Ok(false),
            }
            self.store.wait(end.min(Instant::now() + MOMENT))?;
        }
        Ok(false)
    }
}

impl Source for Local {
    fn start(&mut self, live: bool) -> Result<()> {
        let id = self.domain;
        self.worker()?.save(id, live)
    }

    fn event(&mut self) -> Result<migration::Event> {
        Ok(match self.worker()?.event(MOMENT)? {
            Event::Stream(bytes) => migration::Event::Stream(bytes),
            Event::Round(round, dirty) => migration::Event::Round { round, dirty },
            Event::Suspend => migration::Event::Suspend,
            Event::End(result) => migration::Event::End(result),
            Event::Idle => migration::Event::Idle,
        })
    }

    fn decide(&mut self, decision: Decision) -> Result<()> {
        self.worker()?.decide(match decision {
            Decision::Continue => Choice::Continue,
            Decision::Stop => Choice::Stop,
            Decision::Cancel => Choice::Abort,
        })
    }

    fn suspend(&mut self) -> Result<()> {
        let suspended = self.ask_to_suspend();
        self.worker()?.suspended(suspended.is_ok())?;
        suspended
    }

    fn stop(&mut self) {
        self.worker = None;
    }

    fn throttle(&mut self, percent: u32) -> Result<()> {
        self.is_throttled = true;
        tools::set_cap(self.domain, (self.vcpus * percent).max(1))
    }

    fn keep(&mut self) -> Result<()> {
        let domain = self.domain()?.with_context(|| format!("domain {} ('{}') is gone", self.domain, self.name))?;
        let is_suspended = match domain.shutdown {
            None => self.withdraw()?,
            Some(shutdown) => shutdown == Shutdown::Suspend,
        };
        let id = self.domain;
        if is_suspended {
            self.worker()?.resume(id).context("the guest cannot be resumed")?;
            self.store.resume(id)?;
            // The process that watched it ended when it suspended.
            if let Err(error) = watch::start(id, &self.name) {
                eprintln!("paravane: nothing watches the guest, so on_reboot and on_crash wait: {error:#}");
            }
        }
        if self.is_throttled {
            tools::set_cap(id, self.cap)?;
        }
        Ok(())
    }

    fn destroy(&mut self) -> Result<()> {
        let Some(domain) = self.domain()? else { return Ok(()) };
        ensure!(
            domain.shutdown == Some(Shutdown::Suspend),
            "domain {} ('{}') is not suspended: it is not the copy that was left here",
            self.domain,
            self.name
        );
        tools::destroy(self.domain)
    }
}
