//! The sending side of a migration.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};

use super::convergence::{Convergence, Decision, Round, at_time};
use super::records::{Records, SourceRecord, SourceState};
use super::resolve::Connect;
use super::{Event, Moved, Options, Report, Source};
use crate::link::{Begin, ENOUGH, Frame, Link, Message};
use crate::stream::compact::{Pages, encode};
use crate::stream::record::Reader;

/// How a migration ended that did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The guest continues here.
    Kept {
        /// Why.
        error: Error,
        /// Whether the target has nothing of the guest.
        is_clean: bool,
    },
    /// The record stays, since it is not known where the token is, or the guest could not be let
    /// run here. `paravane migrate --resolve` continues from the record.
    Open(Error),
}

/// What a migration works with.
pub struct Sender<'a> {
    /// The guest.
    pub source: &'a mut dyn Source,
    /// The records of this host.
    pub records: &'a mut dyn Records<SourceRecord>,
    /// To the target; greetings have been exchanged.
    pub link: &'a mut Link,
    /// Makes further links to the target.
    pub connect: Connect<'a>,
    /// What the user wants.
    pub options: &'a Options,
    /// Is told what happens.
    pub report: &'a mut dyn FnMut(Report),
    /// Whether the user has given up.
    pub is_cancelled: &'a dyn Fn() -> bool,
}

/// The transfer so far.
struct Transfer {
    reader: Reader,
    /// Compact items that have not been sent.
    batch: Vec<u8>,
    pages: Pages,
    begin: Instant,
    rounds: u32,
    /// When the current round began, its pages, and what had been sent then.
    round: (Instant, u64, Pages),
    /// The last complete round, without what the guest wrote meanwhile.
    complete: Option<Round>,
    convergence: Convergence,
    suspended: Option<Instant>,
    pings: u64,
}

impl Sender<'_> {
    /// Moves the guest. `record` names it and the target; `begin` is what the target is sent.
    pub fn migrate(&mut self, record: SourceRecord, begin: Begin) -> Result<Moved, Failure> {
        let lock = self.records.lock(&record.id).and_then(|lock| lock.context("the migration exists already"));
        let _lock = lock.map_err(|error| Failure::Kept { error, is_clean: true })?;
        let mut record = SourceRecord { state: SourceState::Sending, ..record };
        if let Err(error) = self.records.store(&record) {
            return Err(self.back(&record, error));
        }
        self.link.tune(self.options.compress, self.options.bandwidth);
        let transfer = match self.transfer(begin) {
            Ok(transfer) => transfer,
            Err(error) => return Err(self.back(&record, error)),
        };
        record.state = SourceState::Given;
        if let Err(error) = self.records.store(&record) {
            // The record may be on the disk all the same, so it is replaced first.
            record.state = SourceState::Sending;
            return Err(match self.records.store(&record) {
                Ok(()) => self.back(&record, error),
                Err(second) => Failure::Open(error.context(second)),
            });
        }
        self.link.send(&Message::Go).map_err(Failure::Open)?;
        match self.link.message() {
            Ok(Message::Held) => {}
            Ok(other) => return Err(Failure::Open(anyhow::anyhow!("unexpected message: {other:?}"))),
            Err(error) => return Err(Failure::Open(error)),
        }
        let downtime = transfer.suspended.map_or(Duration::ZERO, |suspended| suspended.elapsed());
        let name = self.leave(&record);
        let moved = Moved {
            id: record.id,
            name,
            rounds: transfer.rounds,
            pages: transfer.pages.sent,
            zero: transfer.pages.zero,
            bytes: self.link.sent(),
            downtime: milliseconds(downtime),
            time: milliseconds(transfer.begin.elapsed()),
        };
        (self.report)(Report::Moved(moved.clone()));
        Ok(moved)
    }

    /// Removes the copy here, after the target has said that it has the token. Returns the guest's
    /// name at the target.
    fn leave(&mut self, record: &SourceRecord) -> String {
        let removed = self.source.destroy().and_then(|()| self.records.remove(&record.id));
        if let Err(error) = removed {
            let text = format!(
                "the suspended copy here could not be removed ({error:#}): \
                 run 'paravane migrate --resolve {}'",
                record.id
            );
            (self.report)(Report::Note { text });
            return record.guest.name.clone();
        }
        match self.link.send(&Message::Done).and_then(|()| self.link.message()) {
            Ok(Message::Settled { name }) => name,
            other => {
                let text = format!("the target did not confirm the guest's name: {other:?}");
                (self.report)(Report::Note { text });
                record.guest.name.clone()
            }
        }
    }

    /// Ends the migration; the token is here.
    fn back(&mut self, record: &SourceRecord, error: Error) -> Failure {
        self.source.stop();
        let asked = self.link.send(&Message::Abort);
        if let Err(second) = self.source.keep() {
            return Failure::Open(error.context(format!("the guest cannot be let run again: {second:#}")));
        }
        if let Err(second) = self.records.remove(&record.id) {
            return Failure::Open(error.context(second));
        }
        // The target removes its copy before it answers.
        let is_clean = asked.is_ok() && self.was_aborted();
        Failure::Kept { error, is_clean }
    }

    /// Waits for the target's answer to `Abort`; other messages were on their way before.
    fn was_aborted(&mut self) -> bool {
        loop {
            match self.link.receive() {
                Ok(Frame::Message(Message::Aborted)) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Sends the guest until the target has a complete copy.
    fn transfer(&mut self, begin: Begin) -> Result<Transfer> {
        let now = Instant::now();
        let (id, streams) = (begin.id.clone(), begin.streams);
        self.link.send(&Message::Begin(Box::new(begin)))?;
        self.expect(&Message::Accepted)?;
        (self.report)(Report::Accepted);
        for _ in 0..streams {
            let mut lane = (self.connect)().context("a further link to the target")?;
            lane.send(&Message::Join(id.clone()))?;
            let answer = lane.message()?;
            ensure!(answer == Message::Accepted, "unexpected message: {answer:?}");
            self.link.widen(lane);
        }
        self.source.start(self.options.live)?;
        let mut transfer = Transfer {
            reader: Reader::default(),
            batch: Vec::new(),
            pages: Pages::default(),
            begin: now,
            rounds: 0,
            round: (now, 0, Pages::default()),
            complete: None,
            convergence: Convergence::default(),
            suspended: None,
            pings: 0,
        };
        loop {
            self.may_continue(&transfer)?;
            match self.source.event()? {
                Event::Idle => {}
                Event::Stream(bytes) => self.take(&mut transfer, &bytes)?,
                Event::Round { round, dirty } => {
                    let decision = self.round(&mut transfer, round, dirty)?;
                    self.source.decide(decision)?;
                    ensure!(decision != Decision::Cancel, self.timed_out());
                }
                Event::Suspend => {
                    self.barrier(&mut transfer)?;
                    transfer.suspended = Some(Instant::now());
                    self.source.suspend().context("the guest did not suspend")?;
                    (self.report)(Report::Suspended);
                }
                Event::End(result) => {
                    let hint =
                        if self.options.live && transfer.rounds == 0 { " while it runs (see --offline)" } else { "" };
                    result.with_context(|| format!("the guest cannot be saved{hint}"))?;
                    break;
                }
            }
        }
        ensure!(transfer.reader.is_empty(), "the guest's stream ends in a record");
        self.flush(&mut transfer)?;
        self.link.send(&Message::End { records: self.link.numbered() })?;
        self.link.narrow()?;
        self.expect(&Message::Ready)?;
        Ok(transfer)
    }

    /// Fails if the user has given up, the target has, or the time is over.
    fn may_continue(&mut self, transfer: &Transfer) -> Result<()> {
        ensure!(!(self.is_cancelled)(), "cancelled");
        match self.link.poll()? {
            None => {}
            Some(Message::Failed(reason)) => bail!("the other host reports: {reason}"),
            Some(other) => bail!("unexpected message: {other:?}"),
        }
        let is_late = at_time(transfer.begin.elapsed(), self.options) == Decision::Cancel;
        ensure!(!(self.options.live && transfer.suspended.is_none() && is_late), self.timed_out());
        Ok(())
    }

    fn timed_out(&self) -> String {
        format!(
            "the guest changes its memory faster than it can be sent, for {} s: \
             allow more time (--timeout), more downtime (--max-downtime), or both (--on-timeout force)",
            self.options.timeout.as_secs()
        )
    }

    /// Takes bytes of the stream, and sends what is enough for a frame.
    fn take(&mut self, transfer: &mut Transfer, bytes: &[u8]) -> Result<()> {
        transfer.reader.push(bytes);
        while let Some(item) = transfer.reader.next_item()? {
            encode(&item, &mut transfer.batch, &mut transfer.pages)?;
            if transfer.batch.len() >= ENOUGH {
                self.flush(transfer)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, transfer: &mut Transfer) -> Result<()> {
        if !transfer.batch.is_empty() {
            self.link.send_records(std::mem::take(&mut transfer.batch))?;
            let Pages { sent: pages, zero } = transfer.pages;
            (self.report)(Report::Sent { pages, zero, bytes: self.link.sent() });
        }
        Ok(())
    }

    /// Returns when the target has handed on everything that was sent.
    fn barrier(&mut self, transfer: &mut Transfer) -> Result<()> {
        self.flush(transfer)?;
        transfer.pings += 1;
        let records = self.link.numbered();
        self.link.send(&Message::Ping { number: transfer.pings, records })?;
        self.expect(&Message::Pong(transfer.pings))
    }

    fn expect(&mut self, expected: &Message) -> Result<()> {
        let message = self.link.message()?;
        ensure!(message == *expected, "unexpected message: {message:?}");
        Ok(())
    }

    /// Decides what follows a round.
    fn round(&mut self, transfer: &mut Transfer, round: u32, dirty: Option<u64>) -> Result<Decision> {
        let elapsed = transfer.begin.elapsed();
        let Some(dirty) = dirty else {
            // The round has been written; it is complete when the target has it.
            self.barrier(transfer)?;
            let (begin, pages, before) = transfer.round;
            let sent = transfer.pages.sent.saturating_sub(before.sent);
            transfer.complete = Some(Round { pages, sent, time: begin.elapsed(), dirtied: 0 });
            transfer.rounds = round;
            return Ok(at_time(elapsed, self.options));
        };
        let complete = transfer.complete.take().map(|complete| Round { dirtied: dirty, ..complete });
        if let Some(complete) = complete {
            transfer.convergence.note(complete);
        }
        let convergence = &mut transfer.convergence;
        (self.report)(Report::Round {
            round,
            pages: dirty,
            dirty_rate: convergence.dirty_rate(),
            estimate: convergence.estimate(dirty).map(milliseconds),
        });
        let decision = convergence.decide(dirty, elapsed, self.options);
        if decision == Decision::Continue
            && let Some(percent) = convergence.throttle(self.options)
        {
            self.source.throttle(percent)?;
            (self.report)(Report::Throttled { percent });
        }
        transfer.round = (Instant::now(), dirty, transfer.pages);
        Ok(decision)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
