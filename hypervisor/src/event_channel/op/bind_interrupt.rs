//! `bind_virq`, `bind_ipi` and `bind_pirq`: ports that are not bound to another domain.

use abi::errno::Errno;
use abi::event_channel::{BindIpi, BindPirq, BindVirq};
use abi::xen::virq;
use machine::addr::GuestVirt;

use super::hand_out;
use crate::call::{CallResult, Caller};
use crate::domain::VcpuId;
use crate::event_channel::ports::{State, is_global};
use crate::event_channel::{allocate, close as close_port};
use crate::hardware::{self, interrupts};

/// Number of pirqs of a domain without devices: the legacy lines and the extra ones that Xen
/// provides.
const PIRQS: u32 = 16 + 32;

pub(super) fn bind_virq(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut arguments: BindVirq = caller.cpu.read(argument)?;
    let (number, vcpu) = (arguments.virq, VcpuId::new(arguments.vcpu));
    if number >= virq::COUNT || (is_global(number) && vcpu != VcpuId::BOOT) {
        return Err(Errno::EINVAL.into());
    }
    let domain = caller.domain;
    domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let bound = domain.events.lock().virq_port(vcpu, number);
    if bound.is_some() {
        return Err(Errno::EEXIST.into());
    }
    let port = allocate(domain, State::Virq(number), vcpu)?;
    arguments.port = port.get();
    hand_out(caller, argument, &arguments, port)
}

pub(super) fn bind_ipi(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut arguments: BindIpi = caller.cpu.read(argument)?;
    let domain = caller.domain;
    let vcpu = VcpuId::new(arguments.vcpu);
    domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let port = allocate(domain, State::Ipi, vcpu)?;
    arguments.port = port.get();
    hand_out(caller, argument, &arguments, port)
}

/// Binds a physical interrupt. Only the hardware domain has any.
pub(super) fn bind_pirq(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut arguments: BindPirq = caller.cpu.read(argument)?;
    let domain = caller.domain;
    let hardware = hardware::of(domain);
    if arguments.pirq >= hardware.map_or(PIRQS, interrupts::count) {
        return Err(Errno::EINVAL.into());
    }
    let hardware = hardware.ok_or(Errno::EPERM)?;
    let port = allocate(domain, State::Pirq(arguments.pirq), VcpuId::BOOT)?;
    if let Err(errno) = interrupts::bind(hardware, domain, arguments.pirq, port, VcpuId::BOOT) {
        close_port(domain, port)?;
        return Err(errno.into());
    }
    arguments.port = port.get();
    hand_out(caller, argument, &arguments, port)
}
