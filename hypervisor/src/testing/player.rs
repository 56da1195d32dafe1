//! A player: a vCPU that makes hypercalls according to a script. The arguments are biased towards
//! those that get far: existing frames, page tables, valid flags.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::vec::Vec;

use abi::xen::DomainId;
use machine::addr::{GuestVirt, Mfn};
use machine::context::Active;
use machine::frames::{Budget, L4, TypedRef};
use machine::heap;
use machine::hosted::heap::most_allocated;
use machine::hosted::tlb::with_interrupts_off;
use zerocopy::{Immutable, IntoBytes};

use super::BASE;
use crate::domain::{Domain, EndReason, Vcpu};
use crate::hypercall::{dispatch, fast_path};
use crate::lifecycle;

/// Number of restarts of a hypercall before the player goes to its next step.
const REPEATS: usize = 200;

/// Number of hypercalls of all players since the process started. Restarts are not counted.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of hypercalls of all players since the process started. Restarts are not
/// counted.
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// A script, read byte by byte. It returns zeros after its end.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl Script<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub(super) fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// A list of at most `most` elements.
    pub(super) fn list<T>(&mut self, most: u8, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..=self.byte() % most).map(|_| element(self)).collect()
    }
}

/// A vCPU that is played.
pub(super) struct Player {
    pub(super) domain: Arc<Domain>,
    pub(super) vcpu: Arc<Vcpu>,
    pub(super) cpu: Option<Active>,
    /// The vCPU has ended, or the memory for its arguments is not mapped any more.
    pub(super) over: bool,
    /// The address of two pages for arguments.
    pub(super) scratch: u64,
    /// Frames that it names preferably: first its page tables, then its pages, then frames that it
    /// may not use.
    pub(super) frames: Vec<Mfn>,
    pub(super) domains: [DomainId; 4],
}

impl Player {
    pub(super) fn page(page: usize) -> u64 {
        BASE + page as u64 * 4096
    }

    /// The address of a page, mapped or not; rarely that of the arguments.
    pub(super) fn any_page(script: &mut Script<'_>) -> u64 {
        let number = script.byte();
        Self::page(if number == 255 { 0 } else { 4 + usize::from(number) % 32 })
    }

    /// Accesses memory as the guest for a moment, and makes a hypercall, with its restarts.
    pub(super) fn call(&mut self, number: u32, arguments: [u64; 6]) {
        if let Some(cpu) = &mut self.cpu {
            cpu.run();
            with_interrupts_off(|| self.call_in_paravane(number, arguments));
        }
    }

    fn call_in_paravane(&mut self, number: u32, arguments: [u64; 6]) {
        let Some(cpu) = &mut self.cpu else { return };
        CALLS.fetch_add(1, Ordering::Relaxed);
        let registers = cpu.registers_mut();
        registers.rax = number.into();
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        for _ in 0..REPEATS {
            let registers = cpu.registers_mut();
            (registers.rip, registers.rax) = (2, number.into());
            if fast_path(cpu, &self.domain) {
                return;
            }
            let (result, allocated) = most_allocated(|| dispatch(cpu, &self.domain, &self.vcpu));
            // The control domain creates domains, which is not limited here.
            let is_bounded = allocated <= heap::MAX_UNCHECKED || self.domain.is_privileged();
            assert!(is_bounded, "hypercall {number} {arguments:x?} has allocated {allocated} bytes");
            if let Err(why) = result {
                lifecycle::end(&self.domain, EndReason::Killed(why));
                return;
            }
            if cpu.registers().rip != 0 {
                return;
            }
            self.domain.teardown.advance(&mut Budget::new(Budget::HYPERCALL));
        }
    }

    /// Writes a value to the memory for arguments, if that is mapped.
    pub(super) fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, value: &T) -> u64 {
        if let Some(cpu) = &mut self.cpu {
            self.over |= cpu.write(GuestVirt::new(self.scratch), value).is_err();
        }
        self.scratch
    }

    pub(super) fn frame(&self, script: &mut Script<'_>) -> Mfn {
        script.pick(&self.frames)
    }

    /// The frame of one of the guest's first pages; in `frames` they follow the tables.
    pub(super) fn frame_of_page(&self, page: usize) -> Mfn {
        self.frames[super::TABLES + page]
    }

    pub(super) fn entry(&self, script: &mut Script<'_>) -> u64 {
        const FLAGS: [u64; 16] =
            [0x67, 0x67, 0x67, 0x67, 0x65, 0x65, 0x65, 0x25, 0x61, 0x63, 0x7, 0x5, 0xe7, 0x77, 1 << 63 | 0x67, 0xe67];
        match script.byte() % 8 {
            0 => 0,
            1 if script.byte().is_multiple_of(8) => script.word(),
            _ => self.frame(script).get() << 12 | script.pick(&FLAGS),
        }
    }

    pub(super) fn index(script: &mut Script<'_>) -> u64 {
        match script.pick(&[3u64, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 100, 255, 256, 271, 272, 511]) {
            100 => script.word() % 512,
            index => index,
        }
    }

    /// Another reference to its root table.
    pub(super) fn root(&self) -> Option<TypedRef<L4>> {
        self.cpu.as_ref().and_then(|cpu| cpu.context().kernel_root()).map(TypedRef::again)
    }

    /// Loads the vCPU into the pCPU of this thread.
    pub(super) fn activate(&mut self) {
        self.cpu = self.vcpu.parked().take().and_then(|context| context.activate().ok());
        self.vcpu.scheduling.note_loaded_by_test(self.cpu.is_some());
    }

    /// Unloads the vCPU permanently.
    pub(super) fn park(&mut self) {
        if let Some(cpu) = self.cpu.take() {
            *self.vcpu.parked() = Some(cpu.deactivate());
            self.vcpu.scheduling.note_loaded_by_test(false);
        }
    }
}
