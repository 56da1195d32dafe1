//! `get_symbol`: enumerates the names of Paravane's functions.

use abi::errno::Errno;
use abi::platform::SymbolData;
use machine::addr::GuestVirt;
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;
use machine::symbols;

use super::Request;
use crate::call::{CallResult, Caller};

/// Symbol type of a function, as printed by `nm`.
const FUNCTION: u8 = b't';

/// Returns the symbol with the given number, and the next number. At the end the number does not
/// change.
pub(super) fn symbol(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: SymbolData = request.arguments()?;
    let (name, address) = match symbols::by_number(arguments.symbol_number) {
        Some(found) => found,
        None if arguments.symbol_number == symbols::count() => ("", 0),
        None => return Err(Errno::ERANGE.into()),
    };
    // The length includes the terminating zero. A name that does not fit is truncated, and the full
    // length is returned.
    let room = usize::try_from(arguments.name_length).unwrap_or(0);
    let place = GuestVirt::new(arguments.name);
    let length = name.len().min(room.saturating_sub(1));
    if room != 0 {
        caller.cpu.write_bytes(place, name.as_bytes().part(..length).unwrap_or(&[]))?;
        caller.cpu.write_bytes(place.offset(length as u64), &[0])?;
    }
    arguments.name_length = saturating_u32(name.len() + 1);
    arguments.address = address;
    arguments.kind = FUNCTION;
    if !name.is_empty() {
        arguments.symbol_number += 1;
    }
    request.answer(caller, &arguments)
}
