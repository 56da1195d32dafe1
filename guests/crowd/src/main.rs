//! One of a crowd of guests, each with a disk and a network; see README.md.
#![no_std]
#![no_main]

mod disk;
mod front_end;
mod network;
mod ring;
mod store;
mod wait;

use kernel::{grants, say};

kernel::guest!(main);

/// Nanoseconds between two rounds of work.
const PAUSE: u64 = 30_000_000_000;

fn main() {
    grants::start();
    let mut store = store::Store::open();
    let mut disk = disk::Disk::connect(&mut store);
    let mut network = network::Network::connect(&mut store);
    for round in 0u64.. {
        disk.read_sector(round % 8);
        network.send();
        if round == 0 {
            say!("crowd: disk and network work");
        }
        wait::pause(PAUSE);
    }
}
