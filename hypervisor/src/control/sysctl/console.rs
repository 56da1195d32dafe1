//! `readconsole` and `debug_keys`: Paravane's log and debug keys.

use abi::sysctl::{DebugKeys, ReadConsole};
use machine::addr::GuestVirt;
use machine::console::history;
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;

use super::Request;
use crate::call::{CallError, CallResult, Caller};
use crate::debug_keys;

/// Number of bytes that are copied at once.
const PIECE: usize = 512;
/// Cost of copying them, in units of the budget.
const COST_OF_PIECE: u32 = 48;
/// Cost of a debug key, in units of the budget. Its output is written to a serial line.
const COST_OF_KEY: u32 = 8192;

/// Copies recent console output to the caller.
pub(super) fn read_console(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: ReadConsole = request.argument();
    let buffer = GuestVirt::new(argument.buffer);
    let room = argument.count.min(saturating_u32(history::HISTORY_SIZE));
    let mut index = if argument.incremental != 0 { argument.index } else { history::start() };
    let mut done = 0;
    let mut bytes = [0; PIECE];
    while done < room {
        let wanted = PIECE.min((room - done) as usize);
        let piece = bytes.part_mut(..wanted).unwrap_or_default();
        let (next, length) = history::read(index, piece);
        if length == 0 {
            break;
        }
        caller.cpu.write_bytes(buffer.offset(done.into()), piece.part(..length).unwrap_or_default())?;
        index = next;
        done += saturating_u32(length);
        caller.budget.spend(COST_OF_PIECE);
    }
    (argument.count, argument.index) = (done, index);
    request.answer(caller, &argument)?;
    if argument.clear != 0 {
        history::clear(index);
    }
    Ok(0)
}

/// Executes debug keys as if they had been typed on Paravane's console.
pub(super) fn debug_keys(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let DebugKeys { mut keys, mut key_count, .. } = request.argument();
    while key_count != 0 {
        if caller.budget.is_exhausted() {
            // The restarted call handles the rest.
            request.answer(caller, &DebugKeys { keys, key_count, _pad: 0 })?;
            return Err(CallError::again());
        }
        let key: u8 = caller.cpu.read(GuestVirt::new(keys))?;
        debug_keys::press(key);
        caller.budget.spend(COST_OF_KEY);
        (keys, key_count) = (keys.wrapping_add(1), key_count - 1);
    }
    Ok(0)
}
