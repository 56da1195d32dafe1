//! `createdomain` and `max_vcpus`.

use abi::arch_x86_64::misc_flags;
use abi::domctl::{CreateDomain, MaxVcpus, create_flags, grant_options};
use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::format;
use alloc::sync::Arc;
use machine::{frames, heap};

use crate::call::{CallResult, Caller};
use crate::control::Request;
use crate::domain::{self, Domain, MAX_VCPUS, Port, Settings};
use crate::grant_table;
use crate::limits::{self, Limit};
use crate::time;

/// The supported version of grant tables.
const GRANT_VERSION: u32 = 1;
/// The ids of the only CPU pool, and of any pool.
const POOLS: [u32; 2] = [0, u32::MAX];
/// Minimum number of free frames: those that a new domain takes before it has memory of its own,
/// and some for concurrent operations.
const RESERVE: u64 = 64;
/// Upper bounds of the heap memory that a domain and each of its vCPUs use, including what they
/// allocate later without a check.
const SIZE: usize = 64 << 10;
const SIZE_OF_VCPU: usize = 24 << 10;
/// The default weight of a domain.
const WEIGHT: u16 = 256;

/// Creates a domain without memory, paused, with all its vCPUs down.
pub(super) fn create(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let wanted: CreateDomain = request.argument();
    if wanted.max_vcpus > MAX_VCPUS {
        limits::met(caller.domain, Limit::Vcpus);
    }
    check(&wanted)?;
    let number = |wanted: i32| u32::try_from(wanted).ok();
    let (frames, maptrack_frames) = (number(wanted.max_grant_frames), number(wanted.max_maptrack_frames));
    let grant_limits = grant_table::Limits::of_host().within(frames, maptrack_frames).map_err(|limit| {
        limits::met(caller.domain, limit);
        Errno::EINVAL
    })?;
    let size = SIZE + SIZE_OF_VCPU * wanted.max_vcpus as usize;
    if frames::free_frames() < RESERVE || !heap::has_room(size) {
        return Err(Errno::ENOMEM.into());
    }
    let id = match request.domain {
        id if id.0 == 0 || id >= DomainId::FIRST_RESERVED => {
            domain::reserve_next().inspect_err(|_| limits::met(caller.domain, Limit::Domains))?
        }
        id => domain::reserve(id)?,
    };
    let (id, reserved) = (id.id(), id);
    let settings = Settings {
        name: format!("d{}", id.0),
        privileged: false,
        vcpus: wanted.max_vcpus,
        max_frames: 0,
        weight: WEIGHT,
        cap: 0,
    };
    let domain = Domain::new(id, settings).map_err(|_| Errno::ENOMEM)?;
    domain.grants.set_limits(grant_limits);
    domain.events.set_limit(Port::new(wanted.max_event_channel_port));
    domain.control.record().handle = wanted.handle;
    if wanted.flags & create_flags::XS_DOMAIN != 0 {
        domain.control.set_serves_store();
    }
    domain.control.own_first_pause();
    time::init_domain(&domain);
    domain::add(&domain);
    drop(reserved);
    request.answer_domain(caller, id)?;
    Ok(0)
}

/// Checks that the requested domain needs neither hardware virtualisation nor an IOMMU.
fn check(wanted: &CreateDomain) -> Result<(), Errno> {
    let legal = wanted.flags & !create_flags::XS_DOMAIN == 0
        && wanted.iommu_options == 0
        && wanted.vmtrace_size == 0
        && wanted.arch.emulation_flags == 0
        && wanted.arch.misc_flags & !misc_flags::RELAXED == 0
        && wanted.grant_options == GRANT_VERSION & grant_options::VERSION_MASK
        && (1..=MAX_VCPUS).contains(&wanted.max_vcpus);
    match legal {
        false => Err(Errno::EINVAL),
        true if POOLS.contains(&wanted.cpupool) => Ok(()),
        true => Err(Errno::ENOENT),
    }
}

/// The vCPUs are allocated when the domain is created, so this only checks their number.
pub(super) fn max_vcpus(request: &Request, target: &Arc<Domain>) -> CallResult {
    let MaxVcpus { max } = request.argument();
    if max == 0 || u32::try_from(target.vcpus().len()).is_ok_and(|has| max > has) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use machine::hosted::heap::most_allocated;

    #[test]
    fn heap_use_of_a_domain_is_within_its_bound() {
        crate::testing::start_machine();
        for vcpus in [1, MAX_VCPUS] {
            let settings = Settings {
                name: String::from("large"),
                privileged: false,
                vcpus,
                max_frames: 0,
                weight: WEIGHT,
                cap: 0,
            };
            let (domain, allocated) = most_allocated(|| Domain::new(DomainId(7), settings));
            assert!(allocated <= SIZE + SIZE_OF_VCPU * vcpus as usize, "{allocated} bytes for {vcpus} vCPUs");
            assert!(domain.is_ok());
        }
    }
}
