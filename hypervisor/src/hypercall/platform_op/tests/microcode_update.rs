//! Files of microcode that the control domain passes, on simulated processors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::vec::Vec;

use abi::platform::{MicrocodeUpdate, UcodeRevision};
use machine::addr::CpuId;
use machine::boot::Options;
use machine::cpu;
use machine::hosted::console::take_output;
use machine::hosted::microcode::{Simulated, boot, loads, simulate};
use machine::microcode_update::{Refusal, Unavailable};
use microcode::samples::Sample;
use microcode::{Maker, Processor};
use zerocopy::FromZeros;

use super::super::microcode_update::LARGEST_FILE;
use super::*;

const INTEL: Processor = Processor { maker: Maker::Intel, signature: 0x306c4, platform: 2, revision: 5 };
/// The first page of the file in the guest, and the number of its pages.
const FILE: usize = 1;
const PAGES: usize = 40;

fn machine(refusing: Option<(CpuId, Refusal)>) -> Guest {
    let guest = Guest::privileged(0, FILE + PAGES);
    simulate(Simulated { processor: Ok(INTEL), threads: 1, refusing });
    boot(&[], &Options::default().microcode);
    drop(take_output());
    guest
}

fn file(revision: u32) -> Vec<u8> {
    Sample::new(&INTEL, revision).file(Maker::Intel)
}

/// Passes a file; returns the error and the last line of the log.
fn pass(guest: &mut Guest, file: &[u8]) -> (Option<Errno>, std::string::String) {
    let data = guest.address(FILE);
    guest.caller().cpu.write_bytes(data, file).expect("mapped pages");
    let arguments = MicrocodeUpdate { data: data.get(), length: file.len() as u32, _pad: 0 };
    let result = call(guest, op::MICROCODE_UPDATE, &arguments);
    let text = std::string::String::from_utf8_lossy(&take_output()).into_owned();
    let line = text.lines().last().and_then(|line| line.split_once("microcode: "));
    (error(&result), line.map_or_else(Default::default, |(_, line)| line.into()))
}

fn revision(guest: &mut Guest, cpu: u32) -> Result<UcodeRevision, Option<Errno>> {
    let wanted = UcodeRevision { cpu, ..UcodeRevision::new_zeroed() };
    match call(guest, later_op::GET_UCODE_REVISION, &wanted) {
        Ok(_) => Ok(answer(guest)),
        result => Err(error(&result)),
    }
}

#[test]
fn a_newer_update_is_loaded_on_all_pcpus() {
    let mut guest = machine(None);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            let over = &over;
            let (tell, told) = std::sync::mpsc::channel();
            scope.spawn(move || {
                tell.send(cpu::current()).expect("the test waits");
                while !over.load(Ordering::SeqCst) {
                    cpu::interrupt_window();
                    thread::yield_now();
                }
            });
            told.recv().expect("the thread has started")
        });
        let (error, line) = pass(&mut guest, &[file(6), file(9), file(7)].concat());
        over.store(true, Ordering::SeqCst);
        assert_eq!((error, line.as_str()), (None, "revision 0x9 of 1998-07-18 on all pCPUs, after 0x5"));
        let mut all = [cpu::current(), threads[0], threads[1]];
        all.sort_by_key(|cpu| cpu.number());
        assert_eq!(loads(), all);
    });
    for cpu in 0..3 {
        let expected = UcodeRevision { cpu, signature: 0x306c4, platforms: 2, revision: 9 };
        assert_eq!(revision(&mut guest, cpu), Ok(expected));
    }
    for cpu in [3, 64, u32::MAX] {
        assert_eq!(revision(&mut guest, cpu), Err(Some(Errno::ENOENT)));
    }
}

#[test]
fn refused_files_have_xens_errors_and_a_line() {
    let mut guest = machine(None);
    let mut refused = |file: &[u8], errno, line: &str| {
        let (error, said) = pass(&mut guest, file);
        assert_eq!((error, said), (Some(errno), std::format!("the control domain's file is not loaded: {line}")));
    };
    refused(&file(5), Errno::EEXIST, "its revision 0x5 is not newer than 0x5");
    refused(&file(4), Errno::EEXIST, "its revision 0x4 is not newer than 0x5");
    let other = Sample::new(&Processor { signature: 0x306c3, ..INTEL }, 9).file(Maker::Intel);
    refused(&other, Errno::ENOENT, "it is for other processors");
    let mut damaged = file(9);
    damaged[500] ^= 0x80;
    refused(&damaged, Errno::EINVAL, "it is damaged: the checksum of an update is wrong");
    refused(&file(9)[..1023], Errno::EINVAL, "it is damaged: an update is truncated");
    refused(b"", Errno::EINVAL, "it is not microcode of this processor's maker");
    let late = Sample { minimum: 6, ..Sample::new(&INTEL, 9) }.file(Maker::Intel);
    refused(&late, Errno::EOPNOTSUPP, "it is loaded only during boot, or from revision 0x6 on");
    assert!(loads().is_empty());
    assert_eq!(revision(&mut guest, 0).map(|answer| answer.revision), Ok(5));
}

#[test]
fn a_processor_may_refuse_an_update() {
    let mut guest = machine(Some((CpuId::BOOT, Refusal::Fault)));
    let (error, line) = pass(&mut guest, &file(9));
    assert_eq!(error, Some(Errno::EIO));
    assert_eq!(line, "the control domain's file is not loaded: pCPU 0 refuses it: general protection fault");
    assert_eq!(revision(&mut guest, 0).map(|answer| answer.revision), Ok(5));
}

#[test]
fn a_virtual_machine_takes_no_update() {
    let mut guest = machine(None);
    simulate(Simulated { processor: Err(Unavailable::OuterHypervisor), threads: 1, refusing: None });
    let (error, line) = pass(&mut guest, &file(9));
    assert_eq!(error, Some(Errno::EINVAL));
    assert!(line.ends_with("an outer hypervisor is responsible for the microcode"), "{line}");
}

#[test]
fn the_file_is_copied_within_bounds_and_from_mapped_memory() {
    let mut guest = machine(None);
    let data = guest.address(FILE).get();
    let mut length = |length, data| {
        let result = call(&mut guest, op::MICROCODE_UPDATE, &MicrocodeUpdate { data, length, _pad: 0 });
        error(&result)
    };
    assert_eq!(length(LARGEST_FILE as u32 + 1, data), Some(Errno::E2BIG));
    assert_eq!(length(u32::MAX, data), Some(Errno::E2BIG));
    // The simulated memory has no room for a copy of the largest file.
    assert_eq!(length(LARGEST_FILE as u32, data), Some(Errno::ENOMEM));
    assert_eq!(length(1 << 20, data), Some(Errno::EFAULT), "behind the guest's pages");
    assert_eq!(length(1024, 0x7fff_f000_0000), Some(Errno::EFAULT));
    assert_eq!(length(1024, u64::MAX - 100), Some(Errno::EFAULT));
    // The largest file that the guest has memory for.
    let large = Sample { size: PAGES * 4096 - 1024 - 48, ..Sample::new(&INTEL, 9) }.file(Maker::Intel);
    assert_eq!(pass(&mut guest, &large).0, None);
    let mut other = Guest::new(1, 2);
    let arguments = MicrocodeUpdate { data, length: 1024, _pad: 0 };
    assert_eq!(error(&call(&mut other, op::MICROCODE_UPDATE, &arguments)), Some(Errno::EPERM));
}

#[test]
fn the_copy_of_a_file_is_freed() {
    let mut guest = machine(None);
    let free = machine::frames::free_frames();
    for contents in [file(4), file(9), file(10), b"nothing".to_vec()] {
        pass(&mut guest, &contents);
        assert_eq!(machine::frames::free_frames(), free);
    }
}
