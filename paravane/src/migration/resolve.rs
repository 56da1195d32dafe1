//! Migrations that were broken off: what is known, and what follows.

use anyhow::{Error, Result, bail};

use super::records::{Records, SourceRecord, SourceState, TargetRecord, TargetState};
use super::{Source, Target};
use crate::link::{Answer, Link, Message, Question};

/// What is known of the migration now.
#[derive(Debug)]
pub enum Resolution {
    /// The guest runs at the source.
    Source,
    /// The guest runs, or has run, at the target.
    Target,
    /// A process works on the migration at present.
    Busy,
    /// The other host decides, and could not be asked.
    Unknown(Error),
}

/// Makes a link to the other host; greetings have been exchanged.
pub type Connect<'a> = &'a mut dyn FnMut() -> Result<Link>;

/// Asks a question.
fn ask(link: &mut Link, question: Question) -> Result<Answer> {
    link.send(&Message::Question(question))?;
    match link.message()? {
        Message::Answer(answer) => Ok(answer),
        other => bail!("unexpected message: {other:?}"),
    }
}

/// Resolves a migration at its source. With `take` the operator answers for a target that is gone
/// for good.
pub fn at_source(
    record: &SourceRecord,
    source: &mut dyn Source,
    records: &mut dyn Records<SourceRecord>,
    connect: Connect<'_>,
    take: bool,
) -> Result<Resolution> {
    let Some(_lock) = records.lock(&record.id)? else { return Ok(Resolution::Busy) };
    // It may have been resolved before the lock was free.
    let Some(mut record) = records.load(&record.id)? else { return Ok(Resolution::Source) };
    if record.state == SourceState::Given {
        let answer = connect().and_then(|mut link| Ok((ask(&mut link, Question::Take(record.id.clone()))?, link)));
        match answer {
            Ok((Answer::Busy, _)) => return Ok(Resolution::Busy),
            Ok((Answer::Target, mut link)) => {
                source.destroy()?;
                records.remove(&record.id)?;
                if link.send(&Message::Done).is_ok() {
                    // The target removes its record.
                    let _ = link.message();
                }
                return Ok(Resolution::Target);
            }
            Ok((Answer::Source, _)) => {}
            Err(error) if !take => return Ok(Resolution::Unknown(error)),
            Err(_) => {}
        }
        record.state = SourceState::Sending;
        records.store(&record)?;
    }
    source.keep()?;
    records.remove(&record.id)?;
    // A target that cannot be told asks when it is resolved itself.
    let _ = clean(&record.id, connect);
    Ok(Resolution::Source)
}

/// Has the target remove what it has of a guest that continues at the source.
pub fn clean(id: &str, connect: Connect<'_>) -> Result<()> {
    ask(&mut connect()?, Question::Drop(id.to_owned())).map(drop)
}

/// Resolves a migration at its target. With `take` the operator answers for a source that is gone
/// for good.
pub fn at_target(
    record: &TargetRecord,
    target: &mut dyn Target,
    records: &mut dyn Records<TargetRecord>,
    connect: Connect<'_>,
    take: bool,
) -> Result<Resolution> {
    let Some(_lock) = records.lock(&record.id)? else { return Ok(Resolution::Busy) };
    let Some(mut record) = records.load(&record.id)? else { return Ok(Resolution::Source) };
    let discard = |target: &mut dyn Target, records: &mut dyn Records<TargetRecord>| {
        target.destroy(&record.guest)?;
        records.remove(&record.id)?;
        Ok(Resolution::Source)
    };
    if record.state == TargetState::Receiving {
        return discard(target, records);
    }
    let answer = connect().and_then(|mut link| ask(&mut link, Question::Given(record.id.clone())));
    if record.state == TargetState::Ready {
        match answer {
            Ok(Answer::Busy) => return Ok(Resolution::Busy),
            Ok(Answer::Source) => return discard(target, records),
            Err(error) if !take => return Ok(Resolution::Unknown(error)),
            Ok(Answer::Target) | Err(_) => {}
        }
        if !target.is_complete(&record.guest)? {
            records.remove(&record.id)?;
            return Ok(Resolution::Source);
        }
        record.state = TargetState::Held;
        records.store(&record)?;
        target.run(&record.guest)?;
        target.settle(&record.guest)?;
        return Ok(Resolution::Target);
    }
    // It may have run, and ended, since.
    let _ = target.run(&record.guest);
    target.settle(&record.guest)?;
    // The source has no use for the record any more.
    if matches!(answer, Ok(Answer::Source)) {
        records.remove(&record.id)?;
    }
    Ok(Resolution::Target)
}
