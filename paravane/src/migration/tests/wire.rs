//! A link between two simulated processes that can be cut after any message, and that a process
//! which has ended sends nothing through.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::link::Link;

use super::world::Process;

/// Far more than a test takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Messages that may still pass, in both directions together.
type Budget = Arc<Mutex<Option<u32>>>;

/// Two ends of a link between these processes, which is cut after `messages`.
pub(super) fn link(a: &Process, b: &Process, messages: Option<u32>) -> (Link, Link) {
    let budget = Arc::new(Mutex::new(messages));
    let (a_end, a_wire) = UnixStream::pair().expect("a pair of sockets");
    let (b_end, b_wire) = UnixStream::pair().expect("a pair of sockets");
    for (from, to, sender) in [(&a_wire, &b_wire, a), (&b_wire, &a_wire, b)] {
        let from = from.try_clone().expect("a descriptor");
        let to = to.try_clone().expect("a descriptor");
        let (sender, budget) = (sender.clone(), budget.clone());
        thread::spawn(move || carry(from, to, &sender, &budget));
    }
    (end(a_end), end(b_end))
}

/// Closes its connection when it is dropped, as the end of a process does.
struct Connected(UnixStream);

impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

fn end(socket: UnixStream) -> Link {
    let descriptor = || socket.try_clone().expect("a descriptor");
    let (input, output) = (descriptor(), descriptor());
    Link::new(input.into(), output.into(), PATIENCE, Connected(socket)).expect("a link")
}

/// Carries frames until the wire is cut.
fn carry(mut from: UnixStream, mut to: UnixStream, sender: &Process, budget: &Budget) {
    while let Some(frame) = frame(&mut from) {
        if sender.has_ended() || !may_pass(&frame, budget) || to.write_all(&frame).is_err() {
            break;
        }
    }
    for end in [&from, &to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Signs of life pass freely, since their number depends on time.
fn may_pass(frame: &[u8], budget: &Budget) -> bool {
    let mut budget = budget.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *budget {
        _ if frame.ends_with(b"\"alive\"") => true,
        None => true,
        Some(0) => false,
        Some(messages) => {
            *messages -= 1;
            true
        }
    }
}

/// The bytes of the next frame.
fn frame(from: &mut UnixStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 5];
    from.read_exact(&mut frame).ok()?;
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(5 + length, 0);
    from.read_exact(&mut frame[5..]).ok()?;
    Some(frame)
}
