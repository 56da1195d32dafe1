//! `console_io`: access of the initial domain to the machine's console.

use abi::errno::Errno;
use abi::xen::console_io as command;
use machine::addr::GuestVirt;
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;

use crate::call::{CallError, CallResult, Caller, ControlPrivilege, operations};
use crate::console;

/// Number of bytes that are copied at once.
const PIECE: usize = 128;
/// Cost of a byte on a serial line, in units of the budget.
const COST_OF_BYTE: u32 = 16;

operations! {
    /// Writes `count` bytes from `buffer`, or reads at most `count` bytes into it.
    pub(crate) fn console_io(
        caller: &mut Caller<'_>,
        operation: u32,
        _control: ControlPrivilege,
        count: u32,
        buffer: GuestVirt
    ) -> CallResult;
    names: command::NAMES;
    command::WRITE => write(caller, count, buffer);
    command::READ => read(caller, count, buffer);
}

fn write(caller: &mut Caller<'_>, count: u32, buffer: GuestVirt) -> CallResult {
    let mut done = 0;
    let mut bytes = [0; PIECE];
    while done < count {
        if done != 0 && caller.budget.is_exhausted() {
            let rest = CallError::again().with_argument(1, u64::from(count - done));
            return Err(rest.with_argument(2, buffer.offset(u64::from(done)).get()));
        }
        let piece = bytes.part_mut(..PIECE.min((count - done) as usize)).unwrap_or_default();
        caller.cpu.read_bytes(buffer.offset(u64::from(done)), piece)?;
        console::write_plain(caller.domain, piece);
        let length = saturating_u32(piece.len());
        caller.budget.spend(length * COST_OF_BYTE);
        done += length;
    }
    Ok(0)
}

fn read(caller: &mut Caller<'_>, count: u32, buffer: GuestVirt) -> CallResult {
    // The result is the number of bytes or a negative error.
    if i32::try_from(count).is_err() {
        return Err(Errno::E2BIG.into());
    }
    let mut done = 0;
    let mut bytes = [0; PIECE];
    while done < count && !caller.budget.is_exhausted() {
        let piece = bytes.part_mut(..PIECE.min((count - done) as usize)).unwrap_or_default();
        let length = console::read_plain(caller.domain, piece);
        if length == 0 {
            break;
        }
        caller.cpu.write_bytes(buffer.offset(u64::from(done)), piece.part(..length).unwrap_or_default())?;
        let length = saturating_u32(length);
        caller.budget.spend(length);
        done += length;
    }
    Ok(u64::from(done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Guest, hypercall};
    use abi::xen::hypercall as number;

    #[test]
    fn only_the_initial_domain_may_use_the_console() {
        let mut guest = Guest::new(1, 2);
        let text = guest.put(b"forged\n");
        for operation in [command::WRITE, command::READ, 9] {
            let result = hypercall(&mut guest.caller(), number::CONSOLE_IO, [operation.into(), 7, text.get()]);
            assert!(matches!(result, Err(CallError::Errno(Errno::EPERM))), "{result:?}");
        }
    }
}
