//! The command line: options with Xen's names and meanings, parsed as Xen parses them. [`TABLE`]
//! lists all known options.
//!
//! The line is untrusted. A word that cannot be applied has no effect; [`complaints`] reports each
//! such option once.

mod consoles;
mod defences;
mod dom0_memory;
mod microcode;
mod spec_ctrl;
mod table;
mod value;

use core::fmt;
use core::ops::RangeInclusive;

use log::LevelFilter;

pub use consoles::{Consoles, PciSerial, SERIAL_PORTS, SerialAddress, SerialSettings, VideoMode, VideoSettings};
pub use defences::{Choices, PcidUse, PerDomain, Tsx};
pub use dom0_memory::{Amount, Dom0Memory};
pub use microcode::{Microcode, MicrocodeSource};
pub use spec_ctrl::{HistorySequence, SpecCtrl, Thunk};
pub use table::{Apply, Effect, MAX_GRANT_FRAMES, MAX_MAPTRACK_FRAMES, Row, TABLE};

/// Options of the command line, with defaults for those not given.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Destinations of the log; `com1` and the screen by default.
    pub consoles: Consoles,
    /// Settings of the serial ports.
    pub serial: [SerialSettings; SERIAL_PORTS],
    /// Mode of the screen, and whether Paravane keeps it.
    pub video: VideoSettings,
    /// Log level of Paravane's own messages.
    pub log_level: LevelFilter,
    /// Log level of messages that guests cause.
    pub guest_log_level: LevelFilter,
    /// The guest whose console is the serial line without prefixes.
    pub raw_guest_console: Option<&'a str>,
    /// Halt after a crash, so that the message stays on the screen.
    pub no_reboot: bool,
    /// Memory of the control domain.
    pub dom0_memory: Dom0Memory,
    /// Minimum and maximum number of vCPUs of the control domain. Between them it is the number of
    /// CPUs.
    pub dom0_vcpus: RangeInclusive<u32>,
    /// Whether each vCPU of the control domain is pinned to one pCPU.
    pub dom0_vcpus_pinned: bool,
    /// Choices of defences against transient execution.
    pub defences: Choices,
    /// Whether the firmware's runtime services may be called.
    pub efi_runtime_services: bool,
    /// Whether domains have core scheduling unless they are set otherwise.
    pub core_scheduling: bool,
    /// The maximum number of physical CPUs to start.
    pub max_cpus: Option<u32>,
    /// Where microcode is, and which is loaded.
    pub microcode: Microcode,
    /// Maximum number of frames of a domain's grant table.
    pub grant_frames: u32,
    /// Maximum number of maptrack frames of a domain, 256 mappings each.
    pub maptrack_frames: u32,
    /// Frames of the pool for mirror tables, in percent of a domain's memory.
    pub log_dirty_pool: u32,
    /// The text after the word `--`, which is appended to the initial domain's command line.
    pub dom0_command_line: &'a str,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            consoles: Consoles::DEFAULT,
            serial: SerialSettings::DEFAULT,
            video: VideoSettings::DEFAULT,
            log_level: LevelFilter::Info,
            guest_log_level: LevelFilter::Warn,
            raw_guest_console: None,
            no_reboot: false,
            dom0_memory: Dom0Memory::default(),
            dom0_vcpus: 1..=u32::MAX,
            dom0_vcpus_pinned: false,
            defences: Choices::DEFAULT,
            efi_runtime_services: true,
            core_scheduling: false,
            max_cpus: None,
            microcode: Microcode::DEFAULT,
            grant_frames: 64,
            maptrack_frames: 1024,
            log_dirty_pool: 2,
            dom0_command_line: "",
        }
    }
}

impl<'a> Options<'a> {
    /// Parses a command line.
    pub fn parse(line: &'a str) -> Self {
        let (own, dom0_command_line) = split(line);
        let mut options = Self { dom0_command_line, ..Self::default() };
        for word in words(own) {
            // `complaints` reports errors.
            let _ = options.apply(word);
        }
        options
    }

    fn apply(&mut self, word: &'a str) -> Result<(), Complaint<'a>> {
        let (name, value) = name_and_value(word);
        let (row, negated) = look_up(name).ok_or(Complaint::Unknown(word))?;
        match row.effect {
            Effect::Taken { ref apply, .. } => match (apply.0)(self, Argument { value, negated }) {
                Ok(()) => Ok(()),
                Err(NotTaken::Senseless) => Err(Complaint::Senseless(word, row)),
                Err(NotTaken::WithoutEffect(why)) => Err(Complaint::WithoutEffect(word, why)),
                Err(NotTaken::UnknownPart(part)) => Err(Complaint::UnknownPart(word, part)),
            },
            Effect::None(why) => Err(Complaint::WithoutEffect(word, why)),
        }
    }
}

/// The value of an option.
#[derive(Clone, Copy)]
struct Argument<'a> {
    value: Option<&'a str>,
    /// The name was prefixed with `no-`.
    negated: bool,
}

/// The reason why a known option is not applied.
enum NotTaken<'a> {
    /// The value is invalid.
    Senseless,
    /// This value has no effect, for this reason.
    WithoutEffect(&'static str),
    /// This part of a list is not known. The other parts have been applied.
    UnknownPart(&'a str),
}

impl<'a> Argument<'a> {
    fn boolean(self) -> Result<bool, NotTaken<'a>> {
        let value = self.value.filter(|value| !value.is_empty()).map_or(Some(true), value::boolean);
        value.map(|value| value != self.negated).ok_or(NotTaken::Senseless)
    }

    /// The value as written; that of a bare name after `no-` is `no`.
    fn text(self) -> Result<&'a str, NotTaken<'a>> {
        match (self.value, self.negated) {
            (None, true) => Ok("no"),
            (Some(value), false) => Ok(value),
            _ => Err(NotTaken::Senseless),
        }
    }

    /// The parts of a list; that of a bare name is empty.
    fn list(self) -> Result<&'a str, NotTaken<'a>> {
        if self.value.is_none() && !self.negated { Ok("") } else { self.text() }
    }

    fn parse<T>(self, parse: impl FnOnce(&'a str) -> Option<T>) -> Result<T, NotTaken<'a>> {
        parse(self.text()?).ok_or(NotTaken::Senseless)
    }
}

/// A word of the command line that has no effect, and why.
#[derive(Clone, Copy, Debug)]
pub enum Complaint<'a> {
    /// The option does not exist.
    Unknown(&'a str),
    /// The option has an invalid value.
    Senseless(&'a str, &'static Row),
    /// The option exists but has no effect here, for this reason.
    WithoutEffect(&'a str, &'static str),
    /// This part of a list is not known. The other parts are applied.
    UnknownPart(&'a str, &'a str),
}

impl Complaint<'_> {
    /// The word, or its part, that is shown.
    const fn word(&self) -> &str {
        match self {
            Self::Unknown(word) | Self::Senseless(word, _) | Self::WithoutEffect(word, _) => word,
            Self::UnknownPart(_, part) => part,
        }
    }
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The length of a log line is limited, and the message after the word must not be cut off.
        let word = self.word();
        let shown = word.get(..MAX_SHOWN).unwrap_or(word);
        let cut = if shown.len() < word.len() { "..." } else { "" };
        match self {
            Self::Unknown(_) => write!(f, "option \"{shown}{cut}\" is not known"),
            Self::Senseless(_, row) => write!(f, "option \"{shown}{cut}\" is not {}={}", row.name, row.form),
            Self::WithoutEffect(_, why) => write!(f, "option \"{shown}{cut}\" has no effect here: {why}"),
            Self::UnknownPart(word, _) => {
                write!(f, "part \"{shown}{cut}\" of option \"{}\" is not known", name_and_value(word).0)
            }
        }
    }
}

/// The number of bytes of a word that are shown.
const MAX_SHOWN: usize = 100;

/// Errors of a command line. An option without effect is reported at its first occurrence.
pub fn complaints(line: &str) -> impl Iterator<Item = Complaint<'_>> {
    let (line, _) = split(line);
    let mut options = Options::default();
    words(line).enumerate().filter_map(move |(at, word)| {
        let complaint = options.apply(word).err()?;
        let told = words(line).take(at).any(|earlier| match complaint {
            Complaint::Senseless(..) | Complaint::UnknownPart(..) => earlier == word,
            _ => same_name(name_and_value(earlier).0, name_and_value(word).0),
        });
        (!told).then_some(complaint)
    })
}

/// Splits the line into Paravane's own part and the initial domain's, which follows the word `--`.
fn split(line: &str) -> (&str, &str) {
    line.split_once(" -- ").map_or((line, ""), |(own, other)| (own, other.trim_ascii_start()))
}

/// The words of a line that are options. The first word is skipped if it is the image's name, which
/// contains a slash, or `placeholder`, which Debian's GRUB menu inserts.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let no_option = |word: &str| word == "placeholder" || (word.contains('/') && !word.contains('='));
    let mut words = line.split_ascii_whitespace().peekable();
    let _ = words.next_if(|word| no_option(word));
    words
}

fn name_and_value(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)))
}

/// The option of that name, and whether the name is negated. An index (`ivrs_ioapic[4]=`) is not
/// part of the name.
fn look_up(name: &str) -> Option<(&'static Row, bool)> {
    let name = name.split('[').next()?;
    let find = |name| TABLE.iter().find(|row| same_name(row.name, name));
    find(name).map(|row| (row, false)).or_else(|| Some((find(name.strip_prefix("no-")?)?, true)))
}

/// Compares names; hyphens and underscores are equivalent.
fn same_name(one: &str, other: &str) -> bool {
    let like = |byte: u8| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(one, other)| like(one) == like(other))
}

#[cfg(test)]
mod tests;
