//! The command line: options with Xen's names and meanings. An unknown option is kept to be reported, and ignored.

use core::ops::RangeInclusive;

use arrayvec::ArrayVec;
use log::LevelFilter;

/// How a serial port is set up: `com1=BAUD[,FRAMING[,PORT[,IRQ]]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SerialSettings {
    /// Bits a second; `None` leaves the port as the firmware set it (`auto`).
    pub baud: Option<u32>,
    /// First I/O port.
    pub port: u16,
    /// Interrupt line; 0 for polling.
    pub irq: u8,
}

impl SerialSettings {
    const COM1: Self = Self { baud: Some(115_200), port: 0x3f8, irq: 4 };

    fn parse(text: &str) -> Option<Self> {
        let mut settings = Self::COM1;
        let mut parts = text.split(',');
        match parts.next()? {
            "auto" => settings.baud = None,
            "" => {}
            baud => settings.baud = Some(baud.split('/').next()?.parse().ok().filter(|&baud| baud > 0)?),
        }
        if !matches!(parts.next(), None | Some("" | "8n1")) {
            return None;
        }
        if let Some(port) = parts.next() {
            settings.port = u16::try_from(number(port)?).ok()?;
        }
        if let Some(irq) = parts.next() {
            settings.irq = u8::try_from(number(irq)?).ok().filter(|&irq| irq < 16)?;
        }
        Some(settings)
    }
}

/// `dom0_mem=[min:SIZE|max:SIZE|SIZE],...`, in bytes. A size that begins with `-` is not supported.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dom0Memory {
    /// What the control domain starts with.
    pub initial: Option<u64>,
    /// At least this much.
    pub min: Option<u64>,
    /// At most this much.
    pub max: Option<u64>,
}

impl Dom0Memory {
    fn parse(text: &str) -> Option<Self> {
        let mut memory = Self::default();
        for part in text.split(',') {
            match part.split_once(':') {
                Some(("min", value)) => memory.min = Some(size(value)?),
                Some(("max", value)) => memory.max = Some(size(value)?),
                Some(_) => return None,
                None => memory.initial = Some(size(part)?),
            }
        }
        Some(memory)
    }
}

/// Options of the command line, with defaults for those not given.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Whether the first serial port is a console (`console=com1`, the default; any other list turns it off).
    pub serial_console: bool,
    /// Set-up of the first serial port.
    pub com1: SerialSettings,
    /// What of Paravane's own messages is shown.
    pub log_level: LevelFilter,
    /// What of the messages that guests cause is shown.
    pub guest_log_level: LevelFilter,
    /// After a crash, halt and leave the message on the screen.
    pub no_reboot: bool,
    /// Memory of the control domain.
    pub dom0_memory: Dom0Memory,
    /// vCPUs of the control domain: at least and at most; as many as there are CPUs in between.
    pub dom0_vcpus: RangeInclusive<u32>,
    /// The most physical CPUs to start.
    pub max_cpus: Option<u32>,
    /// Words that mean nothing here, or have a value that makes no sense.
    pub ignored: ArrayVec<&'a str, 16>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            serial_console: true,
            com1: SerialSettings::COM1,
            log_level: LevelFilter::Info,
            guest_log_level: LevelFilter::Warn,
            no_reboot: false,
            dom0_memory: Dom0Memory::default(),
            dom0_vcpus: 1..=u32::MAX,
            max_cpus: None,
            ignored: ArrayVec::new(),
        }
    }
}

impl<'a> Options<'a> {
    /// Parses a command line. A first word with a slash in it is the loader's name for the image.
    pub fn parse(line: &'a str) -> Self {
        let mut options = Self::default();
        for (at, word) in line.split_ascii_whitespace().enumerate() {
            let image_name = at == 0 && word.contains('/') && !word.contains('=');
            if !image_name && options.apply(word).is_none() {
                let _ = options.ignored.try_push(word);
            }
        }
        options
    }

    fn apply(&mut self, word: &str) -> Option<()> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("console", Some(list)) => self.serial_console = list.split(',').any(|name| name == "com1"),
            ("com1", Some(value)) => self.com1 = SerialSettings::parse(value)?,
            ("loglvl", Some(value)) => self.log_level = level(value)?,
            ("guest_loglvl", Some(value)) => self.guest_log_level = level(value)?,
            ("noreboot", value) => self.no_reboot = boolean(value)?,
            ("no-noreboot", None) => self.no_reboot = false,
            ("dom0_mem", Some(value)) => self.dom0_memory = Dom0Memory::parse(value)?,
            // `N`, or `MIN-MAX` with either left out
            ("dom0_max_vcpus", Some(value)) => {
                let (least, most) = value.split_once('-').unwrap_or((value, value));
                let number = |text: &str, missing| if text.is_empty() { Some(missing) } else { text.parse().ok() };
                let (least, most) = (number(least, 1)?, number(most, u32::MAX)?);
                self.dom0_vcpus = Some(least..=most).filter(|range| least > 0 && !range.is_empty())?;
            }
            // read by the consoles themselves
            ("guest_console", Some(_)) => {}
            ("maxcpus", Some(value)) => self.max_cpus = Some(value.parse().ok().filter(|&count| count > 0)?),
            _ => return None,
        }
        Some(())
    }
}

fn boolean(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("1" | "true" | "on" | "yes") => Some(true),
        Some("0" | "false" | "off" | "no") => Some(false),
        Some(_) => None,
    }
}

/// `LEVEL[/RATE-LIMITED-LEVEL]`: messages up to the second are shown too, though limited in rate.
fn level(value: &str) -> Option<LevelFilter> {
    Some(match value.rsplit('/').next()? {
        "none" => LevelFilter::Off,
        "error" => LevelFilter::Error,
        "warning" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "all" => LevelFilter::Trace,
        _ => return None,
    })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A size in bytes: a number with a suffix, kibibytes without one.
fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'B' => (&text[..text.len() - 1], 1),
        b'K' => (&text[..text.len() - 1], 1 << 10),
        b'M' => (&text[..text.len() - 1], 1 << 20),
        b'G' => (&text[..text.len() - 1], 1 << 30),
        b'T' => (&text[..text.len() - 1], 1 << 40),
        _ => (text, 1 << 10),
    };
    number(digits)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_with_xens_names_are_understood() {
        let line = "/boot/paravane console=com1,vga com1=9600,8n1,0x2f8,3 loglvl=all guest_loglvl=error/warning noreboot \
                    dom0_mem=512M,max:1G dom0_max_vcpus=2-4 maxcpus=3";
        let options = Options::parse(line);
        assert!(options.ignored.is_empty(), "{:?}", options.ignored);
        assert!(options.serial_console && options.no_reboot);
        assert_eq!(options.com1, SerialSettings { baud: Some(9600), port: 0x2f8, irq: 3 });
        assert_eq!((options.log_level, options.guest_log_level), (LevelFilter::Trace, LevelFilter::Warn));
        assert_eq!(options.dom0_memory, Dom0Memory { initial: Some(512 << 20), min: None, max: Some(1 << 30) });
        assert_eq!((options.dom0_vcpus, options.max_cpus), (2..=4, Some(3)));
    }

    #[test]
    fn what_makes_no_sense_is_ignored_and_kept() {
        let options = Options::parse("maxcpus=0 com1=x loglvl= dom0_mem=99999999999T frob noreboot=perhaps é=1");
        assert_eq!(options.ignored.len(), 7);
        assert_eq!(options.max_cpus, None);
        assert!(!options.no_reboot);
    }

    #[test]
    fn more_unknown_words_than_fit_do_no_harm() {
        assert_eq!(Options::parse(&"x ".repeat(1000)).ignored.len(), 16);
    }

    #[test]
    fn the_initial_domains_vcpus_are_a_number_or_a_range() {
        let vcpus = |text: &str| Options::parse(text).dom0_vcpus;
        assert_eq!(vcpus("dom0_max_vcpus=3"), 3..=3);
        assert_eq!(vcpus("dom0_max_vcpus=2-"), 2..=u32::MAX);
        assert_eq!(vcpus("dom0_max_vcpus=-4"), 1..=4);
        for wrong in ["dom0_max_vcpus=0", "dom0_max_vcpus=4-2", "dom0_max_vcpus=x"] {
            assert_eq!(vcpus(wrong), 1..=u32::MAX, "{wrong}");
        }
    }
}
