//! `copy`: between frames and grants within one domain.

use kernel::abi::grant_table::{CopyPointer, GrantCopy, copy_flags, entry_flags, op, status};
use kernel::abi::xen::DomainId;
use kernel::grants::{end, flags, grant, grant_op};
use kernel::memory::{mfn_of, page, peek, poke, zeroed};
use kernel::tables;
use kernel::{check, check_eq};

use crate::mapping::own;

fn pointer(value: u64, offset: u16) -> CopyPointer {
    CopyPointer { reference_or_frame: value, domain: DomainId::SELF, offset, _pad: 0 }
}

fn copy(source: CopyPointer, destination: CopyPointer, length: u16, flags: u16) -> i16 {
    let mut copy = GrantCopy { source, destination, length, flags, ..zeroed() };
    check_eq!(grant_op(op::COPY, &mut copy), 0, "copy");
    copy.status
}

pub(crate) fn all() {
    let (from, to) = (page(), page());
    for at in 0..512u64 {
        poke(from + at * 8, at);
    }
    let (source, destination) = (copy_flags::SOURCE_GREF, copy_flags::DEST_GREF);
    grant(20, own(), mfn_of(from), entry_flags::PERMIT_ACCESS | entry_flags::READONLY);
    grant(21, own(), mfn_of(to), entry_flags::PERMIT_ACCESS);
    let frames = (mfn_of(from), mfn_of(to));
    check_eq!(copy(pointer(20, 0), pointer(21, 0), 4096, source | destination), status::OKAY, "grant to grant");
    check!(peek::<[u64; 512]>(to) == peek::<[u64; 512]>(from), "the whole page");
    poke(to, [0u64; 512]);
    check_eq!(copy(pointer(20, 16), pointer(frames.1, 8), 24, source), status::OKAY, "grant to frame");
    check_eq!(peek::<[u64; 6]>(to), [0, 2, 3, 4, 0, 0], "a part, shifted");
    poke(to, [0u64; 512]);
    check_eq!(copy(pointer(frames.0, 4095), pointer(21, 0), 1, destination), status::OKAY, "frame to grant");
    check_eq!(copy(pointer(frames.0, 8), pointer(frames.1, 8), 8, 0), status::OKAY, "frame to frame");
    check_eq!(peek::<[u64; 3]>(to), [0, 1, 0], "a word");
    check_eq!(copy(pointer(20, 0), pointer(21, 0), 0, source | destination), status::OKAY, "nothing");
    // Beyond the end of the page.
    for (offsets, length) in [((1u16, 0u16), 4096u16), ((0, 1), 4096), ((4090, 0), 7), ((4096, 0), 1), ((0, 0), 4097)] {
        let result = copy(pointer(20, offsets.0), pointer(21, offsets.1), length, source | destination);
        check_eq!(result, status::BAD_COPY_ARG, "copy of {length} at {offsets:?}");
    }
    check!(copy(pointer(21, 0), pointer(20, 0), 8, source | destination) < 0, "to a read-only grant");
    check!(copy(pointer(400, 0), pointer(21, 0), 8, source | destination) < 0, "from an invalid grant");
    check_eq!(
        copy(pointer(0x10_0000, 0), pointer(21, 0), 8, source | destination),
        status::BAD_GNTREF,
        "from a nonexistent entry"
    );
    check!(copy(pointer(20, 0), pointer(mfn_of(tables::root()), 0), 8, source) < 0, "to a page table");
    check!(copy(pointer(0xff_ffff_ffff, 0), pointer(21, 0), 8, destination) < 0, "from a frame that does not exist");
    let mut other = pointer(frames.0, 0);
    other.domain = DomainId(0x123);
    check!(copy(other, pointer(21, 0), 8, destination) < 0, "from a frame of a nonexistent domain");
    check_eq!((flags(20) & 0x18, flags(21) & 0x18), (0, 0), "no entry is in use");
    end(20);
    end(21);
}
