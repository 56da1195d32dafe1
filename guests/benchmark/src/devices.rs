//! The rows that use a disk and a network, and the server at the other end of the network.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::meter::Meter;
use crate::system::{self, Mapping, PAGE};

/// The disk provided by the control domain; its contents are overwritten.
const DISK: &str = "/dev/xvda";
/// Number of bytes of it that are used.
const DISK_SIZE: usize = 32 << 20;
const MIB: usize = 1 << 20;
/// Address of the server.
const SERVER: &str = "10.0.0.1:5001";
/// Number of attempts to find the disk or the server, ten per second.
const TRIES: u32 = 600;
/// The first byte of a connection on which each received byte is sent back.
const ECHO: u8 = b'e';
/// The first byte of a connection on which each received MiB is answered with a byte.
const STREAM: u8 = b's';

fn soon<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    for _ in 0..TRIES {
        if let Some(value) = get() {
            return value;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{what} does not appear");
}

/// The disk, bypassing the kernel's page cache.
fn disk() -> File {
    soon(DISK, || Path::new(DISK).exists().then_some(()));
    system::open_direct(DISK)
}

/// Reads and writes pages at random places, in turn.
pub(crate) fn block_random(meter: &mut Meter<'_>) {
    let disk = disk();
    let page = Mapping::anonymous(1);
    page.touch();
    let (mut number, mut write) = (1u32, false);
    meter.each(|| {
        // The constants of the C standard's example.
        number = number.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let offset = (number >> 8) as usize % (DISK_SIZE / PAGE) * PAGE;
        system::transfer(&disk, &page, offset, write);
        write = !write;
    });
}

/// Reads one MiB after another.
pub(crate) fn block_sequential(meter: &mut Meter<'_>) {
    let disk = disk();
    let memory = Mapping::anonymous(MIB / PAGE);
    memory.touch();
    let mut offset = 0;
    meter.each(|| {
        system::transfer(&disk, &memory, offset, false);
        offset += MIB;
    });
}

fn connection(kind: u8) -> TcpStream {
    let mut connection = soon(SERVER, || TcpStream::connect(SERVER).ok());
    connection.set_nodelay(true).expect("a connection");
    connection.write_all(&[kind]).expect("a connection");
    connection
}

/// Sends a byte and waits for the reply.
pub(crate) fn round_trip(meter: &mut Meter<'_>) {
    let mut connection = connection(ECHO);
    let mut turn = || {
        let mut byte = [1];
        connection.write_all(&byte).and_then(|()| connection.read_exact(&mut byte)).expect("an answer");
    };
    turn();
    meter.each(turn);
}

/// Sends a MiB to the server and waits until it has received all of it.
pub(crate) fn stream(meter: &mut Meter<'_>) {
    let mut connection = connection(STREAM);
    let block = vec![1; MIB];
    let mut turn = || {
        connection.write_all(&block).and_then(|()| connection.read_exact(&mut [0])).expect("an answer");
    };
    turn();
    meter.each(turn);
}

/// Serves connections until it is killed.
pub(crate) fn serve() {
    let listener = TcpListener::bind(SERVER).expect("the address is this machine's");
    for connection in listener.incoming().flatten() {
        // A client that disconnects is ignored.
        thread::spawn(move || answer(connection).ok());
    }
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut kind = [0];
    connection.read_exact(&mut kind)?;
    let mut block = vec![0; if kind == [STREAM] { MIB } else { 1 }];
    loop {
        connection.read_exact(&mut block)?;
        connection.write_all(&block[..1])?;
    }
}
