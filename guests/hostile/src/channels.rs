//! The maximum number of event channels, in both ABIs.

use kernel::abi::event_channel::{AllocUnbound, BindInterdomain, BindIpi, BindVirq, ExpandArray, InitControl, op};
use kernel::abi::xen::{DomainId, virq};
use kernel::call::number;
use kernel::memory::{mfn_of, page, shared_info, vcpu_info, zeroed};
use kernel::{call, say};

use crate::random::Random;

fn event_op<T>(op: u32, argument: &mut T) -> i64 {
    call!(number::EVENT_CHANNEL_OP, op, argument)
}

/// The timer's port, unmasked.
pub(crate) fn timer() -> u32 {
    let mut bind = BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 };
    assert_eq!(event_op(op::BIND_VIRQ, &mut bind), 0, "bind the timer");
    assert_eq!(event_op(op::UNMASK, &mut { bind.port }), 0, "unmask the timer");
    clear(bind.port);
    bind.port
}

/// Clears the pending state of the port and the vCPU.
pub(crate) fn clear(port: u32) {
    kernel::memory::poke(shared_info() + 2048 + u64::from(port / 64) * 8, 0u64);
    vcpu_info(0).set_selector(0);
    vcpu_info(0).set_pending(0);
}

pub(crate) fn close(port: u32) {
    let _ = event_op(op::CLOSE, &mut { port });
}

fn flood(random: &mut Random) -> (u32, u32) {
    let own = kernel::memory::start_info().console_event_channel.max(kernel::memory::start_info().store_event_channel);
    let mut most = 0;
    let mut made = 0;
    for round in 0..40_000u32 {
        let port = random.below(5000) as u32 + own + 1;
        let result = match random.below(8) {
            0..=2 => {
                let mut ipi = BindIpi { vcpu: random.below(2) as u32, port: 0 };
                let result = event_op(op::BIND_IPI, &mut ipi);
                most = most.max(ipi.port);
                result
            }
            3 => {
                let mut unbound =
                    AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId(random.nasty() as u16), port: 0 };
                event_op(op::ALLOC_UNBOUND, &mut unbound)
            }
            4 => {
                let mut bind = BindInterdomain { remote_domain: DomainId::SELF, remote_port: port, ..zeroed() };
                event_op(op::BIND_INTERDOMAIN, &mut bind)
            }
            5 => event_op(op::SEND, &mut { port }),
            6 => event_op(op::UNMASK, &mut { port }),
            _ if round < 30_000 && random.below(8) != 0 => 1,
            _ => event_op(op::CLOSE, &mut { port }),
        };
        made += u32::from(result == 0);
        vcpu_info(0).set_pending(0);
    }
    for port in own + 1..most + 2000 {
        close(port);
    }
    (made, most)
}

pub(crate) fn all(random: &mut Random) {
    let (made, most) = flood(random);
    say!("event channels: {made} calls done, highest port {most}");
    let mut init = InitControl { control_gfn: mfn_of(page()), offset: 0, vcpu: 0, ..zeroed() };
    let result = event_op(op::INIT_CONTROL, &mut init);
    let words: [u64; 6] = core::array::from_fn(|_| page());
    for word in words {
        let _ = event_op(op::EXPAND_ARRAY, &mut ExpandArray { array_gfn: mfn_of(word) });
    }
    // Event words with impossible links and flags while the hypervisor uses them.
    for word in words {
        for at in 0..1024 {
            kernel::memory::poke(word + at * 4, random.next() as u32);
        }
    }
    let (made, most) = flood(random);
    say!("event channels, FIFO ({result}): {made} calls done, highest port {most}");
}
