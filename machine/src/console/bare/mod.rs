//! The consoles: serial ports and the screen. Output is written to each.

mod pci_serial;
pub(crate) mod screen;
mod serial;

pub(crate) use screen::{cursor as screen_cursor, release as release_screen, take_back as take_screen_back};
pub(crate) use serial::{bases as serial_bases, end_of_boot, has_room, read_byte, service};

use crate::boot::options::{Options, SERIAL_PORTS, VideoMode};
use crate::boot::video::Unusable;
use crate::boot::{self, BootInfo, TextMode, Video};
use crate::processor;
use serial::NoPort;

/// The result of setting up the requested consoles.
pub(crate) struct Report {
    serial: [Result<(), NoPort>; SERIAL_PORTS],
    screen: Result<Option<&'static Video>, Unusable>,
}

/// Sets up the consoles. Afterwards the screen is known, even if it is not a console.
pub(crate) fn init(options: &Options<'_>, info: &BootInfo) -> Report {
    let mut serial = [Ok(()); SERIAL_PORTS];
    for (index, result) in serial.iter_mut().enumerate().filter(|(index, _)| options.consoles.serial[*index]) {
        *result = serial::init(index, &options.serial[index]);
    }
    let limit = 1 << processor::features().physical_bits;
    let found = match info.video() {
        Some((claim, vesa)) => claim.check(info.memory_map(), vesa, limit).map(Some),
        None => Ok(screen::bios_text(info).map(Video::Text)),
    };
    let video = boot::seal_video(found.ok().flatten());
    if let Some(video) = video {
        screen::init(video, options.consoles.vga);
    }
    Report { serial, screen: found.map(|_| video) }
}

impl Report {
    /// Logs the requested consoles that are not available.
    pub(crate) fn log(&self, options: &Options<'_>) {
        for (number, why) in (1..).zip(self.serial).filter_map(|(number, port)| Some((number, port.err()?))) {
            log::warn!("no console on com{number}: {why}");
        }
        match self.screen {
            Ok(Some(video)) => {
                log::info!("screen: {video}");
                if !is_mode(video, options.video.mode) {
                    log::warn!("vga= requests another mode; the boot loader sets the mode (GRUB: gfxpayload)");
                }
            }
            Ok(None) => {}
            Err(what) => log::warn!("the boot loader's screen is not used: {what}"),
        }
    }
}

/// Whether the screen has the requested mode.
fn is_mode(video: &Video, wanted: VideoMode) -> bool {
    match (wanted, video) {
        (VideoMode::Current, _) => true,
        (VideoMode::Text(columns, rows), Video::Text(TextMode { columns: there, rows: rows_there, .. })) => {
            (columns, rows) == (*there, *rows_there)
        }
        (VideoMode::Framebuffer(width, height, depth), Video::Framebuffer(there)) => {
            [width, height, depth].map(u32::from) == [there.width, there.height, there.depth.into()]
        }
        _ => false,
    }
}

/// Writes to all consoles.
pub(crate) fn write(bytes: &[u8]) {
    serial::write(bytes);
    screen::write(bytes);
}

/// See `console::poll`.
pub(crate) fn poll() -> Option<u64> {
    [serial::poll(), screen::poll()].into_iter().flatten().min()
}

/// The first step of a panic: sends buffered output, and prepares the screen.
pub(crate) fn begin_emergency() {
    serial::flush_emergency();
    screen::begin_emergency();
}

/// Writes without taking a lock that another CPU may hold, for a panic.
pub(crate) fn write_emergency(bytes: &[u8]) {
    serial::write_emergency(bytes);
    screen::write_emergency(bytes);
}
