//! Plays guests that make hypercalls according to a string of bytes. Property tests use random
//! bytes, fuzz targets use evolved ones.

use abi::arch_x86_64::VcpuGuestContext;
use abi::grant_table::{CopyPointer, GrantCopy, MapGrantRef, SetupTable, Transfer, UnmapGrantRef, map_flags};
use abi::memory::{Exchange, Reservation};
use abi::vcpu::RegisterVcpuInfo;
use abi::xen::{DomainId, MmuUpdate, MmuextOp, MulticallEntry, hypercall, mmuext};
use machine::addr::{GuestVirt, Mfn};
use machine::hosted::tlb;
use zerocopy::FromZeros;

use super::migration::Migration;
use super::pair::{FIRST_GRANT, GRANTS, Pair, all_is_back, destroy, free_frames, recount};
use super::player::{Player, Script};
use crate::domain::Life;

impl Player {
    /// Makes one step.
    pub(super) fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 20 {
            0..=2 => self.mmu_update(script),
            3..=5 => self.update_va_mapping(script),
            6..=9 => self.mmuext(script),
            10 | 11 => self.memory(script),
            12 => self.descriptors(script),
            13 | 14 => self.grants(script),
            15 => self.events(script),
            16 => self.vcpus(script),
            17 => self.poke(script),
            18 => self.multicall(script),
            _ => self.anything(script),
        }
        self.over |= !matches!(self.domain.life(), Life::Building | Life::Running);
    }

    fn mmu_update(&mut self, script: &mut Script<'_>) {
        let list = script.list(6, |script| {
            let pointer = self.frame(script).get() << 12 | Self::index(script) << 3 | script.pick(&[0, 0, 0, 2, 1, 3]);
            MmuUpdate { pointer, value: self.entry(script) }
        });
        let at = self.put(list.as_slice());
        let domain = script.pick(&[0x7ff0, 0x7ff0, 0x7ff0, u64::from(self.domains[1].0), 0]);
        self.call(hypercall::MMU_UPDATE, [at, list.len() as u64, 0, domain, 0, 0]);
    }

    fn update_va_mapping(&mut self, script: &mut Script<'_>) {
        let page = Self::any_page(script);
        let entry = self.entry(script);
        let flush = script.pick(&[0, 1, 2, 5, 6, script.0.len() as u64]);
        self.call(hypercall::UPDATE_VA_MAPPING, [page, entry, flush, 0x7ff0, 0, 0]);
    }

    fn mmuext(&mut self, script: &mut Script<'_>) {
        const COMMANDS: [u32; 24] = [
            mmuext::PIN_L1_TABLE,
            mmuext::PIN_L2_TABLE,
            mmuext::PIN_L3_TABLE,
            mmuext::PIN_L4_TABLE,
            mmuext::UNPIN_TABLE,
            mmuext::UNPIN_TABLE,
            mmuext::UNPIN_TABLE,
            mmuext::NEW_USER_BASEPTR,
            mmuext::NEW_USER_BASEPTR,
            mmuext::NEW_BASEPTR,
            mmuext::TLB_FLUSH_LOCAL,
            mmuext::INVLPG_LOCAL,
            mmuext::TLB_FLUSH_ALL,
            mmuext::INVLPG_ALL,
            mmuext::SET_LDT,
            mmuext::CLEAR_PAGE,
            mmuext::CLEAR_PAGE,
            mmuext::COPY_PAGE,
            mmuext::COPY_PAGE,
            mmuext::PIN_L1_TABLE,
            mmuext::PIN_L4_TABLE,
            mmuext::MARK_SUPER,
            mmuext::PIN_L3_TABLE,
            99,
        ];
        let list = script.list(5, |script| MmuextOp {
            command: script.pick(&COMMANDS),
            _pad: 0,
            argument1: self.frame(script).get(),
            argument2: self.frame(script).get(),
        });
        let at = self.put(list.as_slice());
        self.call(hypercall::MMUEXT_OP, [at, list.len() as u64, 0, 0x7ff0, 0, 0]);
    }

    fn memory(&mut self, script: &mut Script<'_>) {
        use abi::memory::op;

        let command =
            script.pick(&[op::DECREASE_RESERVATION, op::INCREASE_RESERVATION, op::POPULATE_PHYSMAP, op::EXCHANGE]);
        let given = script.list(4, |script| self.frame(script).get());
        let at = self.scratch + 512;
        let reservation = |list: u64, count: usize, order: u32| Reservation {
            extent_start: list,
            extent_count: count as u64,
            extent_order: order,
            memory_flags: 0,
            domain: DomainId::SELF,
            _pad: [0; 6],
        };
        if let Some(cpu) = &mut self.cpu {
            let _ = cpu.write(GuestVirt::new(at), given.as_slice());
        }
        let order = script.pick(&[0, 0, 0, 0, 1, 2, 9, 40]);
        let argument = if command == op::EXCHANGE {
            let exchange = Exchange {
                input: reservation(at, given.len(), 0),
                output: reservation(at + 256, given.len() >> order, order),
                exchanged_count: 0,
            };
            self.put(&exchange)
        } else {
            self.put(&reservation(at, given.len(), order))
        };
        self.call(hypercall::MEMORY_OP, [command.into(), argument, 0, 0, 0, 0]);
        // New frames are used in later steps.
        for index in 0..given.len() as u64 {
            let Some(cpu) = &mut self.cpu else { return };
            let offset = if command == op::EXCHANGE { 256 } else { 0 };
            if let Ok(number) = cpu.read::<u64>(GuestVirt::new(at + offset + index * 8)) {
                self.frames.push(Mfn::new(number));
            }
        }
    }

    fn descriptors(&mut self, script: &mut Script<'_>) {
        if script.byte().is_multiple_of(2) {
            let frames = script.list(4, |script| self.frame(script).get());
            let at = self.put(frames.as_slice());
            let entries = script.pick(&[512, 1, 1024, 2048, 7168, 8192]);
            self.call(hypercall::SET_GDT, [at, entries, 0, 0, 0, 0]);
        } else {
            let address = self.frame(script).get() << 12 | Self::index(script) << 3;
            let descriptor = script.pick(&[0, 0x00cf_fb00_0000_ffff, 0x00cf_9b00_0000_ffff, script.0.len() as u64]);
            self.call(hypercall::UPDATE_DESCRIPTOR, [address, descriptor, 0, 0, 0, 0]);
        }
    }

    fn grants(&mut self, script: &mut Script<'_>) {
        use abi::grant_table::op;

        let reference = FIRST_GRANT + u32::from(script.byte()) % (2 * GRANTS + 2);
        let peer = script.pick(&self.domains);
        let page = Self::any_page(script);
        let (command, argument) = match script.byte() % 8 {
            0..=2 => {
                let mut map = MapGrantRef::new_zeroed();
                map.flags = script.pick(&[
                    map_flags::HOST_MAP,
                    map_flags::HOST_MAP | map_flags::READONLY,
                    map_flags::HOST_MAP | map_flags::CONTAINS_PTE,
                    map_flags::DEVICE_MAP,
                    map_flags::HOST_MAP | map_flags::DEVICE_MAP,
                ]);
                let by_entry = map.flags & map_flags::CONTAINS_PTE != 0;
                map.host_address =
                    if by_entry { self.frame(script).get() << 12 | Self::index(script) << 3 } else { page };
                (map.reference, map.domain) = (reference, peer);
                (op::MAP_GRANT_REF, self.put(&map))
            }
            3 | 4 => {
                let mut unmap = UnmapGrantRef::new_zeroed();
                (unmap.host_address, unmap.handle) = (page, u32::from(script.byte() % 8));
                (op::UNMAP_GRANT_REF, self.put(&unmap))
            }
            5 => {
                let side = |script: &mut Script<'_>, grant: bool| CopyPointer {
                    reference_or_frame: if grant { reference.into() } else { self.frame(script).get() },
                    domain: if grant { peer } else { DomainId::SELF },
                    offset: script.pick(&[0, 8, 4095]),
                    _pad: 0,
                };
                let flags = script.byte() % 4;
                let copy = GrantCopy {
                    source: side(script, flags & 1 != 0),
                    destination: side(script, flags & 2 != 0),
                    length: script.pick(&[8, 4096, 1, 0]),
                    flags: flags.into(),
                    status: 0,
                    _pad: 0,
                };
                (op::COPY, self.put(&copy))
            }
            6 => {
                let mut transfer = Transfer::new_zeroed();
                (transfer.mfn, transfer.domain) = (self.frame(script).get(), peer);
                transfer.reference = reference;
                (op::TRANSFER, self.put(&transfer))
            }
            _ => {
                let mut setup = SetupTable::new_zeroed();
                (setup.domain, setup.frame_count) = (DomainId::SELF, u32::from(script.byte() % 4));
                setup.frame_list = self.scratch + 512;
                (op::SETUP_TABLE, self.put(&setup))
            }
        };
        self.call(hypercall::GRANT_TABLE_OP, [command.into(), argument, 1, 0, 0, 0]);
    }

    fn events(&mut self, script: &mut Script<'_>) {
        let command = u64::from(script.byte() % 16);
        let small = |script: &mut Script<'_>| u64::from(script.byte() % 8);
        let first = match script.byte() % 3 {
            0 => self.frame(script).get(),
            1 => u64::from(script.pick(&self.domains).0) | u64::from(script.pick(&self.domains).0) << 16,
            _ => small(script) | small(script) << 32,
        };
        let words = [first, small(script) << 32 | script.pick(&[0, 64, 1, 2, 4032]), 0, 0];
        let at = self.put(&words);
        self.call(hypercall::EVENT_CHANNEL_OP, [command, at, 0, 0, 0, 0]);
    }

    fn vcpus(&mut self, script: &mut Script<'_>) {
        use abi::vcpu::op;

        let vcpu = u64::from(script.byte() % 3);
        let (command, argument) = match script.byte() % 4 {
            0 | 1 => {
                let offset = script.pick(&[0, 64, 4032, 4033, 4, 8]);
                let place = RegisterVcpuInfo { mfn: self.frame(script).get(), offset, reserved: 0 };
                (op::REGISTER_VCPU_INFO, self.put(&place))
            }
            2 => {
                let mut state = VcpuGuestContext::new_zeroed();
                state.flags = script.pick(&[4, 4, 0, 2]);
                let cr3 = |mfn: Mfn| (mfn.get() << 12 | mfn.get() >> 20) & 0xffff_ffff;
                state.control_registers[3] = cr3(self.frame(script));
                if script.byte().is_multiple_of(2) {
                    state.control_registers[1] = cr3(self.frame(script));
                }
                for frame in &mut state.gdt_frames {
                    *frame = self.frame(script).get();
                }
                state.gdt_entries = script.pick(&[0, 0, 512, 1024]);
                (op::INITIALISE, self.put(&state))
            }
            _ => (u32::from(script.byte() % 16), self.scratch),
        };
        self.call(hypercall::VCPU_OP, [command.into(), vcpu, argument, 0, 0, 0]);
    }

    /// Writes to a page directly, in most cases the contents of a future page table.
    fn poke(&mut self, script: &mut Script<'_>) {
        let page = Self::any_page(script);
        for _ in 0..=script.byte() % 4 {
            let (index, entry) = (Self::index(script), self.entry(script));
            if let Some(cpu) = &mut self.cpu {
                let _ = cpu.write(GuestVirt::new(page + index * 8), &entry);
            }
        }
    }

    fn multicall(&mut self, script: &mut Script<'_>) {
        let calls = script.list(4, |script| {
            let (operation, arguments) = match script.byte() % 3 {
                0 => {
                    let page = Self::any_page(script);
                    (hypercall::UPDATE_VA_MAPPING, [page, self.entry(script), 0, 0, 0, 0])
                }
                1 => (hypercall::SCHED_OP, [0; 6]),
                _ => self.any_call(script),
            };
            MulticallEntry { operation: operation.into(), result: 0, arguments }
        });
        let at = self.put(calls.as_slice());
        self.call(hypercall::MULTICALL, [at, calls.len() as u64, 0, 0, 0, 0]);
    }

    fn any_call(&self, script: &mut Script<'_>) -> (u32, [u64; 6]) {
        let number = script.byte() % 48;
        let arguments = [(); 6].map(|()| match script.byte() % 6 {
            0 => 0,
            1 => u64::from(script.byte() % 16),
            2 => self.scratch + u64::from(script.byte()) * 8,
            3 => self.frame(script).get(),
            4 => 0x7ff0,
            _ => script.word(),
        });
        (number.into(), arguments)
    }

    fn anything(&mut self, script: &mut Script<'_>) {
        let (number, arguments) = self.any_call(script);
        self.call(number, arguments);
    }

    /// Plays until the script or the player ends.
    pub(super) fn play(&mut self, script: &mut Script<'_>) {
        while !script.0.is_empty() && !self.over {
            self.step(script);
        }
    }
}

/// When the frame table is recounted. It is always recounted at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recount {
    /// After each step. This is slow, but reports the step that caused an error.
    EachStep,
    /// Only at the end of the script.
    AtEnd,
}

/// Plays two guests according to `bytes`, then checks the frame table, and that all frames are free
/// once both guests are gone.
///
/// # Panics
/// If a count is wrong or a frame has leaked.
pub fn play(bytes: &[u8], when: Recount) {
    let free = free_frames();
    let mut script = Script(bytes);
    tlb::seed(bytes.len() as u64);
    while !script.0.is_empty() {
        let mut pair = Pair::new().with_split_roots(script.byte().is_multiple_of(2));
        let mut players = std::vec![pair.player(0, 0), pair.player(1, 0)];
        let domains = pair.domains();
        let mut loaded = 0;
        players[1].park();
        let mut migration: Option<Migration> = None;
        while !script.0.is_empty() && !players[0].over {
            let who = usize::from(script.byte().is_multiple_of(4) && !players[1].over);
            if who != loaded {
                players[loaded].park();
                match (script.byte() % 4, migration.take()) {
                    (0, Some(migration)) => migration.finish(),
                    (0, None) => migration = Some(Migration::begin(&domains[loaded])),
                    (_, other) => migration = other,
                }
                players[who].activate();
                loaded = who;
            }
            players[who].step(&mut script);
            if let Some(migration) = &mut migration
                && script.byte().is_multiple_of(8)
            {
                migration.round(false);
            }
            if when == Recount::EachStep {
                recount(&domains, &players);
            }
        }
        recount(&domains, &players);
        if let Some(migration) = migration {
            players.iter_mut().for_each(Player::park);
            migration.finish();
        }
        drop(domains);
        destroy(pair, players);
    }
    all_is_back(free);
}
