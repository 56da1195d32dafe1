//! The console ring with indices that cannot be, and the store's.

use kernel::call::number;
use kernel::memory::{address_of, peek, poke, start_info};
use kernel::{call, console, say};

use crate::random::Random;

pub(crate) fn all(random: &mut Random) {
    console::flush();
    let info = start_info();
    for (mfn, port, indices) in [
        (info.console_mfn, info.console_event_channel, [3072u64, 3076, 3080, 3084]),
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
    say!("");
    // The other side may have put its own index somewhere: begin anew from there.
    let ring = address_of(info.console_mfn);
    poke(ring + 3084, peek::<u32>(ring + 3080));
    say!("rings: done");
}
