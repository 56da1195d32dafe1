//! The update in the boot modules: for the boot CPU, and for each other CPU when it starts.

use microcode::{Error, Maker, Processor, Rule, early_cpio, newest};

use super::{Image, backend, load_here, note, revision};
use crate::boot::options::{Microcode, MicrocodeSource};
use crate::once::Once;
use crate::per_cpu;

/// The update that the boot CPU has taken.
static EARLY: Once<Option<Image>> = Once::new();

/// Loads the update that the command line and the boot modules contain into the boot CPU. Returns
/// whether it has a new revision. Faults must be handled already.
#[cfg(target_os = "none")]
pub(crate) fn load_at_boot() -> bool {
    crate::boot_modules::inspect(|modules| boot(modules, &crate::boot::options().microcode))
}

/// As `load_at_boot`, with these modules and options.
pub(super) fn boot(modules: &[&[u8]], options: &Microcode) -> bool {
    let image = take(modules, options);
    let changed = image.is_some();
    EARLY.set(image);
    changed
}

/// Finds an update and loads it into this CPU. Returns it if the CPU has taken it. One line in the
/// log says what has happened.
fn take(modules: &[&[u8]], options: &Microcode) -> Option<Image> {
    let maker = backend::maker();
    if let Some(maker) = maker {
        note(backend::revision(maker));
    }
    let found = match (options.source, maker) {
        (MicrocodeSource::None, _) | (MicrocodeSource::Scan, None) => None,
        (MicrocodeSource::Scan, Some(maker)) => scan(modules, maker),
        (source @ MicrocodeSource::Module(wanted), _) => {
            let number = source.module(modules.len());
            if number.is_none() {
                log::warn!("microcode: there is no boot module {wanted} for it");
            }
            number.and_then(|number| Some((number, Ok(*modules.get(number)?))))
        }
    };
    let processor = backend::identify();
    let Some((number, file)) = found else {
        if let Ok(processor) = processor {
            log::info!("microcode: revision {:#x}, no update in the boot modules", processor.revision);
        }
        return None;
    };
    let processor = match processor {
        Ok(processor) => processor,
        Err(why) => {
            log::info!("microcode: boot module {number} is not loaded: {why}");
            return None;
        }
    };
    let rule = Rule { same: options.same, late: false };
    match file.and_then(|file| newest(file, &processor, rule, || ())) {
        Ok(update) => {
            let image = Image::new(&update, rule);
            if image.is_none() {
                log::warn!("microcode: boot module {number} is not loaded: no memory is free");
            }
            image.filter(|image| load(&processor, image, number))
        }
        Err(why @ Error::NotNewer { .. }) => {
            log::info!("microcode: boot module {number} is not loaded: {why}");
            None
        }
        Err(why) => {
            log::warn!("microcode: boot module {number} is refused: {why}");
            None
        }
    }
}

/// The first boot module behind the initial domain's kernel that has an early archive with a file
/// of this maker: its number, and the file.
fn scan<'a>(modules: &[&'a [u8]], maker: Maker) -> Option<(usize, Result<&'a [u8], Error>)> {
    let files = modules.iter().map(|module| early_cpio::find(module, maker.path()));
    files.enumerate().skip(1).find_map(|(number, file)| Some((number, file.transpose()?)))
}

fn load(processor: &Processor, image: &Image, number: usize) -> bool {
    let (before, after, date) = (processor.revision, image.revision(), image.date());
    match load_here(processor, image) {
        Ok(()) => log::info!("microcode: revision {after:#x} of {date} from boot module {number}, after {before:#x}"),
        Err(why) => {
            log::error!("microcode: the processor refuses revision {after:#x} from boot module {number}: {why}");
            return false;
        }
    }
    true
}

/// Loads the boot CPU's update into this CPU, which is about to start. [`report`] shows a failure.
pub(crate) fn load_at_start() {
    if let (Ok(processor), Some(image)) = (backend::identify(), EARLY.try_get().and_then(Option::as_ref)) {
        // The revision is recorded in any case.
        let _ = load_here(&processor, image);
    } else if let Some(maker) = backend::maker() {
        note(backend::revision(maker));
    }
}

/// Logs each CPU whose revision differs from this CPU's.
pub(crate) fn report() {
    let wanted = revision(per_cpu::current());
    for cpu in per_cpu::all_online().filter(|&cpu| revision(cpu) != wanted) {
        let (number, found) = (cpu.number(), revision(cpu));
        log::error!("microcode: CPU {number} has revision {found:#x} instead of {wanted:#x}");
    }
}
