//! `paravane migrate`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::output::Output;
use super::records;
use crate::host::{self, checks, source, target};
use crate::link::transport::Transport;
use crate::link::{Begin, Finding, Hello, Link, Message, Needs, Severity};
use crate::migration::records::{Files, SourceRecord, SourceState, TargetRecord, TargetState};
use crate::migration::resolve::{self, Resolution, at_source, at_target};
use crate::migration::source::{Failure, Sender};
use crate::migration::{Guest, Options, Source};
use crate::xen::worker::Worker;
use crate::xen::{configuration, tools};

/// For how long a target that may have the right to run is asked again by itself.
const ASK: Duration = Duration::from_secs(60);

/// The guest could not be moved; it continues here.
const KEPT: u8 = 1;
/// A check failed; nothing was touched.
const REFUSED: u8 = 3;
/// It is not known which host has the right to run the guest.
const OPEN: u8 = 4;

const EXIT_CODES: &str = "Exit codes: 0 the guest has moved, or the checks passed; 1 it continues \
here; 2 wrong arguments; 3 a check failed, and nothing was touched; 4 the other host decides and \
could not be asked: 'paravane migrate --resolve ID' continues.";

/// Move a running guest to another host
///
/// The guest is sent while it runs, in rounds, until what remains can be sent within
/// --max-downtime; then it is suspended, and continues at the target. If anything fails before
/// that, it continues here. Both hosts need this program; it is started at the target by ssh, as
/// root.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Migrate {
    /// Name or id of the guest
    #[arg(required_unless_present_any = ["resolve", "list"])]
    guest: Option<String>,
    /// The target, as for ssh
    #[arg(required_unless_present_any = ["resolve", "list"])]
    host: Option<String>,
    /// Check only, and show what was found
    #[arg(long)]
    dry_run: bool,
    /// Print a line of JSON for each event to standard output
    #[arg(long)]
    json: bool,
    /// Suspend the guest for the whole transfer
    #[arg(long)]
    offline: bool,
    /// Suspend the guest when the rest takes at most this many milliseconds to send
    #[arg(long, value_name = "MS", default_value_t = 300)]
    max_downtime: u64,
    /// Time for the rounds while the guest runs, in seconds
    #[arg(long, value_name = "S", default_value_t = 600)]
    timeout: u64,
    /// After the timeout, give up, or suspend the guest however much remains
    #[arg(long, value_name = "WHAT", default_value = "cancel")]
    on_timeout: OnTimeout,
    /// Do not slow the guest down if it writes faster than the link carries
    #[arg(long)]
    no_throttle: bool,
    /// Compress what is sent; pages of zeros are not sent in any case
    #[arg(long, value_name = "METHOD", default_value = "none")]
    compress: Compress,
    /// Send over this many connections at the same time; each compresses what it sends by itself
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    streams: u32,
    /// Most MiB per second that are sent
    #[arg(long, value_name = "MIB")]
    bandwidth: Option<u64>,
    /// Shell command to reach 'paravane receive' at $HOST, instead of ssh
    #[arg(long, value_name = "COMMAND")]
    transport: Option<String>,
    /// Decide a migration that was broken off, by asking the other host
    #[arg(long, value_name = "ID", conflicts_with_all = ["dry_run", "offline"])]
    resolve: Option<String>,
    /// With --resolve: the other host is gone for good, and you make sure that the guest does not
    /// run there
    #[arg(long, requires = "resolve")]
    take: bool,
    /// Show the migrations that were broken off
    #[arg(long, conflicts_with_all = ["guest", "resolve"])]
    list: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnTimeout {
    Cancel,
    Force,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compress {
    None,
    Zstd,
}

impl Migrate {
    pub(super) fn execute(&self) -> ExitCode {
        let mut output = Output::new(self.json);
        let result = match (&self.resolve, self.list) {
            (_, true) => self.show(),
            (Some(id), _) => self.resolve(id, &output),
            (None, false) => self.migrate(&mut output),
        };
        result.unwrap_or_else(|error| {
            output.result("failed", None, &format!("{error:#}"));
            ExitCode::from(KEPT)
        })
    }

    fn options(&self) -> Result<Options> {
        let bandwidth = self.bandwidth.map(|rate| rate.checked_mul(1 << 20).filter(|&rate| rate > 0));
        Ok(Options {
            live: !self.offline,
            max_downtime: Duration::from_millis(self.max_downtime),
            timeout: Duration::from_secs(self.timeout),
            force: self.on_timeout == OnTimeout::Force,
            throttle: !self.no_throttle,
            compress: self.compress == Compress::Zstd,
            bandwidth: bandwidth.map(|rate| rate.context("--bandwidth is out of range")).transpose()?,
        })
    }

    fn migrate(&self, output: &mut Output) -> Result<ExitCode> {
        let (guest, host) = self.guest.as_deref().zip(self.host.clone()).context("guest and host are needed")?;
        let options = self.options()?;
        let target = Transport { host, command: self.transport.clone() };
        let (id, configuration) = tools::domain(guest)?;
        let domain = Worker::start()?.domain(id)?.with_context(|| format!("the guest '{guest}' is gone"))?;
        let mut records = records()?;
        ensure_free(&records, &domain.uuid)?;
        let mut findings = checks::at_source(id, &domain, &configuration);
        let own = host::hello()?;
        let mut link = if has_failed(&findings) { None } else { Some(greeted(&target, &own)?) };
        if let Some(link) = &mut link {
            findings.extend(ask(link, checks::needs(id, &domain, &configuration, &own.boot)?)?);
        }
        output.findings(&findings);
        if has_failed(&findings) {
            output.result("refused", None, "a check failed; nothing was touched");
            return Ok(ExitCode::from(REFUSED));
        }
        if self.dry_run {
            output.result("checked", None, "the guest can be moved");
            return Ok(ExitCode::SUCCESS);
        }
        let link = link.as_mut().context("there is no link")?;
        let (name, _) = configuration::identity(&configuration)?;
        let record = SourceRecord {
            id: new_id()?,
            state: SourceState::Sending,
            guest: Guest { name: name.into(), uuid: domain.uuid.clone(), domain: Some(id) },
            target,
            cap: tools::cap(id)?,
        };
        // One stream is the link itself.
        let streams = if self.streams > 1 { self.streams } else { 0 };
        let begin = Begin { id: record.id.clone(), pages: domain.pages, configuration: configuration.clone(), streams };
        let mut source = source::Local::new(&record, configuration::vcpus(&configuration), false)?;
        let cancelled = cancelled()?;
        let moved = Sender {
            source: &mut source,
            records: &mut records,
            link,
            connect: &mut || greeted(&record.target, &own),
            options: &options,
            report: &mut |report| output.report(&report),
            is_cancelled: &|| cancelled.load(Ordering::Relaxed),
        }
        .migrate(record.clone(), begin);
        match moved {
            Ok(_) => Ok(ExitCode::SUCCESS),
            Err(Failure::Kept { error, is_clean }) => {
                if !is_clean && resolve::clean(&record.id, &mut || greeted(&record.target, &own)).is_err() {
                    let text = format!(
                        "'{}' may have a paused copy of the guest: run 'paravane migrate --resolve {}' there",
                        record.target.host, record.id
                    );
                    output.report(&crate::migration::Report::Note { text });
                }
                let text = format!("the guest continues here: {error:#}");
                output.result("kept", Some(&record.id), &text);
                Ok(ExitCode::from(KEPT))
            }
            Err(Failure::Open(error)) => {
                let resolved = settle(&record, &mut source, &mut records, &own);
                Ok(tell(output, &record.id, &record.target.host, resolved, Some(error)))
            }
        }
    }

    /// Shows what is recorded.
    fn show(&self) -> Result<ExitCode> {
        let records = records()?;
        let (left, came) = (records.all::<SourceRecord>()?, records.all::<TargetRecord>()?);
        if self.json {
            println!("{}", json!({"source": left, "target": came}));
            return Ok(ExitCode::SUCCESS);
        }
        for record in left {
            let what = match record.state {
                SourceState::Sending => "was being sent",
                SourceState::Given => "was given the right to run",
            };
            println!("{} '{}' to {}: {what}", record.id, record.guest.name, record.target.host);
        }
        for record in came {
            let what = match record.state {
                TargetState::Receiving => "was arriving",
                TargetState::Ready => "is complete and paused here",
                TargetState::Held => "has the right to run here",
            };
            println!("{} '{}' from {}: {what}", record.id, record.guest.name, record.source);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Resolves a migration that was broken off, from either side.
    fn resolve(&self, id: &str, output: &Output) -> Result<ExitCode> {
        let mut records = records()?;
        let own = host::hello()?;
        let here: Option<SourceRecord> = crate::migration::records::Records::load(&records, id)?;
        if let Some(mut record) = here {
            record.target.command = self.transport.clone().or(record.target.command);
            let mut source = source::Local::new(&record, 1, true)?;
            let mut connect = || greeted(&record.target, &own);
            let resolved = at_source(&record, &mut source, &mut records, &mut connect, self.take);
            return Ok(tell(output, id, &record.target.host, resolved, None));
        }
        let here: Option<TargetRecord> = crate::migration::records::Records::load(&records, id)?;
        let Some(record) = here else {
            bail!("no migration '{id}' is recorded here: 'paravane migrate --list' shows those that are");
        };
        let host = self.host.clone().or(self.guest.clone()).unwrap_or_else(|| record.source.clone());
        let other = Transport { host, command: self.transport.clone() };
        let mut connect = || greeted(&other, &own);
        let resolved = at_target(&record, &mut target::Local::new()?, &mut records, &mut connect, self.take);
        Ok(match resolved {
            // Seen from here, the guest is at the other host.
            Ok(Resolution::Source) => {
                output.result("resolved", Some(id), &format!("the guest stays at '{}'", record.source));
                ExitCode::SUCCESS
            }
            Ok(Resolution::Target) => {
                output.result("resolved", Some(id), "the guest runs here, or has run here");
                ExitCode::SUCCESS
            }
            other => tell(output, id, &record.source, other, None),
        })
    }
}

/// A link to the other host, after the greetings.
fn greeted(transport: &Transport, own: &Hello) -> Result<Link> {
    let mut link = transport.connect()?;
    link.greet(own.clone()).with_context(|| format!("'{}' cannot be reached", transport.host))?;
    Ok(link)
}

/// Has the target check.
fn ask(link: &mut Link, needs: Needs) -> Result<Vec<Finding>> {
    link.send(&Message::Check(Box::new(needs)))?;
    match link.message()? {
        Message::Findings(findings) => Ok(findings),
        other => bail!("unexpected message: {other:?}"),
    }
}

fn has_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Failed)
}

/// Fails if a migration of the guest has been broken off and is not resolved.
fn ensure_free(records: &Files, uuid: &str) -> Result<()> {
    let left = records.all::<SourceRecord>()?;
    let unresolved = left.iter().find(|record| record.guest.uuid == uuid);
    if let Some(record) = unresolved {
        bail!("a migration of the guest is not resolved: run 'paravane migrate --resolve {}'", record.id);
    }
    Ok(())
}

/// Asks the target again until it answers, for a while.
fn settle(record: &SourceRecord, source: &mut dyn Source, records: &mut Files, own: &Hello) -> Result<Resolution> {
    let end = Instant::now() + ASK;
    loop {
        let resolved = at_source(record, source, records, &mut || greeted(&record.target, own), false);
        if matches!(resolved, Ok(Resolution::Source | Resolution::Target)) || Instant::now() >= end {
            return resolved;
        }
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// Reports what a source knows now.
fn tell(output: &Output, id: &str, host: &str, resolved: Result<Resolution>, cause: Option<Error>) -> ExitCode {
    let cause = cause.map(|cause| format!(" ({cause:#})")).unwrap_or_default();
    let (event, text, code) = match resolved {
        Ok(Resolution::Target) => ("resolved", format!("the guest runs at '{host}', or has run there{cause}"), 0),
        Ok(Resolution::Source) => ("resolved", format!("the guest continues here{cause}"), KEPT),
        Ok(Resolution::Busy) => {
            ("open", format!("a process still works on this migration{cause}: try again later"), OPEN)
        }
        Ok(Resolution::Unknown(error)) => {
            let text = format!(
                "the right to run the guest was given to '{host}', which cannot be asked ({error:#}){cause}. \
                 The copy here stays suspended. Run 'paravane migrate --resolve {id}' when '{host}' can be \
                 reached; if it is gone for good, and you have made sure that the guest does not run there, \
                 add '--take'"
            );
            ("open", text, OPEN)
        }
        Err(error) => (
            "open",
            format!("the migration is not resolved: {error:#}{cause}. Run 'paravane migrate --resolve {id}' again"),
            OPEN,
        ),
    };
    output.result(event, Some(id), &text);
    ExitCode::from(code)
}

/// A new identifier.
fn new_id() -> Result<String> {
    // The kernel's generator of random UUIDs.
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("there is no randomness")?;
    let id: String = uuid.trim().chars().filter(|&digit| digit != '-').collect();
    ensure!(crate::migration::records::is_id(&id), "'{id}' is not a UUID");
    Ok(id)
}

/// A flag that is set when the user or the system asks this process to end.
fn cancelled() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let handler = flag.clone();
    ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))?;
    Ok(flag)
}
