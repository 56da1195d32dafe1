//! A vCPU that plays: it makes hypercalls as a script says. Arguments lean towards what gets far:
//! frames that exist, tables, flags that make sense.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::vec::Vec;

use abi::xen::DomainId;
use machine::addr::{GuestVirt, Mfn};
use machine::context::Active;
use machine::frames::{Budget, L4, TypedRef};
use machine::heap;
use machine::hosted::heap::most_allocated;
use zerocopy::{Immutable, IntoBytes};

use super::BASE;
use crate::domain::{Domain, EndReason, Vcpu};
use crate::hypercall::{dispatch, fast_path};
use crate::lifecycle;

/// How often a call that is to be continued is repeated before the player goes on with something
/// else.
const REPEATS: usize = 200;

/// Hypercalls that players have made since the process began. One that is continued counts once.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// How many hypercalls players have made since the process began.
pub fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// What is played, byte by byte; zeros when it is used up.
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

    /// A list of up to `most`.
    pub(super) fn list<T>(&mut self, most: u8, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..=self.byte() % most).map(|_| element(self)).collect()
    }
}

/// A vCPU that plays.
pub(super) struct Player {
    pub(super) domain: Arc<Domain>,
    pub(super) vcpu: Arc<Vcpu>,
    pub(super) cpu: Option<Active>,
    /// It has ended, or has lost the memory for its arguments.
    pub(super) over: bool,
    /// Where arguments are put: two pages.
    pub(super) scratch: u64,
    /// Frames that it likes to name: the own tables first, then pages, then what it should not
    /// have.
    pub(super) frames: Vec<Mfn>,
    pub(super) domains: [DomainId; 4],
}

impl Player {
    pub(super) fn page(page: usize) -> u64 {
        BASE + page as u64 * 4096
    }

    /// Where a page is mapped, or nothing yet; seldom where arguments are put.
    pub(super) fn any_page(script: &mut Script<'_>) -> u64 {
        let number = script.byte();
        Self::page(if number == 255 { 0 } else { 4 + usize::from(number) % 32 })
    }

    /// Makes a hypercall, to its end if it has one.
    pub(super) fn call(&mut self, number: u32, arguments: [u64; 6]) {
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
            // The control domain makes domains.
            let is_bounded = allocated <= heap::UNASKED || self.domain.is_privileged();
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

    /// Puts a value where hypercalls can read it, if anything is mapped there.
    pub(super) fn put<T: IntoBytes + Immutable + ?Sized>(&mut self, value: &T) -> u64 {
        if let Some(cpu) = &mut self.cpu {
            self.over |= cpu.write(GuestVirt::new(self.scratch), value).is_err();
        }
        self.scratch
    }

    pub(super) fn frame(&self, script: &mut Script<'_>) -> Mfn {
        script.pick(&self.frames)
    }

    /// The frame of one of the guest's first pages: behind the tables.
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

    /// A further reference to the root table that it uses.
    pub(super) fn root(&self) -> Option<TypedRef<L4>> {
        self.cpu.as_ref().and_then(|cpu| cpu.context().kernel_root()).map(TypedRef::again)
    }

    /// Loads the vCPU into the pCPU that this thread is.
    pub(super) fn activate(&mut self) {
        self.cpu = self.vcpu.parked().take().and_then(|context| context.activate().ok());
    }

    /// Takes the vCPU off its pCPU for good.
    pub(super) fn park(&mut self) {
        if let Some(cpu) = self.cpu.take() {
            *self.vcpu.parked() = Some(cpu.deactivate());
        }
    }
}
