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

    /// Fills a page with what calls take: small numbers, addresses, frames.
    fn fill(&self, random: &mut Random) {
        let page = self.pages[random.below(PAGES as u64) as usize];
        let at = random.below(480) * 8;
        for word in 0..16 {
            let value = match random.below(3) {
                0 => self.argument(random),
                1 => random.below(16) | random.below(16) << 32,
                _ => random.nasty(),
            };
            // Some call may have taken the page away.
            let _ = attempt!("mov [{at}], {value}"; at = in(reg) page + at + word * 8, value = in(reg) value);
        }
    }

    /// Calls that end the guest by right, put it to sleep for good, take its traps or its mouth away are left out.
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
            // Resetting and closing: the console's port. Binding to it is harmless.
            number::EVENT_CHANNEL_OP => !matches!(first, 3 | 10),
            number::EVENT_CHANNEL_OP_COMPAT | number::MULTICALL => false,
            number::NMI_OP => false,
            number::CONSOLE_IO => false,
            // The kernel's own mappings.
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
        // And half of the counts are small.
        if random.below(2) == 0 {
            arguments[1 + random.below(2) as usize] = random.below(8);
        }
        // The answers to a long list would run over what lies behind it: our own stack and console, in the end.
        if op == number::GRANT_TABLE_OP {
            arguments[2] &= SHORT_LIST;
        }
        if !calls.allowed(op, &arguments) {
            continue;
        }
        // New page tables' roots by accident are the one way to lose the ground: never of our own making.
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
        // Whatever the calls did to the timer, the FPU and the debug registers.
        let _ = raw(number::SET_DEBUGREG, [7, 0x400, 0, 0, 0]);
    }
}
