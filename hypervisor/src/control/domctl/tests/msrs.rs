//! MSRs of a vCPU, as saved and restored by the tools.

use super::*;

use crate::cpu_policy::msr::SPEC_CTRL;

/// Shows another domain the controls of SPEC_CTRL on Intel's processors.
fn show_controls(other: &Guest) {
    let mut policy = (*other.domain.cpu_policy()).clone();
    policy.update(7, 0, |[.., edx]| *edx |= 1 << 26);
    other.domain.set_cpu_policy(policy);
}

fn set(control: &mut Guest, list: &[VcpuMsr]) -> Result<u64, Errno> {
    let ask = VcpuMsrs { vcpu: 1, msr_count: list.len() as u32, msrs: write(control, 1, list) };
    call(control, op::SET_VCPU_MSRS, OTHER, &ask).0
}

/// The list, read with room for `room` entries.
fn get(control: &mut Guest, room: u32) -> Result<Vec<(u32, u64)>, Errno> {
    let place = control.address(2);
    let ask = VcpuMsrs { vcpu: 1, msr_count: room, msrs: place.get() };
    let (result, answer) = call(control, op::GET_VCPU_MSRS, OTHER, &ask);
    result?;
    let entry = |index| control.caller().cpu.read_element::<VcpuMsr>(place, index).expect("a mapped page");
    Ok((0..answer.msr_count.into()).map(entry).map(|entry| (entry.index, entry.value)).collect())
}

const fn entry(index: u32, value: u64) -> VcpuMsr {
    VcpuMsr { index, reserved: 0, value }
}

#[test]
fn spec_ctrl_is_saved_and_restored() {
    let (mut control, other) = two();
    show_controls(&other);
    let none = VcpuMsrs { vcpu: 1, ..VcpuMsrs::new_zeroed() };
    let (result, answer) = call(&mut control, op::GET_VCPU_MSRS, OTHER, &none);
    assert_eq!((result, answer.msr_count), (Ok(0), 1), "the length query");
    assert_eq!(get(&mut control, 1), Ok(Vec::new()), "zero is not listed");
    assert_eq!(set(&mut control, &[entry(SPEC_CTRL, 3)]), Ok(0));
    assert_eq!(get(&mut control, 1), Ok(std::vec![(SPEC_CTRL, 3)]));
    assert_eq!(get(&mut control, 0), Err(Errno::ENOBUFS));
    assert_eq!(set(&mut control, &[]), Ok(0));
    assert_eq!(set(&mut control, &[entry(SPEC_CTRL, 0); 16]), Ok(0), "the longest list");
    assert_eq!(get(&mut control, 1), Ok(Vec::new()));
}

#[test]
fn values_that_the_policy_does_not_allow_are_refused() {
    let (mut control, other) = two();
    assert_eq!(set(&mut control, &[entry(SPEC_CTRL, 0)]), Err(Errno::EINVAL), "the register does not exist");
    show_controls(&other);
    assert_eq!(set(&mut control, &[entry(SPEC_CTRL, 1)]), Ok(0));
    for wrong in [
        entry(SPEC_CTRL, 1 << 2),
        entry(SPEC_CTRL, 1 << 63),
        entry(0x49, 0),
        entry(0x10a, 0),
        VcpuMsr { reserved: 1, ..entry(SPEC_CTRL, 0) },
    ] {
        assert_eq!(set(&mut control, &[entry(SPEC_CTRL, 2), wrong]), Err(Errno::EINVAL));
    }
    assert_eq!(set(&mut control, &[entry(SPEC_CTRL, 2); 17]), Err(Errno::E2BIG));
    let nowhere = VcpuMsrs { vcpu: 1, msr_count: 1, msrs: NOWHERE };
    for (command, ask, errno) in [
        (op::SET_VCPU_MSRS, nowhere, Errno::EFAULT),
        (op::GET_VCPU_MSRS, nowhere, Errno::EFAULT),
        (op::GET_VCPU_MSRS, VcpuMsrs { vcpu: 99, ..nowhere }, Errno::ESRCH),
        (op::SET_VCPU_MSRS, VcpuMsrs { vcpu: 99, ..nowhere }, Errno::ESRCH),
    ] {
        assert_eq!(call(&mut control, command, OTHER, &ask).0, Err(errno));
    }
    assert_eq!(
        call(&mut control, op::GET_VCPU_MSRS, DomainId(0), &VcpuMsrs { vcpu: 0, ..nowhere }).0,
        Err(Errno::EINVAL)
    );
    assert_eq!(get(&mut control, 1), Ok(std::vec![(SPEC_CTRL, 1)]), "nothing has changed");
}

#[test]
fn extended_states_beyond_the_policy_are_refused() {
    let (mut control, other) = two();
    let image = std::vec![0u8; 576];
    let mut set = |xcr0: u64| {
        let mut bytes: Vec<u8> = [xcr0.to_le_bytes(), 7u64.to_le_bytes()].concat();
        bytes.extend_from_slice(&image);
        let ask = VcpuExtendedState {
            vcpu: 1,
            size: 592,
            buffer: write(&mut control, 1, &bytes),
            ..VcpuExtendedState::new_zeroed()
        };
        call(&mut control, op::SETVCPUEXTSTATE, OTHER, &ask).0
    };
    let mut policy = (*other.domain.cpu_policy()).clone();
    policy.update(0xd, 0, |[eax, _, _, edx]| (*eax, *edx) = (3, 0));
    other.domain.set_cpu_policy(policy.clone());
    assert_eq!(set(7), Err(Errno::EINVAL), "AVX is withheld");
    assert_eq!(set(3), Ok(0));
    policy.update(0xd, 0, |[eax, ..]| *eax = 0);
    other.domain.set_cpu_policy(policy);
    assert_eq!([1, 3].map(&mut set), [Ok(0), Err(Errno::EINVAL)], "x87 is always enabled");
}
