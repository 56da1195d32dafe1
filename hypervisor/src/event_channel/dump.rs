//! The debug key that shows a domain's ports.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::ports::{BUCKET, State};
use machine::integers::saturating_u32;

use crate::domain::{Domain, Port};

/// A line for each of the first `max` ports in use with its binding and pending state, and the
/// number of ports left out. The lock is taken separately for each port and each bucket.
pub(crate) fn describe(domain: &Domain, max: usize) -> (Vec<String>, usize) {
    let used = domain.events.lock().used() as usize;
    let buckets = (0..).map_while(|bucket| Some((bucket, domain.events.lock().used_in(bucket)?)));
    let ports = buckets.flat_map(|(bucket, used)| {
        let first = saturating_u32(bucket).saturating_mul(BUCKET);
        (0..BUCKET).filter(move |bit| used >> bit & 1 != 0).map(move |bit| Port::new(first + bit))
    });
    let lines: Vec<_> = ports.filter_map(|port| line(domain, port)).take(max).collect();
    let left_out = used.saturating_sub(lines.len());
    (lines, left_out)
}

/// Describes a port in use.
fn line(domain: &Domain, port: Port) -> Option<String> {
    let table = domain.events.lock();
    let channel = table.channel(port).ok()?;
    let use_ = match &channel.state {
        State::Unbound(remote) => format!("open to d{}", remote.0),
        State::Interdomain(peer) => format!("bound to d{} port {}", peer.id.0, peer.port.get()),
        State::Paravane(consumer) => format!("bound to Paravane, {}", consumer.name),
        State::Virq(number) => format!("virtual interrupt {number}"),
        State::Pirq(number) => format!("physical interrupt {number}"),
        State::Ipi => String::from("between vCPUs"),
        State::Free | State::Reserved => return None,
    };
    let pending = if table.is_pending(domain, port) { ", pending" } else { "" };
    Some(format!("port {}: {use_}, notifies vCPU {}{pending}", port.get(), channel.vcpu.get()))
}

#[cfg(test)]
mod tests {
    use super::super::{allocate_for_paravane, notify_guest};
    use super::*;
    use crate::console;
    use crate::testing::Guest;

    #[test]
    fn ports_in_use_are_listed_with_their_bindings() {
        let guest = Guest::new(1, 2);
        assert_eq!(describe(&guest.domain, 8), (Vec::new(), 0));
        let port = allocate_for_paravane(&guest.domain, console::CONSUMER).expect("a free port");
        notify_guest(&guest.domain, port);
        let expected = format!("port {}: bound to Paravane, Console, notifies vCPU 0, pending", port.get());
        assert_eq!(describe(&guest.domain, 8), ([expected].into(), 0));
    }
}
