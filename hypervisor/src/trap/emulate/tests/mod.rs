//! Emulation of whole instructions: code and page tables of a guest in simulated memory, its
//! registers, and the results.

use std::cell::RefCell;
use std::vec::Vec;

use abi::arch_x86_64::flat;
use abi::errno::Errno;
use abi::xen::DomainId;
use machine::addr::Mfn;
use machine::context::{GuestContext, Registers};
use machine::frames::{self, AcquireError, Budget, FrameRef, L1, L4, TypedRef, Writable};
use machine::paging::{Admission, Entry, NoEntries, RawEntry, names_memory};
use proptest::prelude::*;

use super::*;
use crate::domain::{KillReason, Settings};
use crate::memory::admission::GuestAdmission;

mod page_table;
mod privileged;

/// Page numbers of the guest: code, data, the L1 table that maps these pages (read-only), and a
/// page whose entry the tests change.
const CODE: u64 = 1;
const DATA: u64 = 2;
const TABLE: u64 = 3;
const VICTIM: u16 = 8;
const LEAF: u64 = 0x67;
const READ_ONLY: u64 = 0x65;

/// The address of entry `index` in the read-only mapping of the table.
fn entry_address(index: u16) -> u64 {
    (TABLE << 12) + u64::from(index) * 8
}

/// Admits every absent entry.
struct Anything;

impl Admission for Anything {
    fn leaf(&mut self, _: RawEntry, _: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        Err(Errno::EPERM.into())
    }

    fn table(&mut self, _: Mfn) -> Result<FrameRef, Errno> {
        Err(Errno::EPERM)
    }

    fn absent_naming_memory(&mut self, _: RawEntry) -> Result<(), Errno> {
        Ok(())
    }
}

/// A guest whose vCPU 0 is loaded, in kernel mode, with RIP at the code page.
struct Guest {
    domain: Arc<Domain>,
    cpu: Active,
    frames: Vec<FrameRef>,
}

impl Guest {
    fn new() -> Self {
        crate::testing::start_machine();
        let id = DomainId(7);
        let settings =
            Settings { name: "test".into(), privileged: false, vcpus: 2, max_frames: 64, weight: 256, cap: 0 };
        let domain = Domain::new(id, settings).expect("memory for a domain");
        // The domain is leaked, since its lists must be empty when they are dropped.
        core::mem::forget(Arc::clone(&domain));
        let frames: Vec<_> = (0..8).map(|_| new_frame(&domain)).collect();
        let at = |frame: &FrameRef, flags: u64| frame.mfn().address().get() | flags;
        let [l4, l3, l2, l1, code, data, victim, _] = &frames[..] else { unreachable!() };
        for (table, index, entry) in [
            (l4, 0, at(l3, LEAF)),
            (l3, 0, at(l2, LEAF)),
            (l2, 0, at(l1, LEAF)),
            (l1, CODE as u16, at(code, LEAF)),
            (l1, DATA as u16, at(data, LEAF)),
            (l1, TABLE as u16, at(l1, READ_ONLY)),
            (l1, 4, at(l2, READ_ONLY)),
            (l1, VICTIM, at(victim, LEAF)),
        ] {
            writable(table).write_u64(index, entry);
        }
        let root = TypedRef::<L4>::acquire(l4.again(), &mut GuestAdmission::of(&domain), &mut Budget::new(10_000));
        let mut context = domain.vcpus()[0].parked().take().expect("a parked vCPU");
        context.set_roots(Some(root.expect("the tables are fine")), None);
        context.registers_mut().rip = CODE << 12;
        let cpu = context.activate().ok().expect("the context is complete");
        Self { domain, cpu, frames }
    }

    fn code(&mut self, bytes: &[u8]) {
        self.cpu.registers_mut().rip = CODE << 12;
        self.cpu.write_bytes(GuestVirt::new(CODE << 12), bytes).expect("the code page can be written");
    }

    fn vcpu(&self) -> Arc<Vcpu> {
        Arc::clone(&self.domain.vcpus()[0])
    }

    fn privileged(&mut self, bytes: &[u8]) -> Emulation {
        self.code(bytes);
        let vcpu = self.vcpu();
        privileged(&mut self.cpu, &self.domain, &vcpu)
    }

    fn page_table_write(&mut self, bytes: &[u8], address: u64) -> Emulation {
        self.code(bytes);
        let vcpu = self.vcpu();
        let address = GuestVirt::new(address);
        page_table_write(&mut self.cpu, &self.domain, &vcpu, address, &mut Budget::new(Budget::HYPERCALL))
    }

    fn invalid_opcode(&mut self, bytes: &[u8]) -> Emulation {
        self.code(bytes);
        let vcpu = self.vcpu();
        invalid_opcode(&mut self.cpu, &self.domain, &vcpu)
    }

    fn entry(&self) -> u64 {
        self.frames[3].read_u64(VICTIM)
    }

    /// Sets the tested entry to one that maps nothing.
    fn set_entry(&mut self, bits: u64) {
        let table = TypedRef::<L1>::existing(self.frames[3].again()).expect("the table is in use");
        let absent = RawEntry::new(bits & !1);
        let entry = Entry::absent(absent, &mut Anything).expect("everything is admitted");
        drop(table.replace(VICTIM, entry));
    }

    /// Puts an entry into the slot under test by an ordinary update, or one that maps nothing.
    fn restore(&mut self, bits: u64) {
        let raw = RawEntry::new(bits);
        if !raw.is_present() {
            return self.set_entry(bits);
        }
        let table = TypedRef::<L1>::existing(self.frames[3].again()).expect("the table is in use");
        let budget = &mut Budget::new(100);
        let entry = Entry::<L1>::admit(raw, &mut GuestAdmission::of(&self.domain), budget);
        drop(table.replace(VICTIM, entry.expect("the guest's own frame")));
    }

    /// Number of bytes executed since `code`.
    fn advance(&self) -> u64 {
        self.cpu.registers().rip.wrapping_sub(CODE << 12)
    }
}

fn new_frame(domain: &Domain) -> FrameRef {
    let allocation = frames::allocate(domain.id()).expect("a free frame");
    let frame = allocation.reference();
    domain.frames.push(allocation);
    frame
}

fn writable(frame: &FrameRef) -> TypedRef<Writable> {
    TypedRef::acquire(frame.again(), &mut NoEntries, &mut Budget::new(10)).expect("no table yet")
}

/// The registers and flags that an instruction can change.
fn visible(registers: &Registers) -> Vec<u64> {
    let mut all: Vec<_> = (0..16).map(|number| registers::read(registers, number, 8, true)).collect();
    all.extend([registers.rip, registers.rflags, registers.cs, registers.ss]);
    all
}

/// Arbitrary bytes at RIP cause no panic. A completed instruction changes registers, a refused one
/// does not.
#[test]
fn hostile_code() {
    let guest = RefCell::new(Guest::new());
    let opcode = prop::sample::select(&[0u8, 0x0f, 0x48, 0x66, 0xf0, 0xf3, 0x89, 0x87][..]);
    let bytes = (prop::option::of(opcode), prop::collection::vec(any::<u8>(), 1..16)).prop_map(|(first, mut rest)| {
        rest.splice(0..0, first);
        rest
    });
    proptest!(ProptestConfig::with_cases(20_000), |(bytes in bytes, value: u64, kind in 0u8..3)| {
        let guest = &mut *guest.borrow_mut();
        let mut registers = Registers::default();
        for number in 0..16 {
            registers::write(&mut registers, number, 8, true, value.rotate_left(u32::from(number) * 5));
        }
        (registers.rdi, registers.rax) = (entry_address(VICTIM), value);
        (registers.cs, registers.rip) = (u64::from(flat::RING3_CS64), CODE << 12);
        *guest.cpu.registers_mut() = registers;
        let outcome = match kind {
            0 => guest.privileged(&bytes),
            1 => guest.invalid_opcode(&bytes),
            _ => guest.page_table_write(&bytes, entry_address(VICTIM)),
        };
        let after = visible(guest.cpu.registers());
        match outcome {
            Emulation::Done => prop_assert!(guest.advance() <= 15 && after != visible(&registers)),
            Emulation::Refused => prop_assert_eq!(after, visible(&registers)),
            Emulation::Inject { .. } => prop_assert!(guest.advance() <= 15),
            Emulation::Kill(KillReason::AbsentEntryNamesMemory(_)) => prop_assert_eq!(after, visible(&registers)),
            Emulation::Kill(why) => prop_assert!(false, "killed: {}", why),
        }
    });
}
