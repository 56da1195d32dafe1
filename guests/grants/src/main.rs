//! Grant tables; see README.md.
#![no_std]
#![no_main]

mod alone;
mod copy;
mod mapping;
mod peer;

use kernel::grants;

kernel::guest!(main);

fn main() {
    alone::all();
    grants::start();
    mapping::all();
    copy::all();
    peer::all();
}
