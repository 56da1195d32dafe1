//! A guest that comes to this host: `xl restore` builds it, paused and under another name, and
//! watches it from then on.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::checks;
use crate::link::{Begin, Finding, Needs};
use crate::migration::{Guest, Target};
use crate::stream::save_file;
use crate::xen::configuration::{INCOMING, identity, incoming};
use crate::xen::messages::Messages;
use crate::xen::tools;
use crate::xen::worker::{Domain, Worker};
use crate::xen::xenstore::Store;

/// Time for `xl` to create the domain, and to complete it after the stream.
const XL: Duration = Duration::from_secs(300);

/// Time for `xl` to end after its input has.
const END: Duration = Duration::from_secs(60);

/// This host.
pub struct Local {
    store: Store,
    worker: Worker,
    restore: Option<Restore>,
}

/// A running `xl restore`.
struct Restore {
    process: Child,
    stream: Option<ChildStdin>,
    messages: Messages,
    domain: u32,
}

impl Local {
    /// Connects to this host's Xen.
    pub fn new() -> Result<Self> {
        Ok(Self { store: Store::connect()?, worker: Worker::start()?, restore: None })
    }

    /// The domains with this name.
    fn named(&mut self, name: &str) -> Result<Vec<u32>> {
        let mut domains = Vec::new();
        for id in self.store.list("/local/domain")? {
            let is_named = self.store.read(&format!("/local/domain/{id}/name"))?.as_deref() == Some(name);
            domains.extend(id.parse::<u32>().ok().filter(|_| is_named));
        }
        Ok(domains)
    }

    /// The guest's domain, or `None` if it is gone.
    fn domain(&mut self, guest: &Guest) -> Result<Option<Domain>> {
        let Some(id) = guest.domain else { return Ok(None) };
        let domain = self.worker.domain(id)?;
        Ok(domain.filter(|domain| domain.uuid == guest.uuid && !domain.is_dying))
    }

    /// Waits until `xl` has created the domain and allowed it this many pages.
    fn created(&mut self, name: &str, pages: u64) -> Result<u32> {
        let end = Instant::now() + XL;
        loop {
            let has_ended = self.restore()?.process.try_wait()?.is_some();
            if let &[id] = self.named(name)?.as_slice()
                && self.worker.domain(id)?.is_some_and(|domain| domain.max_pages >= pages)
            {
                return Ok(id);
            }
            if has_ended || Instant::now() >= end {
                let restore = self.restore()?;
                restore.end(Duration::ZERO);
                bail!("xl restore does not create the domain: {}", restore.messages.last());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn restore(&mut self) -> Result<&mut Restore> {
        self.restore.as_mut().context("no guest is arriving")
    }
}

impl Restore {
    fn start(head: &[u8]) -> Result<Self> {
        let mut command = tools::command("xl");
        command.args(["restore", "-p", "/proc/self/fd/0"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start xl (Debian: install xen-utils-4.17)")?;
        let stream = process.stdin.take().context("xl has no input")?;
        let errors = process.stderr.take().context("xl has no output")?;
        let mut restore = Self { process, stream: Some(stream), messages: Messages::from(errors), domain: 0 };
        restore.write(head)?;
        Ok(restore)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.as_mut().context("the stream of the guest has ended")?;
        match stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.end(END);
                Err(error).with_context(|| format!("xl restore ended: {}", self.messages.last()))
            }
        }
    }

    /// Ends the input and waits for the end of the process. Returns whether it succeeded.
    fn end(&mut self, time: Duration) -> bool {
        self.stream = None;
        let end = Instant::now() + time;

        loop {
            match self.process.try_wait() {
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
                Ok(Some(status)) => break status.success(),
                Ok(None) | Err(_) => {
                    let _ = self.process.kill();
                    let _ = self.process.wait();
                    break false;
                }
            }
        }
    }
}

impl Target for Local {
    fn check(&mut self, needs: &Needs) -> Result<Vec<Finding>> {
        checks::at_target(needs, &mut self.store)
    }

    fn start(&mut self, begin: &Begin) -> Result<Guest> {
        let configuration = incoming(&begin.configuration)?;
        let (name, uuid) = identity(&begin.configuration)?;
        let arriving = format!("{name}{INCOMING}");
        ensure!(self.named(&arriving)?.is_empty(), "there is a guest '{arriving}' already");
        let head = save_file::head(&serde_json::to_string(&configuration)?);
        self.restore = Some(Restore::start(&head)?);
        let domain = self.created(&arriving, begin.pages)?;
        self.restore()?.domain = domain;
        let claimed = self.worker.claim(domain, begin.pages);
        claimed.with_context(|| format!("there is not enough memory for {} MiB", begin.pages / 256))?;
        Ok(Guest { name: name.into(), uuid: uuid.into(), domain: Some(domain) })
    }

    fn write(&mut self, stream: &[u8]) -> Result<()> {
        self.restore()?.write(stream)
    }

    fn finish(&mut self) -> Result<()> {
        let restore = self.restore()?;
        restore.write(&save_file::TAIL)?;
        ensure!(restore.end(XL), "xl restore failed: {}", restore.messages.last());
        let domain = restore.domain;
        // What was claimed and is not used, for example of a guest that has ballooned meanwhile.
        self.worker.claim(domain, 0)
    }

    fn is_complete(&mut self, guest: &Guest) -> Result<bool> {
        let domain = self.domain(guest)?;
        Ok(domain.is_some_and(|domain| domain.is_paused && domain.shutdown.is_none()))
    }

    fn run(&mut self, guest: &Guest) -> Result<()> {
        let domain = self.domain(guest)?.with_context(|| format!("the guest '{}' is gone", guest.name))?;
        let id = guest.domain.context("the record has no domain")?;
        if domain.is_paused { self.worker.unpause(id) } else { Ok(()) }
    }

    fn settle(&mut self, guest: &Guest) -> Result<String> {
        let arriving = format!("{}{INCOMING}", guest.name);
        // It has another id, or none, if it has been started again or has ended since.
        for id in self.named(&arriving)? {
            if self.worker.domain(id)?.is_some_and(|domain| domain.uuid == guest.uuid) {
                tools::rename(id, &guest.name).with_context(|| {
                    format!("the guest runs, under the name '{arriving}': rename it with 'xl rename'")
                })?;
            }
        }
        Ok(guest.name.clone())
    }

    fn destroy(&mut self, guest: &Guest) -> Result<()> {
        if let Some(mut restore) = self.restore.take() {
            // It removes the domain itself when its input ends too early.
            restore.end(END);
        }
        for id in self.named(&format!("{}{INCOMING}", guest.name))? {
            if self.worker.domain(id)?.is_some_and(|domain| domain.uuid == guest.uuid) {
                tools::destroy(id)?;
            }
        }
        Ok(())
    }
}
