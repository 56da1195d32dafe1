//! The rings of the console and the store with impossible indices.

use kernel::call::number;
use kernel::memory::{address_of, peek, poke, start_info};
use kernel::{call, console, say};

use crate::random::Random;

/// Offsets of the indices of the console's output.
const CONSUMER: u64 = 3080;
const PRODUCER: u64 = 3084;

pub(crate) fn all(random: &mut Random) {
    console::flush();
    let info = start_info();
    for (mfn, port, indices) in [
        (info.console_mfn, info.console_event_channel, [3072u64, 3076, CONSUMER, PRODUCER]),
        (info.store_mfn, info.store_event_channel, [2048, 2052, 2056, 2060]),
    ] {
        let ring = address_of(mfn);
        let before: [u32; 4] = indices.map(|index| peek(ring + index));
        for _ in 0..300 {
            let index = indices[random.below(4) as usize];
            poke(ring + index, random.nasty() as u32);
            if mfn == info.store_mfn {
                poke(ring + random.below(2048), random.next());
            }
            let _ = call!(number::EVENT_CHANNEL_OP, 4u32, &port);
            if random.below(8) == 0 {
                kernel::call::yield_now();
            }
        }
        for (index, value) in indices.into_iter().zip(before) {
            poke(ring + index, value);
        }
    }
    empty_ring(address_of(info.console_mfn));
    say!("");
    say!("rings: done");
}

/// Empties the console's ring. The other side may have set its own index to any value, and may
/// still be moving it while the serial line has room for the supposed output. So this repeats until
/// the index is stable.
fn empty_ring(ring: u64) {
    let mut rested = 0;
    let mut consumer = peek::<u32>(ring + CONSUMER);
    while rested < 100 {
        poke(ring + PRODUCER, consumer);
        kernel::call::yield_now();
        let now = peek::<u32>(ring + CONSUMER);
        rested = if now == consumer { rested + 1 } else { 0 };
        consumer = now;
    }
}
