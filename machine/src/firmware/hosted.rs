//! Runtime services of a simulated firmware: a list of variables, and a constant time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use super::{Bytes16, Service, status};

/// Variables by name and vendor, with attributes and contents.
type Variables = BTreeMap<(Vec<u16>, Bytes16), (u32, Vec<u8>)>;

static VARIABLES: Mutex<Option<Variables>> = Mutex::new(None);

/// Installs the firmware, without variables.
pub fn install() {
    *VARIABLES.lock().unwrap_or_else(PoisonError::into_inner) = Some(Variables::new());
}

pub(crate) fn revision() -> Option<u32> {
    VARIABLES.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|_| 2 << 16 | 70)
}

pub(crate) fn call(service: Service<'_>) -> u64 {
    let mut variables = VARIABLES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(variables) = variables.as_mut() else { return status::UNSUPPORTED };
    match service {
        Service::GetTime { time, capabilities } => {
            *time = [7; 16];
            (capabilities.resolution, capabilities.accuracy, capabilities.sets_to_zero) = (1, 50_000_000, 1);
        }
        Service::GetVariable { name, vendor, attributes, size, data } => {
            let Some((kept, contents)) = variables.get(&(name.characters().to_vec(), *vendor)) else {
                return status::NOT_FOUND;
            };
            *size = contents.len() as u64;
            let Some(room) = data.get_mut(..contents.len()) else { return status::BUFFER_TOO_SMALL };
            room.copy_from_slice(contents);
            *attributes = *kept;
        }
        Service::SetVariable { name, vendor, attributes, data } => {
            let key = (name.characters().to_vec(), *vendor);
            if data.is_empty() {
                return if variables.remove(&key).is_some() { status::SUCCESS } else { status::NOT_FOUND };
            }
            variables.insert(key, (attributes, data.to_vec()));
        }
        Service::GetNextVariableName { size, name, vendor } => {
            let length = name.iter().position(|&character| character == 0).map_or(name.len(), |end| end + 1);
            let last = (name[..length].to_vec(), *vendor);
            let Some((next, owner)) = variables.keys().find(|key| length == 1 || **key > last) else {
                return status::NOT_FOUND;
            };
            *size = (next.len() * 2) as u64;
            let Some(room) = name.get_mut(..next.len()) else { return status::BUFFER_TOO_SMALL };
            room.copy_from_slice(next);
            *vendor = *owner;
        }
        Service::QueryVariableInfo { maximum, remaining, largest, .. } => {
            (*maximum, *remaining, *largest) = (64 << 10, 60 << 10, 1 << 10);
        }
        Service::GetNextHighMonotonicCount { count } => *count = 9,
        Service::SetTime { .. } | Service::GetWakeupTime { .. } | Service::SetWakeupTime { .. } => {
            return status::UNSUPPORTED;
        }
    }
    status::SUCCESS
}
