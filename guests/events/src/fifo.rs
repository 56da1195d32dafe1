//! The FIFO ABI.

use kernel::abi::event_channel::{ExpandArray, FifoControlBlock, InitControl, SetPriority, fifo, op};
use kernel::call::error;
use kernel::memory::{initial_domain, mfn_of, page, peek, poke, vcpu_info, zeroed};
use kernel::{check, check_eq};

use crate::{close, event_op, ipi, new_ipi, nudge, send, unmask, upcalls};

const PENDING: u32 = 1 << fifo::PENDING;
const MASKED: u32 = 1 << fifo::MASKED;
const LINKED: u32 = 1 << fifo::LINKED;

struct Fifo {
    control: u64,
    words: [u64; 8],
}

impl Fifo {
    fn word(&self, port: u32) -> u32 {
        peek(self.at(port))
    }

    fn at(&self, port: u32) -> u64 {
        self.words[(port / 1024) as usize] + u64::from(port % 1024) * 4
    }

    fn set(&self, port: u32, value: u32) {
        poke(self.at(port), value);
    }

    fn control(&self) -> FifoControlBlock {
        peek(self.control)
    }

    /// Takes the next event of a queue, as a kernel does.
    fn take(&self, priority: u32, head: &mut u32) -> u32 {
        let mut control = self.control();
        if *head == 0 {
            control.ready &= !(1 << priority);
            poke(self.control, control.ready);
            *head = control.heads[priority as usize];
        }
        let port = *head;
        let word = self.word(port);
        *head = word & fifo::LINK_MASK;
        self.set(port, word & !(PENDING | LINKED | fifo::LINK_MASK));
        port
    }
}

pub(crate) fn all() {
    let early = ipi();
    let fifo = start();
    // The ports of the console and the store stay in use, masked.
    for port in 1..early {
        fifo.set(port, MASKED);
    }
    check_eq!(fifo.word(early) & PENDING, 0, "a port bound before init_control");
    one(&fifo, early);
    priorities(&fifo);
    beyond(&fifo);
    wrong();
    back(&fifo);
}

fn start() -> Fifo {
    let control = page();
    let mut words = [0; 8];
    let mut expand = ExpandArray { array_gfn: mfn_of(page()) };
    check!(event_op(op::EXPAND_ARRAY, &mut expand) < 0, "expand_array before init_control");
    let init = |gfn: u64, offset: u32, vcpu: u32| {
        let mut init = InitControl { control_gfn: gfn, offset, vcpu, ..zeroed() };
        (event_op(op::INIT_CONTROL, &mut init), init.link_bits)
    };
    check_eq!(init(mfn_of(control), 4096 - 8, 0).0, error::EINVAL, "a control block across a page's end");
    check_eq!(init(mfn_of(control), 4, 0).0, error::EINVAL, "a control block that is not aligned");
    check_eq!(init(0xff_ffff_ffff, 0, 0).0, error::EINVAL, "a control block in a nonexistent frame");
    check_eq!(init(mfn_of(control), 0, 77).0, error::ENOENT, "a control block for vCPU 77");
    check_eq!(init(mfn_of(control), 64, 0), (0, fifo::LINK_BITS as u8), "init_control");
    check_eq!(init(mfn_of(page()), 0, 0).0, error::EINVAL, "init_control twice");
    for word in &mut words {
        *word = page();
    }
    check_eq!(
        event_op(op::EXPAND_ARRAY, &mut ExpandArray { array_gfn: 0xff_ffff_ffff }),
        error::EINVAL,
        "an array in a nonexistent frame"
    );
    for word in words {
        check_eq!(event_op(op::EXPAND_ARRAY, &mut ExpandArray { array_gfn: mfn_of(word) }), 0, "expand_array");
    }
    // The hypervisor writes both pages. The guest keeps them writable, but cannot make them page
    // tables.
    kernel::tables::protect(words[0]);
    let result = kernel::tables::extended(kernel::tables::mmuext::PIN_L1_TABLE, mfn_of(words[0]), 0);
    check_eq!(result, error::EINVAL, "the event array as a page table");
    kernel::tables::unprotect(words[0]);
    Fifo { control: control + 64, words }
}

fn one(fifo: &Fifo, port: u32) {
    let info = vcpu_info(0);
    info.set_pending(0);
    fifo.set(port, MASKED);
    send(port);
    check_eq!(fifo.word(port), MASKED | PENDING, "a masked port becomes pending, not linked");
    check_eq!((fifo.control().ready, info.pending()), (0, 0), "no queue is ready");
    unmask(port);
    check_eq!(fifo.word(port), PENDING | LINKED, "unmask links it");
    let queue = fifo::PRIORITY_DEFAULT;
    check_eq!(fifo.control().ready, 1 << queue, "its queue is ready");
    check_eq!(fifo.control().heads[queue as usize], port, "it is the queue's head");
    check_eq!(info.pending(), 1, "the vCPU is notified");
    info.set_mask(0);
    nudge();
    info.set_mask(1);
    check_eq!(upcalls(), 1, "an upcall");
    let mut head = 0;
    check_eq!(fifo.take(queue, &mut head), port, "take it");
    check_eq!(head, 0, "it was the only one");
    // Again, unmasked from the start.
    send(port);
    check_eq!(fifo.word(port), PENDING | LINKED, "an unmasked port is linked immediately");
    check_eq!(fifo.control().ready, 1 << queue, "its queue is ready");
    send(port);
    check_eq!(fifo.word(port), PENDING | LINKED, "a second send changes nothing");
    fifo.take(queue, &mut head);
    info.set_pending(0);
    // Pending but removed from the queue: the next send does not link it.
    close(port);
}

fn priorities(fifo: &Fifo) {
    let info = vcpu_info(0);
    let ports: [u32; 6] = core::array::from_fn(|_| ipi());
    for port in ports {
        fifo.set(port, 0);
    }
    let set = |port: u32, priority: u32| event_op(op::SET_PRIORITY, &mut SetPriority { port, priority });
    check_eq!(set(ports[3], 0), 0, "the highest priority");
    check_eq!(set(ports[4], 15), 0, "the lowest priority");
    check_eq!(set(ports[5], 16), error::EINVAL, "an invalid priority");
    check_eq!(set(100_000, 1), error::EINVAL, "priority of a nonexistent port");
    for port in [ports[2], ports[4], ports[0], ports[3], ports[1]] {
        send(port);
    }
    check_eq!(fifo.control().ready, 1 | 1 << 7 | 1 << 15, "three queues are ready");
    let mut head = 0;
    check_eq!(fifo.take(0, &mut head), ports[3], "the highest queue");
    check_eq!(head, 0, "it has one event");
    for due in [ports[2], ports[0], ports[1]] {
        check_eq!(fifo.take(7, &mut head), due, "the middle queue is in the order of sending");
    }
    check_eq!(head, 0, "and then it is empty");
    check_eq!(fifo.take(15, &mut head), ports[4], "the lowest queue");
    check_eq!(fifo.control().ready, 0, "no queue is ready");
    // A new priority takes effect the next time the port is linked.
    check_eq!(set(ports[0], 3), 0, "a new priority");
    send(ports[0]);
    check_eq!(fifo.control().ready, 1 << 3, "it is in the new queue");
    check_eq!(fifo.take(3, &mut head), ports[0], "take it");
    info.set_pending(0);
    for port in ports {
        close(port);
    }
    check_eq!(upcalls(), 0, "no upcall while masked");
}

/// Uses more ports than the 2-level ABI has.
fn beyond(fifo: &Fifo) {
    let mut highest = 0;
    let mut lowest = u32::MAX;
    let mut error = 0;
    for _ in 0..6000 {
        match new_ipi() {
            Ok(port) => {
                highest = highest.max(port);
                lowest = lowest.min(port);
            }
            Err(result) => {
                error = result;
                break;
            }
        }
    }
    check!(highest > 5000 || !initial_domain() && error == error::ENOSPC, "ports up to {highest}, then {error}");
    if highest < 8192 {
        fifo.set(highest, 0);
        send(highest);
        check_eq!(fifo.word(highest), PENDING | LINKED, "the highest port works");
        let mut head = 0;
        check_eq!(fifo.take(fifo::PRIORITY_DEFAULT, &mut head), highest, "take it");
        vcpu_info(0).set_pending(0);
    }
    for port in lowest..=highest {
        let _ = event_op(op::CLOSE, &mut { port });
    }
}

fn wrong() {
    // At most twelve of 128 possible pages are in use; the other pages are not tested here.
    let mut results = [0i64; 2];
    for result in &mut results {
        *result = event_op(op::EXPAND_ARRAY, &mut ExpandArray { array_gfn: mfn_of(kernel::tables::root()) });
    }
    check!(results.iter().all(|&result| result == error::EINVAL), "a page table as event array: {results:?}");
}

/// A reset restores the 2-level ABI. It closes the console's port, so only the initial domain can
/// test it.
fn back(fifo: &Fifo) {
    if !initial_domain() {
        return;
    }
    let port = ipi();
    check_eq!(event_op(op::RESET, &mut { kernel::abi::xen::domid::SELF }), 0, "reset");
    check_eq!(event_op(op::CLOSE, &mut { port }), error::EINVAL, "the port is closed");
    fifo.set(port, 0);
    let port = ipi();
    crate::two_level::mask(port, false);
    crate::two_level::rest();
    send(port);
    check!(crate::two_level::pending(port), "the 2-level ABI is in use again");
    check_eq!(fifo.word(port) & PENDING, 0, "the event word is unchanged");
    // The pages are free again.
    kernel::tables::protect(fifo.words[0]);
    let mfn = mfn_of(fifo.words[0]);
    poke(fifo.control, 0u32);
    check_eq!(
        kernel::tables::extended(kernel::tables::mmuext::PIN_L1_TABLE, mfn, 0) <= 0,
        true,
        "pin the former array"
    );
    let _ = kernel::tables::extended(kernel::tables::mmuext::UNPIN_TABLE, mfn, 0);
}
