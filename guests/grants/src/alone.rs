//! Set-up, queries, and operations that do not concern single grants.

use kernel::abi::grant_table::{GetVersion, QuerySize, SetVersion, SetupTable, op, status};
use kernel::abi::xen::DomainId;
use kernel::call::error;
use kernel::grants::grant_op;
use kernel::memory::{initial_domain, page, peek, zeroed};
use kernel::{check, check_eq, say};

pub(crate) fn all() {
    let version = |domain: DomainId| {
        let mut version = GetVersion { domain, ..zeroed() };
        (grant_op(op::GET_VERSION, &mut version), version.version)
    };
    check_eq!(version(DomainId::SELF), (0, 1), "version at start");
    let (result, _) = version(DomainId(0x123));
    check_eq!(result, error::ESRCH, "version of a nonexistent domain");
    let set = |number: u32| {
        let mut version = SetVersion { version: number };
        (grant_op(op::SET_VERSION, &mut version), version.version)
    };
    check_eq!(set(1), (0, 1), "version 1");
    check_eq!(set(3).0, error::EINVAL, "version 3");
    let (result, now) = set(2);
    // A host limited to version 1 refuses.
    check!((result, now) == (0, 2) || result == error::ENOSYS, "version 2: {result}, {now}");
    check_eq!(set(1).0, 0, "version 1 again");
    sizes();
}

fn sizes() {
    let query = |domain: DomainId| {
        let mut query = QuerySize { domain, ..zeroed() };
        (grant_op(op::QUERY_SIZE, &mut query), query)
    };
    let (result, size) = query(DomainId::SELF);
    check_eq!((result, size.status), (0, status::OKAY), "query_size");
    check!(size.max_frame_count >= 4, "frames at most: {}", size.max_frame_count);
    say!("grant table: {} of {} frames", size.frame_count, size.max_frame_count);
    check_eq!(query(DomainId(0x123)).1.status, status::BAD_DOMAIN, "query_size of a nonexistent domain");
    if !initial_domain() {
        check_eq!(query(DomainId(0)).1.status, status::PERMISSION_DENIED, "query_size of domain 0");
    }
    let list = page();
    let setup = |domain: DomainId, frame_count: u32, frame_list: u64| {
        let mut setup = SetupTable { domain, frame_count, frame_list, ..zeroed() };
        (grant_op(op::SETUP_TABLE, &mut setup), setup.status)
    };
    check_eq!(setup(DomainId::SELF, 2, list), (0, status::OKAY), "two frames");
    let [first, second]: [u64; 2] = peek(list);
    check!(first != 0 && second != 0 && first != second, "frames {first:#x}, {second:#x}");
    check!(query(DomainId::SELF).1.frame_count >= 2, "the table has grown");
    check_eq!(setup(DomainId::SELF, 1, list), (0, status::OKAY), "one frame");
    check_eq!(peek::<u64>(list), first, "it is the same");
    check!(query(DomainId::SELF).1.frame_count >= 2, "the table does not shrink");
    let many = size.max_frame_count + 1;
    check_eq!(setup(DomainId::SELF, many, list), (0, status::GENERAL_ERROR), "one frame too many");
    check_eq!(setup(DomainId(0x123), 1, list), (0, status::BAD_DOMAIN), "table of a nonexistent domain");
    let (result, seen) = setup(DomainId::SELF, 1, 0xffff_8300_0000_0000);
    check!(result == error::EFAULT || seen == status::BAD_VIRT_ADDR, "a list in the hypervisor: {result}, {seen}");
}
