//! The console options of the command line: `console=`, `com1=`, `com2=` and `vga=`, by Xen's
//! names.

use super::value::number;

/// The number of serial ports.
pub const SERIAL_PORTS: usize = 2;

/// `console=LIST`: the destinations of the log. All listed consoles are used at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consoles {
    /// Each serial port, `com1` first.
    pub serial: [bool; SERIAL_PORTS],
    /// The screen.
    pub vga: bool,
}

impl Consoles {
    /// The value without the option.
    pub(super) const DEFAULT: Self = Self { serial: [true, false], vga: true };

    /// The consoles of a list, and whether all of its words are known. Returns no consoles if no
    /// word of a non-empty list is known.
    pub(super) fn parse(list: &str) -> (Option<Self>, bool) {
        let mut consoles = Self { serial: [false; SERIAL_PORTS], vga: false };
        let (mut any, mut all) = (list.is_empty(), true);
        for word in list.split(',') {
            // `H` and `L` select half of the characters each, for two users of one line. Both
            // select this console.
            match word.trim_end_matches(['H', 'L']) {
                "com1" => consoles.serial[0] = true,
                "com2" => consoles.serial[1] = true,
                "vga" => consoles.vga = true,
                "none" | "" => {}
                _ => {
                    all = false;
                    continue;
                }
            }
            any = true;
        }
        (any.then_some(consoles), all)
    }
}

/// The location of a serial port's registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SerialAddress {
    /// I/O ports from this one on.
    Port(u16),
    /// In the first I/O region of this kind of PCI card.
    Pci(PciSerial),
}

/// Selects a PCI serial card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PciSerial {
    /// The first card that is not Intel's management engine (`pci`).
    Card,
    /// The port of Intel's management engine (`amt`).
    Amt,
    /// The function at this address.
    At {
        /// Bus.
        bus: u8,
        /// Device in the upper five bits, function in the lower three.
        device_function: u8,
    },
}

/// Settings of a serial port:
/// `com1=BAUD[/CLOCK][,FRAMING[,PORT|pci|amt[,IRQ[,BUS:DEVICE.FUNCTION]]]]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SerialSettings {
    /// Baud rate; `None` keeps the firmware's setting (`auto`).
    pub baud: Option<u32>,
    /// Baud rate with a divisor of 1.
    pub clock: u32,
    /// Data bits, parity and stop bits, encoded as in the line control register.
    pub framing: u8,
    /// Its registers.
    pub address: SerialAddress,
    /// Interrupt line; 0 for polling.
    pub irq: u8,
}

impl SerialSettings {
    /// The settings without an option.
    pub(super) const DEFAULT: [Self; SERIAL_PORTS] = [Self::at(0x3f8, 4), Self::at(0x2f8, 3)];

    const fn at(port: u16, irq: u8) -> Self {
        let address = SerialAddress::Port(port);
        Self { baud: Some(115_200), clock: 115_200, framing: 3, address, irq }
    }

    /// The settings of port `index` after the option's value `text` has been applied.
    pub(super) fn parse(text: &str, index: usize) -> Option<Self> {
        let mut settings = *Self::DEFAULT.get(index)?;
        let mut parts = text.split(',');
        settings.set_speed(parts.next()?)?;
        if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            settings.framing = framing(part)?;
        }
        match parts.next() {
            None | Some("") => {}
            Some("pci") => settings.set_card(PciSerial::Card),
            Some("amt") => settings.set_card(PciSerial::Amt),
            Some(port) => {
                let port = u16::try_from(number(port)?).ok().filter(|port| (1..=0xfff8).contains(port))?;
                settings.address = SerialAddress::Port(port);
            }
        }
        if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            settings.irq = u8::try_from(number(part)?).ok().filter(|&irq| irq < 16)?;
        }
        if let Some(part) = parts.next().filter(|part| !part.is_empty()) {
            settings.set_card(function(part)?);
        }
        parts.next().is_none().then_some(settings)
    }

    fn set_speed(&mut self, text: &str) -> Option<()> {
        let positive = |text: &str| text.parse().ok().filter(|&speed: &u32| speed > 0);
        let (speed, clock) = text.split_once('/').unwrap_or((text, ""));
        match speed {
            "auto" => self.baud = None,
            "" => {}
            speed => self.baud = Some(positive(speed)?),
        }
        if !clock.is_empty() {
            self.clock = positive(clock)?;
        }
        Some(())
    }

    /// A card's line is polled unless the option specifies an interrupt: only AML, which Paravane
    /// does not interpret, describes the routing of the card's pin.
    const fn set_card(&mut self, card: PciSerial) {
        self.address = SerialAddress::Pci(card);
        self.irq = 0;
    }
}

/// The line format, such as `8n1`: 5 to 8 data bits; parity none, odd, even, mark or space; 1 or 2
/// stop bits.
fn framing(text: &str) -> Option<u8> {
    let &[bits @ b'5'..=b'8', parity, stop @ b'1'..=b'2'] = text.as_bytes() else { return None };
    let parity = match parity {
        b'n' => 0,
        b'o' => 1,
        b'e' => 3,
        b'm' => 5,
        b's' => 7,
        _ => return None,
    };
    Some((bits - b'5') | (stop - b'1') << 2 | parity << 3)
}

/// `[BUS:]DEVICE.FUNCTION`, hexadecimal.
fn function(text: &str) -> Option<PciSerial> {
    let (bus, rest) = text.split_once(':').unwrap_or(("0", text));
    let (device, function) = rest.split_once('.')?;
    let hexadecimal = |text, limit| u8::from_str_radix(text, 16).ok().filter(|&value| value <= limit);
    let device_function = hexadecimal(device, 31)? << 3 | hexadecimal(function, 7)?;
    Some(PciSerial::At { bus: hexadecimal(bus, 255)?, device_function })
}

/// The screen mode requested by `vga=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VideoMode {
    /// The mode set by the loader (`current`, or no mode).
    Current,
    /// Text with this many columns and rows (`text-80x50`).
    Text(u16, u16),
    /// A linear framebuffer: width, height, and bits per pixel (`gfx-1024x768x32`).
    Framebuffer(u16, u16, u16),
}

/// `vga=MODE[,keep]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VideoSettings {
    /// The requested mode.
    pub mode: VideoMode,
    /// Paravane keeps the screen when the initial domain starts.
    pub keep: bool,
}

impl VideoSettings {
    /// The value without the option.
    pub(super) const DEFAULT: Self = Self { mode: VideoMode::Current, keep: false };

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut settings = Self::DEFAULT;
        for (at, part) in text.split(',').enumerate() {
            match part {
                "keep" => settings.keep = true,
                _ if at == 0 => settings.mode = mode(part)?,
                _ => return None,
            }
        }
        Some(settings)
    }
}

fn mode(text: &str) -> Option<VideoMode> {
    if matches!(text, "current" | "") {
        return Some(VideoMode::Current);
    }
    let (kind, sizes) = text.split_once('-')?;
    let mut sizes = sizes.split('x').map(|size| size.parse().ok().filter(|&size: &u16| size > 0));
    let mut size = || sizes.next()?;
    let mode = match kind {
        "text" => VideoMode::Text(size()?, size()?),
        "gfx" => VideoMode::Framebuffer(size()?, size()?, size()?),
        _ => return None,
    };
    sizes.next().is_none().then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_list_of_consoles_is_accepted() {
        let consoles = |list| {
            let (consoles, all) = Consoles::parse(list);
            (consoles.map(|consoles| (consoles.serial, consoles.vga)), all)
        };
        assert_eq!(consoles("com1"), (Some(([true, false], false)), true));
        assert_eq!(consoles("com2,vga"), (Some(([false, true], true)), true));
        assert_eq!(consoles("com1H,com1L,com2"), (Some(([true, true], false)), true));
        assert_eq!(consoles("none"), (Some(([false, false], false)), true));
        assert_eq!(consoles(""), (Some(([false, false], false)), true));
        // Known words are used, and a list of unknown words does not silence the host.
        assert_eq!(consoles("xhci,vga"), (Some(([false, false], true)), false));
        assert_eq!(consoles("xhci"), (None, false));
    }

    #[test]
    fn a_serial_port_has_xens_syntax() {
        let port = |text| SerialSettings::parse(text, 0);
        let default = SerialSettings::DEFAULT[0];
        assert_eq!(port("115200,8n1"), Some(default));
        assert_eq!(port(""), Some(default));
        assert_eq!(port("auto").map(|port| port.baud), Some(None));
        let other = SerialSettings { address: SerialAddress::Port(0x2e8), irq: 0, ..default };
        assert_eq!(port("115200,8n1,0x2e8,0"), Some(other));
        assert_eq!(port("9600/1843200,7e2").map(|port| (port.clock, port.framing)), Some((1_843_200, 0x1e)));
        let card = |which| Some(SerialSettings { address: SerialAddress::Pci(which), irq: 0, ..default });
        assert_eq!(port("115200,8n1,pci"), card(PciSerial::Card));
        assert_eq!(port("115200,8n1,amt"), card(PciSerial::Amt));
        let at = PciSerial::At { bus: 2, device_function: 0x1f << 3 | 1 };
        assert_eq!(port("115200,8n1,pci,0,02:1f.1"), card(at));
        assert_eq!(SerialSettings::parse("9600", 1).map(|port| (port.address, port.irq)), {
            Some((SerialAddress::Port(0x2f8), 3))
        });
        for wrong in [
            "x",
            "0",
            "9600/0",
            "9600,9n1",
            "9600,8x1",
            "9600,8n3",
            "9600,8n1,0xfed00000",
            "9600,8n1,0",
            "9600,8n1,0xffff",
            "9600,8n1,pci,16",
            "9600,8n1,pci,0,20.0",
            "9600,8n1,pci,0,0:1f.8",
            "9600,8n1,,,,,",
        ] {
            assert_eq!(port(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_video_mode_has_xens_syntax() {
        let video = |text| VideoSettings::parse(text).map(|video| (video.mode, video.keep));
        assert_eq!(video("current"), Some((VideoMode::Current, false)));
        assert_eq!(video("keep"), Some((VideoMode::Current, true)));
        assert_eq!(video("text-80x50,keep"), Some((VideoMode::Text(80, 50), true)));
        assert_eq!(video("gfx-1024x768x32"), Some((VideoMode::Framebuffer(1024, 768, 32), false)));
        for wrong in ["ask", "gfx-1024x768", "text-80", "gfx-0x0x0", "text-80x25x4", "current,ask", "mode-0x317"] {
            assert_eq!(video(wrong), None, "{wrong}");
        }
    }
}
