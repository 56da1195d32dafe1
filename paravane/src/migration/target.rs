//! The receiving side of a migration, and the answers about migrations that were broken off.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::records::{Records, SourceRecord, SourceState, TargetRecord, TargetState, is_id};
use super::{Guest, Target, name_of};
use crate::link::lanes::{Meeting, forward};
use crate::link::{Answer, Begin, Frame, Hello, Link, Message, Question};
use crate::stream::compact::Expander;

/// What the receiving side works with.
pub struct Receiver<'a> {
    /// The guests of this host.
    pub target: &'a mut dyn Target,
    /// Records of guests that came here.
    pub records: &'a mut dyn Records<TargetRecord>,
    /// Records of guests that left.
    pub left: &'a dyn Records<SourceRecord>,
    /// To the other host.
    pub link: &'a mut Link,
    /// Folder for the sockets of further connections.
    pub sockets: &'a Path,
}

impl Receiver<'_> {
    /// Serves the other host until it closes the link.
    pub fn serve(&mut self, own: Hello) -> Result<()> {
        let other = self.link.greet(own)?;
        // The other side closes the link when it has no more questions.
        while let Ok(message) = self.link.message() {
            let served = match message {
                Message::Check(needs) => {
                    self.target.check(&needs).and_then(|findings| self.link.send(&Message::Findings(findings)))
                }
                Message::Begin(begin) => self.receive(*begin, &other),
                Message::Join(id) => {
                    let meeting = self.meeting(&id)?;
                    return forward(self.link, &meeting);
                }
                Message::Question(question) => self.answer(&question),
                Message::Abort => self.link.send(&Message::Aborted),
                Message::Done => Ok(()),
                other => Err(anyhow::anyhow!("unexpected message: {other:?}")),
            };
            if let Err(error) = served {
                // If the link is broken, the other side learns it from that.
                let _ = self.link.send(&Message::Failed(format!("{error:#}")));
                return Err(error);
            }
        }
        Ok(())
    }

    /// The socket for further connections of a migration.
    fn meeting(&self, id: &str) -> Result<PathBuf> {
        ensure!(is_id(id), "'{id}' does not identify a migration");
        Ok(self.sockets.join(format!("{id}.socket")))
    }

    /// Receives a guest.
    fn receive(&mut self, begin: Begin, source: &Hello) -> Result<()> {
        let _lock = self.records.lock(&begin.id)?.context("the migration exists already")?;
        ensure!(self.records.load(&begin.id)?.is_none(), "the migration exists already");
        let name = name_of(&begin.configuration).context("the guest has no name")?.to_owned();
        let uuid = begin.configuration.pointer("/c_info/uuid").and_then(|uuid| uuid.as_str());
        let guest = Guest { name, uuid: uuid.context("the guest has no UUID")?.to_owned(), domain: None };
        let (id, state) = (begin.id.clone(), TargetState::Receiving);
        let mut record = TargetRecord { id, state, guest, source: source.host.clone() };
        self.records.store(&record)?;
        let arrived = self.arrive(&begin, &mut record).and_then(|is_complete| {
            if is_complete {
                record.state = TargetState::Ready;
                self.records.store(&record)?;
            }
            Ok(is_complete)
        });
        // Until `Ready` is sent, the source does not give the token.
        match arrived {
            Ok(true) => {}
            Ok(false) => {
                self.discard(&record)?;
                return self.link.send(&Message::Aborted);
            }
            Err(error) => {
                let _ = self.link.send(&Message::Failed(format!("{error:#}")));
                self.discard(&record)?;
                // The source answers, and is told that the copy is gone.
                if matches!(self.next_message(), Ok(Message::Abort)) {
                    let _ = self.link.send(&Message::Aborted);
                }
                return Err(error);
            }
        }
        self.link.send(&Message::Ready).context(undecided(&record))?;
        match self.link.message() {
            Ok(Message::Go) => {
                ensure!(self.take(&mut record)?, "the guest's copy here is gone");
                self.link.send(&Message::Held)?;
                self.settle(&record)
            }
            Ok(Message::Abort) => {
                self.discard(&record)?;
                self.link.send(&Message::Aborted)
            }
            Ok(other) => bail!("unexpected message: {other:?}; {}", undecided(&record)),
            Err(error) => Err(error.context(undecided(&record))),
        }
    }

    /// The next message; records that were still on their way are skipped.
    fn next_message(&mut self) -> Result<Message> {
        loop {
            if let Frame::Message(message) = self.link.receive()? {
                return Ok(message);
            }
        }
    }

    /// Receives until the guest is complete. Returns `false` if the source gives up.
    fn arrive(&mut self, begin: &Begin, record: &mut TargetRecord) -> Result<bool> {
        record.guest = self.target.start(begin)?;
        self.records.store(record)?;
        let meeting = match begin.streams {
            0 => None,
            count => Some(Meeting::open(&self.meeting(&begin.id)?, self.link, count)?),
        };
        self.link.send(&Message::Accepted)?;
        let mut expander = Expander::new(last_page(begin));
        let mut stream = Vec::new();
        loop {
            match self.link.receive()? {
                Frame::Records { compact, .. } => {
                    stream.clear();
                    expander.expand(&compact, &mut stream)?;
                    self.target.write(&stream)?;
                }
                Frame::Message(Message::Ping { number, .. }) => self.link.send(&Message::Pong(number))?,
                Frame::Message(Message::End { .. }) => break,
                Frame::Message(Message::Abort) => return Ok(false),
                Frame::Message(other) => bail!("unexpected message: {other:?}"),
            }
        }
        drop(meeting);
        ensure!(expander.has_ended(), "the guest's stream is not complete");
        self.target.finish()?;
        Ok(true)
    }

    /// Takes the token and lets the guest run, from `Ready`; the source has given the token.
    /// Returns `false`, without a record, if the copy is gone.
    fn take(&mut self, record: &mut TargetRecord) -> Result<bool> {
        if !self.target.is_complete(&record.guest)? {
            self.records.remove(&record.id)?;
            return Ok(false);
        }
        record.state = TargetState::Held;
        self.records.store(record)?;
        self.target.run(&record.guest)?;
        Ok(true)
    }

    /// Gives the guest its name, after the source has removed its copy, which may be on this host.
    fn settle(&mut self, record: &TargetRecord) -> Result<()> {
        let is_done = matches!(self.link.message(), Ok(Message::Done));
        let name = self.target.settle(&record.guest)?;
        if is_done {
            self.records.remove(&record.id)?;
            self.link.send(&Message::Settled { name })?;
        }
        Ok(())
    }

    /// Removes a copy that does not have the token.
    fn discard(&mut self, record: &TargetRecord) -> Result<()> {
        self.target.destroy(&record.guest)?;
        self.records.remove(&record.id)
    }

    /// Answers a question about a migration that was broken off.
    fn answer(&mut self, question: &Question) -> Result<()> {
        let (id, is_given) = match question {
            Question::Given(id) => {
                let answer = self.where_token_is(id)?;
                return self.link.send(&Message::Answer(answer));
            }
            Question::Take(id) => (id, true),
            Question::Drop(id) => (id, false),
        };
        let Some(_lock) = self.records.lock(id)? else {
            return self.link.send(&Message::Answer(Answer::Busy));
        };
        let Some(mut record) = self.records.load(id)? else {
            return self.link.send(&Message::Answer(Answer::Source));
        };
        let is_here = match (record.state, is_given) {
            (TargetState::Receiving, _) | (TargetState::Ready, false) => {
                self.discard(&record)?;
                false
            }
            (TargetState::Ready, true) => self.take(&mut record)?,
            (TargetState::Held, _) => {
                // It may have run, and ended, since.
                let _ = self.target.run(&record.guest);
                true
            }
        };
        self.link.send(&Message::Answer(if is_here { Answer::Target } else { Answer::Source }))?;
        if is_here { self.settle(&record) } else { Ok(()) }
    }

    /// Where the token is of a guest that left this host.
    fn where_token_is(&self, id: &str) -> Result<Answer> {
        let Some(_lock) = self.left.lock(id)? else { return Ok(Answer::Busy) };
        Ok(match self.left.load(id)? {
            Some(SourceRecord { state: SourceState::Given, .. }) => Answer::Target,
            Some(SourceRecord { state: SourceState::Sending, .. }) | None => Answer::Source,
        })
    }
}

/// The largest page number that the guest may have: twice its memory and 4 GiB, since a guest with
/// the host's memory map has holes.
fn last_page(begin: &Begin) -> u64 {
    begin.pages.saturating_mul(2).saturating_add(1 << 20)
}

fn undecided(record: &TargetRecord) -> String {
    format!(
        "the guest '{}' is complete here, and paused; whether it may run is for '{}' to say: \
         run 'paravane migrate --resolve {}' there, or here",
        record.guest.name, record.source, record.id
    )
}
