//! Accesses of a guest kernel to debug registers, by hypercall or emulated instruction.

use abi::errno::Errno;
use machine::context::Active;

use crate::cpu_policy::CONTROL4_DEBUG_EXTENSIONS;

const LOW_HALF: u64 = 0xffff_ffff;
/// DR7: the enable bits of the breakpoints, and the position of the first breakpoint's type.
const BREAKPOINTS: u64 = 0xff;
const TYPE_SHIFT: u32 = 16;
const TYPE_PORT: u64 = 2;

fn has_debug_extensions(cpu: &Active) -> bool {
    cpu.context().control4() & CONTROL4_DEBUG_EXTENSIONS != 0
}

/// Resolves a register number: 4 and 5 are aliases of 6 and 7 unless CR4.DE is set.
fn index(cpu: &Active, register: u32) -> Result<usize, Errno> {
    match register {
        0..=3 | 6 | 7 => Ok(register as usize),
        4 | 5 if !has_debug_extensions(cpu) => Ok(register as usize + 2),
        _ => Err(Errno::ENODEV),
    }
}

/// Sets a debug register.
///
/// # Errors
/// `ENODEV` if there is no such register, `EINVAL` for a bit that no register has. `EPERM` for
/// breakpoints at addresses of Paravane, for the general detect trap, and for I/O breakpoints
/// without CR4.DE.
pub(crate) fn set(cpu: &mut Active, register: u32, value: u64) -> Result<(), Errno> {
    let index = index(cpu, register)?;
    if index >= 6 && value > LOW_HALF {
        return Err(Errno::EINVAL);
    }
    if index == 7 && watches_ports(value) && !has_debug_extensions(cpu) {
        return Err(Errno::EPERM);
    }
    if cpu.set_debug_register(index, value) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Reads a debug register.
///
/// # Errors
/// `ENODEV` if there is no such register.
pub(crate) fn get(cpu: &Active, register: u32) -> Result<u64, Errno> {
    Ok(cpu.debug_register(index(cpu, register)?))
}

/// Whether DR7 enables a breakpoint and has a breakpoint of the I/O type.
fn watches_ports(control: u64) -> bool {
    control & BREAKPOINTS != 0 && (0..4).any(|breakpoint| control >> (TYPE_SHIFT + 4 * breakpoint) & 3 == TYPE_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn initial_debug_registers_match_the_processors() {
        let mut guest = Guest::new(1, 2);
        let cpu = guest.caller().cpu;
        assert_eq!((get(cpu, 6), get(cpu, 7)), (Ok(0xffff_0ff0), Ok(0x400)));
    }

    #[test]
    fn breakpoints_are_limited_to_guest_addresses() {
        let mut guest = Guest::new(1, 2);
        let cpu = guest.caller().cpu;
        assert_eq!(set(cpu, 0, 0x40_0000), Ok(()));
        assert_eq!(set(cpu, 3, 0xffff_8800_0000_0000), Ok(()));
        assert_eq!(set(cpu, 7, 0x455), Ok(()));
        for (register, value) in [(1, 0xffff_8300_0000_0000), (1, 1 << 47), (7, 1 << 13)] {
            assert_eq!(set(cpu, register, value), Err(Errno::EPERM), "{register}: {value:#x}");
        }
        assert_eq!((get(cpu, 0), get(cpu, 1), get(cpu, 7)), (Ok(0x40_0000), Ok(0), Ok(0x455)));
    }

    #[test]
    fn registers_4_and_5_are_aliases_without_debug_extensions() {
        let mut guest = Guest::new(1, 2);
        let cpu = guest.caller().cpu;
        assert_eq!((set(cpu, 4, 0xffff_0ff1), set(cpu, 5, 0x404)), (Ok(()), Ok(())));
        assert_eq!((get(cpu, 6), get(cpu, 7)), (Ok(0xffff_0ff1), Ok(0x404)));
        assert_eq!((get(cpu, 4), get(cpu, 5)), (Ok(0xffff_0ff1), Ok(0x404)));
        cpu.set_control4(CONTROL4_DEBUG_EXTENSIONS);
        for register in [4, 5, 8, 9, u32::MAX] {
            assert_eq!((set(cpu, register, 0), get(cpu, register)), (Err(Errno::ENODEV), Err(Errno::ENODEV)));
        }
    }

    #[test]
    fn undefined_bits_are_refused_or_fixed() {
        let mut guest = Guest::new(1, 2);
        let cpu = guest.caller().cpu;
        for register in 4..8 {
            let before = get(cpu, register);
            assert_eq!(set(cpu, register, 1 << 32), Err(Errno::EINVAL), "{register}");
            assert_eq!(get(cpu, register), before);
        }
        assert_eq!((set(cpu, 6, 0), get(cpu, 6)), (Ok(()), Ok(0xffff_0ff0)));
        assert_eq!((set(cpu, 6, LOW_HALF), get(cpu, 6)), (Ok(()), Ok(0xffff_efff)));
        assert_eq!((set(cpu, 7, 0xd800), get(cpu, 7)), (Ok(()), Ok(0x400)));
    }

    #[test]
    fn io_breakpoints_need_debug_extensions() {
        let mut guest = Guest::new(1, 2);
        let cpu = guest.caller().cpu;
        assert_eq!(set(cpu, 7, 0x0002_0401), Err(Errno::EPERM));
        assert_eq!(set(cpu, 7, 0x0020_0401), Err(Errno::EPERM), "an I/O type in another breakpoint");
        assert_eq!(set(cpu, 7, 0x0002_0400), Ok(()), "no breakpoint is enabled");
        cpu.set_control4(CONTROL4_DEBUG_EXTENSIONS);
        assert_eq!((set(cpu, 7, 0x0002_0401), get(cpu, 7)), (Ok(()), Ok(0x0002_0401)));
    }
}
