//! Hypercalls with random numbers and arguments.

use kernel::abi::xen::MulticallEntry;
use kernel::call::{number, raw};
use kernel::memory::{mfn_of, page, poke, start_info};
use kernel::{attempt, say};

use crate::random::Random;

const PAGES: usize = 16;
const ROUNDS: u32 = 60_000;
const SHORT_LIST: u64 = 7;

struct Calls {
    pages: [u64; PAGES],
    /// Ports that the guest still needs.
    own: [u32; 2],
}

impl Calls {
    fn argument(&self, random: &mut Random) -> u64 {
        let page = self.pages[random.below(PAGES as u64) as usize];
        match random.below(6) {
            0 | 1 => page + random.below(512) * 8,
            2 => mfn_of(page),
            3 => mfn_of(page) << 12 | random.below(0x1000),
            _ => random.nasty(),
        }
    }

    /// Fills a page with typical arguments: small numbers, addresses, frames.
    fn fill(&self, random: &mut Random) {
        let page = self.pages[random.below(PAGES as u64) as usize];
        let at = random.below(480) * 8;
        for word in 0..16 {
            let value = match random.below(3) {
                0 => self.argument(random),
                1 => random.below(16) | random.below(16) << 32,
                _ => random.nasty(),
            };
            // A call may have unmapped the page.
            let _ = attempt!("mov [{at}], {value}"; at = in(reg) page + at + word * 8, value = in(reg) value);
        }
    }

    /// Excludes calls that legitimately end the guest, block it forever, or disable its traps or
    /// console.
    fn allowed(&self, op: u32, arguments: &[u64; 5]) -> bool {
        let first = arguments[0] as u32;
        match op {
            number::IRET
            | number::SET_TRAP_TABLE
            | number::SET_CALLBACKS
            | number::CALLBACK_OP
            | number::STACK_SWITCH => false,
            number::SCHED_OP => matches!(first, 0 | 7 | 8..),
            number::SCHED_OP_COMPAT => first == 0 || first > 2,
            number::VCPU_OP => !matches!(first, 2 | 10),
            // Not reset and close, which could close the console's port. Binding to it is harmless.
            number::EVENT_CHANNEL_OP => !matches!(first, 3 | 10),
            number::EVENT_CHANNEL_OP_COMPAT | number::MULTICALL => false,
            number::NMI_OP => false,
            number::CONSOLE_IO => false,
            // Not the kernel's own mappings.
            number::UPDATE_VA_MAPPING | number::UPDATE_VA_MAPPING_OTHERDOMAIN => {
                self.pages.iter().any(|&page| arguments[0] & !0xfff == page) || arguments[0] < 0xffff_8000_0000_0000
            }
            _ => self.own[0] != u32::MAX,
        }
    }
}

pub(crate) fn all(random: &mut Random) {
    let info = start_info();
    let calls =
        Calls { pages: core::array::from_fn(|_| page()), own: [info.console_event_channel, info.store_event_channel] };
    let list = page();
    let mut done = [0u32; 2];
    for round in 0..ROUNDS {
        calls.fill(random);
        let op = if random.below(50) == 0 { random.nasty() as u32 & 127 } else { random.below(56) as u32 };
        let mut arguments = [0; 5];
        for argument in &mut arguments {
            *argument = calls.argument(random);
        }
        // Half of the first arguments are sub-operations.
        if random.below(2) == 0 {
            arguments[0] = random.below(32);
        }
        // Half of the counts are small.
        if random.below(2) == 0 {
            arguments[1 + random.below(2) as usize] = random.below(8);
        }
        // The results of a long list would overwrite memory after it, eventually the stack and the
        // console ring.
        if op == number::GRANT_TABLE_OP {
            arguments[2] &= SHORT_LIST;
        }
        if !calls.allowed(op, &arguments) {
            continue;
        }
        // A random call could remove the kernel's mappings only by loading another root, and the
        // guest has none. An eighth of the calls are made in a multicall.
        let result = if random.below(8) == 0 {
            let entry = MulticallEntry {
                operation: u64::from(op),
                result: 0,
                arguments: [arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], 0],
            };
            poke(list, entry);
            raw(number::MULTICALL, [list, 1, 0, 0, 0])
        } else {
            raw(op, arguments)
        };
        done[usize::from(result < 0)] += 1;
        if round % 10_000 == 9_999 {
            say!("hypercalls: {} done, {} refused", done[0], done[1]);
        }
        // The calls may have changed the timer, the FPU and the debug registers.
        let _ = raw(number::SET_DEBUGREG, [7, 0x400, 0, 0, 0]);
    }
}
