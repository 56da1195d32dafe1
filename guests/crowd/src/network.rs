//! A front end for the first network interface (`io/netif.h`), which only sends.

use kernel::memory::{peek, poke};

use crate::front_end::FrontEnd;
use crate::ring::{Ring, granted_page};
use crate::store::Store;
use crate::wait;

const SEND_RING: u32 = 10;
const RECEIVE_RING: u32 = 11;
const DATA: u32 = 12;
const SEND_SIZE: u64 = 12;
const RECEIVE_SIZE: u64 = 8;
const ID: u16 = 7;
/// The shortest Ethernet frame.
const FRAME: u16 = 60;

pub(crate) struct Network {
    ring: Ring,
    port: u32,
}

impl Network {
    pub(crate) fn connect(store: &mut Store) -> Self {
        let mut front_end = FrontEnd::open(store, "device/vif/0");
        let address = front_end.read("mac").expect("an address");
        let (ring, port) = (Ring::new(SEND_RING, SEND_SIZE), wait::new_port());
        // Nothing is received, so this ring stays empty.
        let _ = Ring::new(RECEIVE_RING, RECEIVE_SIZE);
        let frame = granted_page(DATA);
        // An LLDP frame, which the bridge does not forward to the other guests.
        poke(frame, [0x01u8, 0x80, 0xc2, 0, 0, 0x0e]);
        for (at, byte) in (frame + 6..).zip(address.as_str().split(':')) {
            poke(at, u8::from_str_radix(byte, 16).expect("an address"));
        }
        poke(frame + 12, [0x88u8, 0xcc]);
        front_end.write("tx-ring-ref", &SEND_RING);
        front_end.write("rx-ring-ref", &RECEIVE_RING);
        front_end.write("event-channel", &port);
        front_end.write("request-rx-copy", &"1");
        front_end.write("feature-no-csum-offload", &"1");
        front_end.write("state", &"4");
        front_end.wait_until_connected();
        Self { ring, port }
    }

    pub(crate) fn send(&mut self) {
        let fill = |entry| {
            poke(entry, DATA);
            poke(entry + 4, 0u16);
            poke(entry + 6, 0u16);
            poke(entry + 8, ID);
            poke(entry + 10, FRAME);
        };
        let read = |entry| (peek::<u16>(entry), peek::<i16>(entry + 2));
        assert_eq!(self.ring.ask(self.port, "the network's response", fill, read), (ID, 0), "a packet is sent");
    }
}
