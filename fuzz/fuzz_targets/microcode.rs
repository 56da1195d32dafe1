//! The bytes are a file of microcode, or an early archive with one. The first byte selects the
//! maker and the rule, and whether the checksums of Intel's updates are set first. The processor is
//! the one that the file names first.
#![no_main]

use microcode::samples::set_sum;
use microcode::{Maker, Processor, Rule, early_cpio, newest};

/// Place of the first processor's signature in the files of both makers.
const SIGNATURE: usize = 12;
/// Size of the header of Intel's updates, and places of the sizes in it.
const HEADER: usize = 48;
const DATA_SIZE: usize = 28;
const TOTAL_SIZE: usize = 32;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, file)) = bytes.split_first() else { return };
    let maker = if choice & 1 == 0 { Maker::Intel } else { Maker::Amd };
    let mut file = file.to_vec();
    if choice & 2 != 0 {
        match early_cpio::find(&file, maker.path()) {
            Ok(Some(found)) => file = found.to_vec(),
            _ => return,
        }
    }
    if choice & 4 != 0 && maker == Maker::Intel {
        set_sums(&mut file);
    }
    let signature = number(&file, SIGNATURE).unwrap_or(0);
    let processor = Processor { maker, signature, platform: 1 << (choice >> 5), revision: 1 };
    let rule = Rule { same: choice & 8 != 0, late: choice & 16 != 0 };
    let mut updates = 0;
    if let Ok(update) = newest(&file, &processor, rule, || updates += 1) {
        assert!(updates > 0 && file.as_ptr_range().contains(&update.image.as_ptr()));
        assert!(update.revision == 1 && rule.same || processor.is_newer(update.revision, 1));
    }
});

fn number(file: &[u8], at: usize) -> Option<u32> {
    file.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// Sets the checksums of all updates and their tables, as far as their sizes fit.
fn set_sums(mut file: &mut [u8]) {
    loop {
        let sizes = number(file, DATA_SIZE).zip(number(file, TOTAL_SIZE));
        let Some((data, total)) = sizes.map(|(data, total)| (data as usize, total as usize)) else { return };
        if data % 4 != 0 || total == 0 || total > file.len() || data.saturating_add(HEADER) > total {
            return;
        }
        let (update, behind) = file.split_at_mut(total);
        let (main, table) = update.split_at_mut(HEADER + data);
        set_sum(main, 16);
        if table.len() % 4 == 0 && table.len() >= 8 {
            set_sum(table, 4);
        }
        file = behind;
    }
}
