#![expect(unsafe_code, reason = "reads the HPET's registers in memory")]
//! The clock of the machine: the time-stamp counter, calibrated once at boot against a timer of
//! known frequency.

use super::{Rate, Scale};
use crate::boot::acpi::Acpi;
use crate::integers::{low_u32, low_u64};
use crate::once::Once;
use crate::processor::registers::{port_read8, port_read32, port_write8, read_tsc, read_tsc_unordered};
use crate::{apic, processor};

const PM_TIMER_HERTZ: u64 = 3_579_545;
const PIT_HERTZ: u64 = 1_193_182;

struct Clock {
    scale: Scale,
    /// Counter value at time zero.
    base: u64,
    /// The timer is in TSC-deadline mode.
    deadline_mode: bool,
    /// The rate of the deadline unit: the TSC in that mode, otherwise ticks after the divider.
    timer: Rate,
    wall_clock: u64,
}

impl Clock {
    /// Nanoseconds since boot at counter value `tsc`.
    fn at(&self, tsc: u64) -> u64 {
        self.scale.nanoseconds(tsc.saturating_sub(self.base))
    }
}

static CLOCK: Once<Clock> = Once::new();

/// A timer of known frequency, counting up modulo a power of two.
enum Reference {
    Hpet { base: u64, hertz: u64 },
    PmTimer { port: u16, mask: u64 },
    Pit,
}

impl Reference {
    fn choose(acpi: &Acpi, mut map: impl FnMut(u64) -> u64) -> Self {
        if let Some(physical) = acpi.hpet {
            let base = map(physical);
            let read = |offset: u64| {
                // SAFETY: the HPET's registers stay mapped at this address.
                unsafe { ((base + offset) as *const u64).read_volatile() }
            };
            let period = read(0) >> 32;
            // Femtoseconds per tick; the specification allows up to 100 ns.
            if (1..=100_000_000).contains(&period) {
                // SAFETY: as above; starts the counter, without interrupts.
                unsafe { ((base + 0x10) as *mut u64).write_volatile(read(0x10) | 1) };
                return Self::Hpet { base, hertz: 1_000_000_000_000_000 / period };
            }
        }
        match acpi.pm_timer {
            Some((port, wide)) => Self::PmTimer { port, mask: if wide { 0xffff_ffff } else { 0xff_ffff } },
            None => Self::Pit,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Hpet { .. } => "HPET",
            Self::PmTimer { .. } => "ACPI timer",
            Self::Pit => "PIT",
        }
    }

    const fn hertz(&self) -> u64 {
        match self {
            Self::Hpet { hertz, .. } => *hertz,
            Self::PmTimer { .. } => PM_TIMER_HERTZ,
            Self::Pit => PIT_HERTZ,
        }
    }

    const fn mask(&self) -> u64 {
        match self {
            Self::Hpet { .. } => 0xffff_ffff,
            Self::PmTimer { mask, .. } => *mask,
            Self::Pit => 0xffff,
        }
    }

    /// Duration of the calibration in milliseconds: long enough for a resolution of some parts per
    /// million; the PIT wraps after 54 ms.
    const fn span(&self) -> u64 {
        match self {
            Self::Hpet { .. } => 20,
            Self::PmTimer { .. } | Self::Pit => 40,
        }
    }

    fn start(&self) {
        if let Self::Pit = self {
            // Channel 2: gate on, speaker off; count down once from the maximum.
            port_write8(0x61, port_read8(0x61) & !2 | 1);
            port_write8(0x43, 0xb0);
            port_write8(0x42, 0xff);
            port_write8(0x42, 0xff);
        }
    }

    fn read(&self) -> u64 {
        match self {
            // SAFETY: the HPET's registers stay mapped at this address.
            Self::Hpet { base, .. } => u64::from(unsafe { ((base + 0xf0) as *const u32).read_volatile() }),
            Self::PmTimer { port, mask } => u64::from(port_read32(*port)) & mask,
            Self::Pit => {
                port_write8(0x43, 0x80);
                let low = port_read8(0x42);
                0xffff - u64::from(u16::from_le_bytes([low, port_read8(0x42)]))
            }
        }
    }

    /// All clocks at one moment: the fastest of several readings.
    fn snapshot(&self) -> (u64, u64, u32) {
        let mut best = (u64::MAX, (0, 0, 0));
        for _ in 0..8 {
            let before = read_tsc();
            let reference = self.read();
            let apic = apic::timer_count();
            let after = read_tsc();
            let took = after.wrapping_sub(before);
            if took < best.0 {
                best = (took, (reference, before + took / 2, apic));
            }
        }
        best.1
    }
}

/// Calibrates the counter and this CPU's timer. `map` maps device registers and returns their
/// address.
pub(crate) fn init(acpi: &Acpi, map: impl FnMut(u64) -> u64) {
    let wall_clock = read_wall_clock();
    let reference = Reference::choose(acpi, map);
    reference.start();
    apic::start_measuring();
    let first = reference.snapshot();
    let wanted = reference.hertz() * reference.span() / 1000;
    let elapsed = |now: u64| now.wrapping_sub(first.0) & reference.mask();
    let mut patience = 100_000_000u64;
    while elapsed(reference.read()) < wanted && patience > 0 {
        patience -= 1;
    }
    let last = reference.snapshot();
    apic::start_one_shot(0);
    let ticks = elapsed(last.0).max(1);
    let per_second = |count: u64| low_u64(u128::from(count) * u128::from(reference.hertz()) / u128::from(ticks));
    let tsc_hertz = per_second(last.1 - first.1).max(1_000_000);
    let apic_hertz = per_second(u64::from(first.2.wrapping_sub(last.2))).max(1000);
    let deadline_mode = processor::features().tsc_deadline;
    log::debug!("time: the one-shot timer runs at {apic_hertz} Hz");
    CLOCK.set(Clock {
        scale: Scale::of_frequency(tsc_hertz),
        base: first.1,
        deadline_mode,
        timer: Rate::of_frequency(if deadline_mode { tsc_hertz } else { apic_hertz }),
        wall_clock,
    });
    init_timer();
    log::info!(
        "time: TSC at {}.{:03} MHz (by {}), timer: {}",
        tsc_hertz / 1_000_000,
        tsc_hertz / 1000 % 1000,
        reference.name(),
        if deadline_mode { "TSC deadline" } else { "one-shot" }
    );
}

/// Initialises this CPU's timer.
pub(crate) fn init_timer() {
    if CLOCK.get().deadline_mode {
        apic::use_deadline_mode();
    } else {
        apic::use_one_shot_mode();
    }
}

/// Nanoseconds since boot; zero before the clock is set up.
pub fn now() -> u64 {
    CLOCK.try_get().map_or(0, |clock| clock.at(read_tsc()))
}

/// The time-stamp counter.
pub fn tsc() -> u64 {
    read_tsc()
}

/// The time-stamp counter, not ordered with respect to surrounding instructions.
pub fn ticks() -> u64 {
    read_tsc_unordered()
}

/// The scale from ticks of the time-stamp counter to nanoseconds.
pub fn scale() -> Scale {
    CLOCK.get().scale
}

/// Requests `Pending::TIMER` on this CPU at `deadline` (nanoseconds since boot), or somewhat
/// earlier if that is far in the future. A deadline in the past is due immediately, `u64::MAX`
/// never. A new deadline replaces the previous one.
pub fn set_deadline(deadline: u64) {
    let clock = CLOCK.get();
    let tsc = read_tsc();
    let ticks = clock.timer.ticks(deadline.saturating_sub(clock.at(tsc)));
    match (clock.deadline_mode, deadline) {
        (true, u64::MAX) => apic::set_tsc_deadline(0),
        (true, _) => apic::set_tsc_deadline(tsc.saturating_add(ticks)),
        (false, u64::MAX) => apic::start_one_shot(0),
        (false, _) => apic::start_one_shot(low_u32(ticks.min(apic::ONE_SHOT_MAX.into()))),
    }
}

/// The wall clock when `now` was zero: nanoseconds since 1970, UTC.
pub fn wall_clock_at_boot() -> u64 {
    CLOCK.get().wall_clock
}

/// Spins for this many microseconds.
pub(crate) fn delay(microseconds: u64) {
    let end = now() + microseconds * 1000;
    while now() < end {
        core::hint::spin_loop();
    }
}

fn cmos(register: u8) -> u8 {
    port_write8(0x70, register | 0x80);
    port_read8(0x71)
}

/// Nanoseconds since 1970, from the real-time clock.
fn read_wall_clock() -> u64 {
    let sample = || {
        for _ in 0..10_000 {
            if cmos(0x0a) & 0x80 == 0 {
                break;
            }
        }
        [0, 2, 4, 7, 8, 9].map(cmos)
    };
    let mut last = sample();
    // Two equal readings have not been torn by an update.
    for _ in 0..10 {
        let next = sample();
        if next == last {
            break;
        }
        last = next;
    }
    let mode = cmos(0x0b);
    let decode =
        |value: u8| if mode & 4 == 0 { u64::from(value >> 4) * 10 + u64::from(value & 15) } else { value.into() };
    let [second, minute, hour, day, month, year] = last;
    let mut hours = decode(hour & 0x7f);
    if mode & 2 == 0 {
        hours = hours % 12 + if hour & 0x80 != 0 { 12 } else { 0 };
    }
    let days = days_since_1970(2000 + decode(year), decode(month), decode(day));
    (((days * 24 + hours) * 60 + decode(minute)) * 60 + decode(second)) * 1_000_000_000
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that
/// leap days come last.
const fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day.saturating_sub(1);
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

const _: () = assert!(days_since_1970(1970, 1, 1) == 0 && days_since_1970(2024, 2, 29) == 19_782);
