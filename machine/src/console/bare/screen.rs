#![expect(unsafe_code, reason = "writes to video memory")]
//! The screen: VGA text or a linear framebuffer, as configured by the loader. Text is stored in a
//! [`Terminal`] and drawn from there: immediately during boot, later by [`poll`] in steps of
//! bounded duration. Drawing stops when the initial domain gets the screen. A panic draws
//! nevertheless; it has a terminal of its own, so it needs no lock that another CPU may hold.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::address_space::boot_memory;
use crate::address_space::early::Early;
use crate::address_space::tables::Mapper;
use crate::boot::{BootInfo, Framebuffer, TextMode, Video, video};
use crate::console::glyphs::Glyphs;
use crate::console::news::{self, News};
use crate::console::terminal::Terminal;
use crate::integers::low_u16;
use crate::processor::registers::port_write8;
use crate::sync::{Level, Once, SpinLock};
use crate::{layout, time};

/// Attribute byte of VGA text: light grey on black.
const TEXT_ATTRIBUTE: u16 = 0x0700;
/// Brightness of lit pixels.
const BRIGHTNESS: u8 = 0xc8;
/// End of the boot tables' mapping.
const BOOT_MAP: u64 = 1 << 32;

/// The maximum duration of drawing in [`poll`], and the pause until it continues, in nanoseconds.
const PIECE: u64 = 300_000;
const PAUSE: u64 = 3_000_000;

/// BIOS data area: video mode, number of columns, last row.
const BIOS_MODE: u64 = 0x449;
const BIOS_COLUMNS: u64 = 0x44a;
const BIOS_LAST_ROW: u64 = 0x484;
/// Text modes in colour.
const MODES: [u8; 2] = [2, 3];

/// Index and data port of the VGA's CRT controller, and the registers of the cursor position.
const CONTROLLER: u16 = 0x3d4;
const CURSOR: [u8; 2] = [0x0e, 0x0f];

static SURFACE: Once<Surface> = Once::new();
/// Address of the mapped video memory; zero while it is not mapped.
static ADDRESS: AtomicU64 = AtomicU64::new(0);
/// Whether the screen is one of Paravane's consoles.
static CONSOLE: AtomicBool = AtomicBool::new(false);
/// Whether Paravane may currently draw on it.
static DRAWING: AtomicBool = AtomicBool::new(false);
/// Whether [`poll`] draws, as opposed to the writer.
static LATER: AtomicBool = AtomicBool::new(false);
static TERMINAL: SpinLock<Terminal> = SpinLock::new(Level::Screen, Terminal::new());
/// The terminal of a panic.
static EMERGENCY: SpinLock<Terminal> = SpinLock::new(Level::Screen, Terminal::new());

/// The drawing target.
#[expect(clippy::large_enum_variant, reason = "there is one, in a static")]
enum Surface {
    Text(TextMode),
    Pixels { format: Framebuffer, glyphs: Glyphs, lit: u32 },
}

impl Surface {
    fn new(video: &Video) -> Self {
        match *video {
            Video::Text(mode) => Self::Text(mode),
            Video::Framebuffer(format) => {
                Self::Pixels { format, glyphs: Glyphs::for_width(format.width), lit: format.grey(BRIGHTNESS) }
            }
        }
    }

    /// Columns and rows.
    const fn cells(&self) -> (usize, usize) {
        match self {
            Self::Text(mode) => (mode.columns as usize, mode.rows as usize),
            Self::Pixels { format, glyphs, .. } => {
                let (width, height) = glyphs.cell();
                ((format.width / width) as usize, (format.height / height) as usize)
            }
        }
    }

    /// Size of video memory in bytes.
    const fn size(&self) -> u64 {
        match self {
            Self::Text(mode) => mode.columns as u64 * mode.rows as u64 * 2,
            Self::Pixels { format, .. } => format.size(),
        }
    }

    fn draw(&self, row: usize, column: usize, character: u8) {
        let (row, column) = (row as u64, column as u64);
        match self {
            Self::Text(mode) => {
                let cell = TEXT_ATTRIBUTE | u16::from(character);
                self.store((row * u64::from(mode.columns) + column) * 2, 2, cell.into());
            }
            Self::Pixels { format, glyphs, lit } => {
                let (width, height) = glyphs.cell();
                let (pitch, bytes) = (u64::from(format.pitch), format.pixel_size());
                let corner = row * u64::from(height) * pitch + column * u64::from(width * bytes);
                for (line, pixels) in (0..).zip(glyphs.lines(character)) {
                    let offsets = (corner + line * pitch..).step_by(bytes as usize);
                    for (offset, is_lit) in offsets.zip(pixels) {
                        self.store(offset, bytes, if is_lit { *lit } else { 0 });
                    }
                }
            }
        }
    }

    /// Clears the whole screen, including the margins that no character covers.
    fn clear(&self) {
        let blank = if matches!(self, Self::Text(_)) { u32::from(TEXT_ATTRIBUTE | u16::from(b' ')) } else { 0 };
        for offset in (0..self.size() / 2).map(|cell| cell * 2) {
            self.store(offset, 2, blank);
        }
    }

    /// Writes the low `bytes` bytes, 1 to 4, of a value at an offset in video memory.
    fn store(&self, offset: u64, bytes: u32, value: u32) {
        assert!(offset + u64::from(bytes) <= self.size(), "{offset:#x} is outside video memory");
        let address = ADDRESS.load(Ordering::Relaxed);
        if address == 0 {
            return;
        }
        let at = address + offset;
        match bytes {
            // SAFETY: `ADDRESS` is the start of `size` bytes of mapped video memory, and the offset
            // was checked. No Rust object is there.
            4 => unsafe { (at as *mut u32).write_volatile(value) },
            // SAFETY: as above.
            2 => unsafe { (at as *mut u16).write_volatile(low_u16(value.into())) },
            _ => {
                for (byte, at) in value.to_le_bytes().into_iter().take(bytes as usize).zip(at..) {
                    // SAFETY: as above.
                    unsafe { (at as *mut u8).write_volatile(byte) };
                }
            }
        }
    }
}

/// Initialises the screen at the start of boot. Video memory above 4 GiB cannot be drawn on until
/// [`map`] has been called.
pub(crate) fn init(video: &Video, is_console: bool) {
    let surface = SURFACE.set(Surface::new(video));
    let start = match video {
        Video::Text(_) => video::TEXT_BASE,
        Video::Framebuffer(framebuffer) => framebuffer.address,
    };
    if start + surface.size() <= BOOT_MAP {
        ADDRESS.store(layout::direct(start), Ordering::Relaxed);
    }
    let (columns, rows) = surface.cells();
    if is_console && columns > 0 && rows > 0 {
        surface.clear();
        TERMINAL.lock().set_size(columns, rows);
        CONSOLE.store(true, Ordering::SeqCst);
        DRAWING.store(true, Ordering::SeqCst);
    }
}

/// Whether the screen is a console, so that a person may be reading it.
pub(crate) fn is_console() -> bool {
    CONSOLE.load(Ordering::SeqCst)
}

/// The screen of a machine whose loader does not describe it: VGA text, if the BIOS reports that
/// mode and the text buffer has memory.
pub(crate) fn bios_text(info: &BootInfo) -> Option<TextMode> {
    let (mut mode, mut columns, mut last_row) = ([0; 1], [0; 2], [0; 1]);
    boot_memory::read_low(BIOS_MODE, &mut mode);
    boot_memory::read_low(BIOS_COLUMNS, &mut columns);
    boot_memory::read_low(BIOS_LAST_ROW, &mut last_row);
    let (columns, rows) = (u16::from_le_bytes(columns).into(), u32::from(last_row[0]) + 1);
    let plausible = info.efi_system_table().is_none() && MODES.contains(&mode[0]) && has_text_memory();
    plausible.then(|| TextMode::of_size(columns, rows)).flatten()
}

/// Whether VGA text memory stores written values.
fn has_text_memory() -> bool {
    let cell = layout::direct(video::TEXT_BASE) as *mut u16;
    // SAFETY: the boot tables map the first 4 GiB, and no Rust object is in the VGA's window.
    let before = unsafe { cell.read_volatile() };
    let pattern = !before;
    // SAFETY: as above.
    unsafe { cell.write_volatile(pattern) };
    // SAFETY: as above.
    let found = unsafe { cell.read_volatile() };
    // SAFETY: as above.
    unsafe { cell.write_volatile(before) };
    found == pattern
}

/// Maps a framebuffer in the tables under construction. [`use_mapping`] must be called as soon as
/// they are loaded.
pub(crate) fn map(mapper: &mut Mapper, memory: &mut Early) -> Option<u64> {
    match SURFACE.try_get()? {
        // The first MiB is in the direct map.
        Surface::Text(_) => None,
        Surface::Pixels { format, .. } => Some(mapper.map_write_combining(memory, format.address, format.size())),
    }
}

/// Video memory is accessed through the mapping of [`map`] from now on.
pub(crate) fn use_mapping(address: Option<u64>) {
    if let Some(address) = address {
        let first = ADDRESS.swap(address, Ordering::SeqCst) == 0;
        let surface = SURFACE.get();
        if first && DRAWING.load(Ordering::SeqCst) {
            surface.clear();
            draw_all(&mut TERMINAL.lock());
        }
    }
}

fn draw_all(terminal: &mut Terminal) {
    if let Some(surface) = SURFACE.try_get() {
        terminal.draw(|| true, |row, column, character| surface.draw(row, column, character));
    }
}

/// Writes text.
pub(crate) fn write(bytes: &[u8]) {
    if !DRAWING.load(Ordering::Relaxed) {
        return;
    }
    let mut terminal = TERMINAL.lock();
    terminal.write(bytes);
    if LATER.load(Ordering::Relaxed) {
        news::note(News::UNDRAWN);
    } else {
        draw_all(&mut terminal);
    }
}

/// Draws pending changes for a limited time. Returns the nanoseconds until it must continue, or
/// `None` if all is drawn.
pub(crate) fn poll() -> Option<u64> {
    LATER.store(true, Ordering::Relaxed);
    let surface = SURFACE.try_get().filter(|_| DRAWING.load(Ordering::Relaxed))?;
    let end = time::now() + PIECE;
    let mut terminal = TERMINAL.lock();
    let all = terminal.draw(|| time::now() < end, |row, column, character| surface.draw(row, column, character));
    (!all).then_some(PAUSE)
}

/// Draws pending output, sets the cursor after it, and leaves the screen to another driver.
pub(crate) fn release() {
    if DRAWING.swap(false, Ordering::SeqCst) {
        let mut terminal = TERMINAL.lock();
        draw_all(&mut terminal);
        place_cursor(&terminal);
    }
}

/// Takes the screen back, whatever its current contents.
pub(crate) fn take_back() {
    if is_console() {
        let mut terminal = TERMINAL.lock();
        terminal.forget_shown();
        draw_all(&mut terminal);
        LATER.store(false, Ordering::SeqCst);
        DRAWING.store(true, Ordering::SeqCst);
    }
}

/// Column and row of the cursor.
pub(crate) fn cursor() -> (u16, u16) {
    let (column, row) = TERMINAL.lock().cursor();
    (low_u16(column as u64), low_u16(row as u64))
}

fn place_cursor(terminal: &Terminal) {
    if let Some(Surface::Text(mode)) = SURFACE.try_get() {
        let (column, row) = terminal.cursor();
        let place = low_u16((row * usize::from(mode.columns) + column) as u64);
        for (register, byte) in CURSOR.into_iter().zip(place.to_be_bytes()) {
            port_write8(CONTROLLER, register);
            port_write8(CONTROLLER + 1, byte);
        }
    }
}

/// Prepares the screen for a panic: copies the current text, unless another CPU holds its lock, and
/// leaves room for more.
pub(crate) fn begin_emergency() {
    if is_console()
        && let Some(mut emergency) = EMERGENCY.try_lock()
    {
        match TERMINAL.try_lock() {
            Some(terminal) => emergency.copy(&terminal),
            None => {
                let (columns, rows) = SURFACE.get().cells();
                emergency.set_size(columns, rows);
            }
        }
    }
}

/// Writes without taking a lock that another CPU may hold, for a panic.
pub(crate) fn write_emergency(bytes: &[u8]) {
    if let Some(mut terminal) = EMERGENCY.try_lock() {
        terminal.write(bytes);
        if bytes.contains(&b'\n') {
            draw_all(&mut terminal);
        }
    }
}
