//! The choice of an update in a file.

use crate::update::Update;
use crate::{Error, Maker, Processor, amd, intel};

/// Which updates are acceptable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// Also one of the current revision.
    pub same: bool,
    /// Only those that may be loaded while the processor is in use.
    pub late: bool,
}

/// Finds the newest update for the processor in a file, which may contain several. Calls `between`
/// after each, so that a caller with a large file can do other work.
///
/// # Errors
/// If the file has any damage, or no update that the rule accepts.
pub fn newest<'a>(
    file: &'a [u8],
    processor: &Processor,
    rule: Rule,
    mut between: impl FnMut(),
) -> Result<Update<'a>, Error> {
    let mut newest: Option<Update<'a>> = None;
    let mut each = |update: Option<Update<'a>>| {
        if let Some(update) = update
            && newest.is_none_or(|other| processor.is_newer(update.revision, other.revision))
        {
            newest = Some(update);
        }
        between();
    };
    match processor.maker {
        Maker::Intel => intel::search(file, processor, &mut each)?,
        Maker::Amd => amd::search(file, processor, &mut each)?,
    }
    let update = newest.ok_or(Error::OtherProcessor)?;
    let current = processor.revision;
    let accepted = processor.is_newer(update.revision, current) || rule.same && update.revision == current;
    if !accepted {
        return Err(Error::NotNewer { offered: update.revision, current });
    }
    if processor.maker == Maker::Amd && amd::is_final(processor) {
        return Err(Error::Final(current));
    }
    if rule.late && processor.maker == Maker::Intel {
        intel::check_late(processor, &update)?;
    }
    Ok(update)
}
