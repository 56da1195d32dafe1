//! `set_debugreg` and `get_debugreg`.

use abi::errno::Errno;

use super::{CallResult, Caller};

/// Bits of DR7 that exist: enables, general detect, types and lengths.
const CONTROL_BITS: u64 = 0xffff_27ff;
const LOW_HALF: u64 = 0xffff_ffff;

/// The register's index, if there is such a register. 4 and 5 are other names of 6 and 7 only without debug extensions.
fn index(register: u32) -> Result<usize, Errno> {
    match register {
        0..=3 | 6 | 7 => Ok(register as usize),
        _ => Err(Errno::ENODEV),
    }
}

/// Sets a debug register; `EPERM` for what could watch Paravane itself.
pub fn set_debugreg(caller: &mut Caller<'_>, register: u32, value: u64) -> CallResult {
    let index = index(register)?;
    let value = match index {
        6 => value & LOW_HALF,
        7 => value & CONTROL_BITS,
        _ => value,
    };
    if caller.cpu.set_debug_register(index, value) { Ok(0) } else { Err(Errno::EPERM.into()) }
}

/// Reads a debug register.
pub fn get_debugreg(caller: &mut Caller<'_>, register: u32) -> CallResult {
    Ok(caller.cpu.debug_register(index(register)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn general_detect_is_kept_to_be_refused() {
        assert_ne!(CONTROL_BITS & 1 << 13, 0);
        assert_eq!(CONTROL_BITS & 0xd800, 0);
        assert!(index(4).is_err() && index(5).is_err() && index(8).is_err());
    }

    #[test]
    fn registers_at_rest_read_as_the_processors_do() {
        let mut guest = crate::testing::Guest::new(1, 2);
        assert!(matches!(get_debugreg(&mut guest.caller(), 6), Ok(0xffff_0ff0)));
        assert!(matches!(get_debugreg(&mut guest.caller(), 7), Ok(0x400)));
    }

    #[test]
    fn breakpoints_watch_guest_addresses_only() {
        let mut guest = crate::testing::Guest::new(1, 2);
        let mut set = |register, value| set_debugreg(&mut guest.caller(), register, value).is_ok();
        assert!(set(0, 0x40_0000) && set(3, 0xffff_8800_0000_0000) && set(7, 0x455) && set(6, u64::MAX));
        assert!(!set(1, 0xffff_8300_0000_0000) && !set(1, 1 << 47) && !set(7, 1 << 13) && !set(4, 0) && !set(9, 0));
        assert!(matches!(get_debugreg(&mut guest.caller(), 0), Ok(0x40_0000)));
        assert!(get_debugreg(&mut guest.caller(), 5).is_err());
    }
}
