//! The rows with a disk and a network, and the server at the other end of the latter.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::meter::Meter;
use crate::system::{self, Mapping, PAGE};

/// The disk that the control domain gives; nothing on it is of value.
const DISK: &str = "/dev/xvda";
/// Bytes of it that are used.
const DISK_SIZE: usize = 32 << 20;
const MIB: usize = 1 << 20;
/// Where the server is.
const SERVER: &str = "10.0.0.1:5001";
/// How often the other end is looked for, ten times a second.
const TRIES: u32 = 600;
/// The first byte of a connection: each byte that comes is sent back.
const ECHO: u8 = b'e';
/// The first byte of a connection: each MiB that comes is answered with a byte.
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

/// The disk, past the kernel's cache.
fn disk() -> File {
    soon(DISK, || Path::new(DISK).exists().then_some(()));
    system::open_direct(DISK)
}

/// Pages here and there, read and written in turn.
pub(crate) fn block_random(meter: &mut Meter<'_>) {
    let disk = disk();
    let page = Mapping::anonymous(1);
    page.touch();
    let (mut number, mut write) = (1u32, false);
    meter.each(|| {
        // The constants are those of the C standard's example.
        number = number.wrapping_mul(1_103_515_245).wrapping_add(12345);
        let offset = (number >> 8) as usize % (DISK_SIZE / PAGE) * PAGE;
        system::transfer(&disk, &page, offset, write);
        write = !write;
    });
}

/// A MiB after the other, read.
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

/// A byte there and back.
pub(crate) fn round_trip(meter: &mut Meter<'_>) {
    let mut connection = connection(ECHO);
    let mut turn = || {
        let mut byte = [1];
        connection.write_all(&byte).and_then(|()| connection.read_exact(&mut byte)).expect("an answer");
    };
    turn();
    meter.each(turn);
}

/// A MiB to the server, until it has all of it.
pub(crate) fn stream(meter: &mut Meter<'_>) {
    let mut connection = connection(STREAM);
    let block = vec![1; MIB];
    let mut turn = || {
        connection.write_all(&block).and_then(|()| connection.read_exact(&mut [0])).expect("an answer");
    };
    turn();
    meter.each(turn);
}

/// Serves until it is ended.
pub(crate) fn serve() {
    let listener = TcpListener::bind(SERVER).expect("the address is this machine's");
    for connection in listener.incoming().flatten() {
        // A client that goes away is no trouble.
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
