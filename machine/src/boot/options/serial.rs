//! `com1=`: how a serial port is set up.

use super::value::number;

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
    pub(super) const COM1: Self = Self { baud: Some(115_200), port: 0x3f8, irq: 4 };

    pub(super) fn parse(text: &str) -> Option<Self> {
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
