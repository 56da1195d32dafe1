//! A front end for the disk `xvda` (`io/blkif.h`).

use kernel::memory::{peek, poke};

use crate::front_end::FrontEnd;
use crate::ring::{Ring, granted_page};
use crate::store::Store;
use crate::wait;

const RING: u32 = 8;
const DATA: u32 = 9;
/// Size of a request. Responses are smaller.
const ENTRY_SIZE: u64 = 112;
const READ: u8 = 0;
const ID: u64 = 0x1234;

pub(crate) struct Disk {
    ring: Ring,
    port: u32,
}

impl Disk {
    pub(crate) fn connect(store: &mut Store) -> Self {
        let mut front_end = FrontEnd::open(store, "device/vbd/51712");
        let (ring, port) = (Ring::new(RING, ENTRY_SIZE), wait::new_port());
        let _ = granted_page(DATA);
        front_end.write("ring-ref", &RING);
        front_end.write("event-channel", &port);
        front_end.write("protocol", &"x86_64-abi");
        front_end.write("state", &"3");
        front_end.wait_until_connected();
        front_end.write("state", &"4");
        Self { ring, port }
    }

    pub(crate) fn read_sector(&mut self, sector: u64) {
        let fill = |entry| {
            poke(entry, READ);
            poke(entry + 1, 1u8);
            poke(entry + 2, 51712u16);
            poke(entry + 8, ID);
            poke(entry + 16, sector);
            // One segment: its grant, first and last sector of the page.
            poke(entry + 24, DATA);
            poke(entry + 28, 0u8);
            poke(entry + 29, 0u8);
        };
        let read = |entry| (peek::<u64>(entry), peek::<i16>(entry + 10));
        assert_eq!(self.ring.ask(self.port, "the disk's response", fill, read), (ID, 0), "a sector is read");
    }
}
