//! Software interrupts.

use super::*;
use crate::call::Caller;
use crate::testing::Guest;

#[test]
fn a_software_interrupt_without_a_handler_raises_gp() {
    let mut guest = Guest::new(1, 3);
    let stack = guest.address(1).offset(2048).get();
    for (number, length) in [(3, 1), (4, 1), (0x80, 2)] {
        let Caller { cpu, domain, vcpu, .. } = guest.caller();
        cpu.handlers_mut().traps[13] = Handler::new(0x5000, 0, false, 0);
        (cpu.registers_mut().rip, cpu.registers_mut().rsp) = (0x1000 + length, stack);
        assert_eq!(trap(cpu, domain, vcpu, number, 0, GuestVirt::new(0)), Ok(()));
        assert_eq!(cpu.registers().rip, 0x5000);
        let frame: [u64; 4] = cpu.read(GuestVirt::new(cpu.registers().rsp)).expect("a frame");
        assert_eq!((frame[2], frame[3]), (u64::from(number) << 3 | 2, 0x1000), "{number:#x}");
    }
}

#[test]
fn int_80_respects_the_privilege_of_its_handler() {
    let mut guest = Guest::new(1, 3);
    let stack = guest.address(1).offset(2048).get();
    for (privilege, entered) in [(0, 0x5000), (3, 0x6000)] {
        let Caller { cpu, domain, vcpu, .. } = guest.caller();
        cpu.handlers_mut().traps[13] = Handler::new(0x5000, 0, false, 0);
        cpu.handlers_mut().traps[0x80] = Handler::new(0x6000, 0, false, privilege);
        (cpu.registers_mut().rip, cpu.registers_mut().rsp) = (0x1002, stack);
        assert_eq!(trap(cpu, domain, vcpu, 0x80, 0, GuestVirt::new(0)), Ok(()));
        assert_eq!(cpu.registers().rip, entered);
    }
}
