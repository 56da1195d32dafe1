//! The memory of the initial domain.

use super::*;
use machine::boot::Options;

#[test]
fn memory_of_the_initial_domain_is_limited_to_available_memory() {
    const MIB: u64 = 1 << 20;
    let frames = |mib: u64| mib * MIB / PAGE_SIZE as u64;
    let told = |line| memory_for(Options::parse(line).dom0_memory, frames(1000), frames(1024)) / MIB;
    assert_eq!([told(""), told("dom0_mem=0")], [960; 2], "all except a sixteenth");
    assert_eq!(told("dom0_mem=512M"), 512);
    assert_eq!(told("dom0_mem=512M dom0_mem=min:600M"), 600);
    assert_eq!(told("dom0_mem=max:768M"), 768);
    assert_eq!(told("dom0_mem=512M,min:900M,max:768M"), 768, "the maximum takes precedence over the minimum");
    assert_eq!([told("dom0_mem=25%"), told("dom0_mem=128M+25%"), told("dom0_mem=max:50%")], [256, 384, 512]);
    assert_eq!([told("dom0_mem=-512M"), told("dom0_mem=-512M,max:-25%")], [512, 512]);
    assert_eq!([told("dom0_mem=-900M,min:25%"), told("dom0_mem=-2G,min:25%")], [256; 2]);
    assert_eq!(told("dom0_mem=4096M"), 992, "all except the builder's frames");
    assert_eq!(told("dom0_mem=-1M"), 992, "limited likewise with a reserve that is too small");
}
