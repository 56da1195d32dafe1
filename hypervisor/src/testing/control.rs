//! Plays a control domain that makes `domctl`, `sysctl` and `platform_op` calls with almost valid
//! arguments, and acts on page tables, memory and events of other domains, together with a guest.

use std::sync::Arc;
use std::vec::Vec;

use abi::arch_x86_64::VcpuGuestContext;
use abi::domctl::{self, CreateDomain, Domctl, VcpuContext};
use abi::physdev;
use abi::platform::{self, PlatformOp};
use abi::sysctl::{self, Sysctl};
use abi::xen::{DomainId, MmuUpdate, MmuextOp, hypercall, mmuext};
use machine::addr::{GuestVirt, Mfn};
use machine::cpu;
use machine::frames::{self, Budget};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::Tally;
use super::pair::Pair;
use super::play::Recount;
use super::player::{Player, Script};
use crate::domain::{self, Domain, Life};
use crate::lifecycle;
use crate::scheduler;
use crate::vcpu_loop;

/// Offsets of the requests' buffers and of a vCPU's state in the memory for arguments.
const BUFFER: u64 = 1024;
const CONTEXT: u64 = 2048;
/// Excluded from the played commands, because one of the debug keys restarts the machine.
const DEBUG_KEYS: u32 = sysctl::op::DEBUG_KEYS;
/// Limit of the domains that a script creates.
const MAX_DOMAINS: usize = 8;

/// Plays a control domain and a guest according to `bytes`. At the end all domains are destroyed
/// and all frames must be free.
///
/// # Panics
/// If a count is wrong or a frame has leaked.
pub fn control(bytes: &[u8], when: Recount) {
    super::start_machine();
    let free = frames::free_frames();
    let mut script = Script(bytes);
    let mut pair = Pair::with_control();
    let mut players = [pair.player(0, 0), pair.player(1, 0)];
    let control = Arc::clone(&players[0].domain);
    players[1].park();
    while !script.0.is_empty() && !players[0].over {
        match script.byte() % 8 {
            0 => {
                let guest = &mut players[1];
                guest.activate();
                guest.step(&mut script);
                guest.park();
            }
            1 => {
                lifecycle::advance_destruction(&mut Budget::new(Budget::HYPERCALL));
                vcpu_loop::turn(cpu::current());
            }
            _ => players[0].control_step(&mut script),
        }
        if when == Recount::EachStep {
            recount(&players);
        }
    }
    recount(&players);
    let [mut player, guest] = players;
    drop(guest);
    // While its vCPU is loaded, the end of the control domain does not end the host.
    destroy_others(&control);
    player.park();
    drop(player);
    lifecycle::destroy_initial(&control);
    vcpu_loop::turn(cpu::current());
    drop((pair, control));
    lifecycle::forget_all();
    recount(&[]);
    assert_eq!(frames::free_frames(), free, "frames have leaked");
}

/// Compares the frame table with the references of all domains and of the loaded vCPUs.
fn recount(players: &[Player]) {
    let mut tally = Tally::default();
    domain::for_each(|domain| tally.domain(domain));
    // A player still has its guest after that has been destroyed.
    let is_known = |domain: &Arc<Domain>| domain::by_id(domain.id()).is_some_and(|known| Arc::ptr_eq(&known, domain));
    players.iter().filter(|player| !is_known(&player.domain)).for_each(|player| tally.domain(&player.domain));
    players.iter().filter_map(|player| player.cpu.as_ref()).for_each(|cpu| tally.context(cpu.context()));
    if let Err(complaints) = tally.recount() {
        panic!("{complaints}");
    }
}

fn others() -> Vec<Arc<Domain>> {
    let mut others = Vec::new();
    domain::for_each(|domain| {
        if !domain.is_privileged() {
            others.push(Arc::clone(domain));
        }
    });
    others
}

/// Destroys all domains except the control domain, which is paused.
fn destroy_others(control: &Arc<Domain>) {
    scheduler::pause(control);
    lifecycle::withdraw_initial(control);
    others().iter().for_each(lifecycle::begin_destruction);
    for round in 0.. {
        assert!(round < 100_000, "a domain is not destroyed");
        if others().is_empty() {
            break;
        }
        lifecycle::advance_destruction(&mut Budget::new(500));
        vcpu_loop::turn(cpu::current());
    }
}

impl Player {
    fn control_step(&mut self, script: &mut Script<'_>) {
        match script.byte() % 16 {
            0..=5 => self.domctl(script),
            6 | 7 => self.sysctl(script),
            8 | 9 => self.platform(script),
            10 => self.foreign_entry(script),
            11 => self.foreign_pin(script),
            12 => self.others_memory(script),
            13 => self.physdev(script),
            _ => self.step(script),
        }
        self.over |= !matches!(self.domain.life(), Life::Building | Life::Running);
    }

    /// Writes a request to the start of the memory for arguments, and a buffer that the request may
    /// name after it.
    fn put_request<T: IntoBytes + Immutable>(&mut self, request: &T, script: &mut Script<'_>) -> u64 {
        let buffer = script.list(8, |script| self.argument(script));
        if let Some(cpu) = &mut self.cpu {
            let _ = cpu.write(GuestVirt::new(self.scratch + BUFFER), buffer.as_slice());
        }
        self.put(request)
    }

    /// A word of a request.
    fn argument(&self, script: &mut Script<'_>) -> u64 {
        let small = |script: &mut Script<'_>| u64::from(script.byte() % 8);
        match script.byte() % 12 {
            0..=2 => 0,
            3 => small(script),
            4 => small(script) | small(script) << 32,
            5 => script.byte().into(),
            6 => self.frame(script).get(),
            7 | 8 => self.scratch + BUFFER + u64::from(script.byte()) * 4,
            9 => Self::any_page(script),
            10 => script.pick(&[u64::MAX, u32::MAX.into(), 1 << 31, 1 << 32 | 1, 1 << 63, 1 << 20, 4096, 256]),
            _ => script.word(),
        }
    }

    fn arguments(&self, script: &mut Script<'_>) -> [u8; 128] {
        let mut words = [0; 16];
        let count = usize::from(script.byte() % 17);
        words.iter_mut().take(count).for_each(|word| *word = self.argument(script));
        let mut bytes = [0; 128];
        bytes.copy_from_slice(words.as_bytes());
        bytes
    }

    /// A domain that exists, in most cases.
    fn some_domain(&self, script: &mut Script<'_>) -> DomainId {
        let others = others();
        match script.byte() {
            byte @ 0..200 if !others.is_empty() => others[usize::from(byte) % others.len()].id(),
            200..240 => script.pick(&self.domains),
            byte => DomainId(byte.into()),
        }
    }

    fn command(script: &mut Script<'_>, names: &[(&str, u32)]) -> u32 {
        match script.byte() {
            255 => script.word() as u32,
            byte => names[usize::from(byte) % names.len()].1,
        }
    }

    fn domctl(&mut self, script: &mut Script<'_>) {
        let mut request = Domctl::new_zeroed();
        request.interface_version = domctl::interface::VERSION;
        request.command = match script.byte() % 4 {
            0 if others().len() < MAX_DOMAINS => domctl::op::CREATEDOMAIN,
            1 => domctl::op::SETVCPUCONTEXT,
            _ => Self::command(script, domctl::op::NAMES),
        };
        request.domain = self.some_domain(script);
        request.argument = self.arguments(script);
        match request.command {
            domctl::op::CREATEDOMAIN => self.create(&mut request, script),
            domctl::op::SETVCPUCONTEXT => self.set_context(&mut request, script),
            _ => {}
        }
        let at = self.put_request(&request, script);
        self.call(hypercall::DOMCTL, [at, 0, 0, 0, 0, 0]);
    }

    /// Arguments that `createdomain` accepts, with at most one field from the script.
    fn create(&self, request: &mut Domctl, script: &mut Script<'_>) {
        let mut wanted = CreateDomain::new_zeroed();
        wanted.max_vcpus = 1 + u32::from(script.byte() % 3);
        wanted.max_event_channel_port = script.pick(&[1023, 0, u32::MAX]);
        (wanted.max_grant_frames, wanted.max_maptrack_frames) =
            (script.pick(&[4, 64, -1]), script.pick(&[4, 1024, -1]));
        wanted.grant_options = 1;
        let bytes = wanted.as_mut_bytes();
        if script.byte().is_multiple_of(8) {
            let at = usize::from(script.byte()) % bytes.len();
            bytes[at] = script.byte();
        }
        request.argument[..bytes.len()].copy_from_slice(bytes);
        request.domain = DomainId(script.pick(&[0, 0, 0, 40, 41, 0x7ff0, 0x7fef, u16::MAX]));
    }

    /// The state of a vCPU, with frames of some domain.
    fn set_context(&mut self, request: &mut Domctl, script: &mut Script<'_>) {
        let state = self.vcpu_state(script);
        if let Some(cpu) = &mut self.cpu {
            let _ = cpu.write(GuestVirt::new(self.scratch + CONTEXT), &state);
        }
        let vcpu = u32::from(script.byte() % 3);
        let context = VcpuContext { vcpu, _pad: 0, context: self.scratch + CONTEXT };
        request.argument[..size_of::<VcpuContext>()].copy_from_slice(context.as_bytes());
    }

    fn vcpu_state(&self, script: &mut Script<'_>) -> VcpuGuestContext {
        let mut state = VcpuGuestContext::new_zeroed();
        let cr3 = |mfn: Mfn| (mfn.get() << 12 | mfn.get() >> 20) & 0xffff_ffff;
        state.flags = script.pick(&[4, 4, 0, 2, 6, 7]);
        state.control_registers[3] = cr3(self.frame(script));
        if script.byte().is_multiple_of(2) {
            state.control_registers[1] = cr3(self.frame(script));
        }
        state.gdt_frames[0] = self.frame(script).get();
        state.gdt_entries = script.pick(&[0, 0, 512, 513, u64::MAX]);
        state
    }

    fn sysctl(&mut self, script: &mut Script<'_>) {
        let mut request = Sysctl::new_zeroed();
        request.interface_version = sysctl::interface::VERSION;
        request.command = Self::command(script, sysctl::op::NAMES);
        request.argument = self.arguments(script);
        if request.command == DEBUG_KEYS {
            return;
        }
        let at = self.put_request(&request, script);
        self.call(hypercall::SYSCTL, [at, 0, 0, 0, 0, 0]);
    }

    fn platform(&mut self, script: &mut Script<'_>) {
        let mut request = PlatformOp::new_zeroed();
        request.interface_version = platform::interface::VERSION;
        request.command = Self::command(script, platform::op::NAMES);
        request.argument = self.arguments(script);
        let at = self.put_request(&request, script);
        self.call(hypercall::PLATFORM_OP, [at, 0, 0, 0, 0, 0]);
    }

    fn physdev(&mut self, script: &mut Script<'_>) {
        let command = Self::command(script, physdev::op::NAMES);
        // The host keeps this page permanently, even after the played control domain has ended.
        if matches!(command, physdev::op::PIRQ_EOI_GMFN_V1 | physdev::op::PIRQ_EOI_GMFN_V2) {
            return;
        }
        let arguments = self.arguments(script);
        let at = self.put_request(&arguments, script);
        self.call(hypercall::PHYSDEV_OP, [command.into(), at, 0, 0, 0, 0]);
    }

    /// Maps a frame of another domain, or changes its page tables.
    fn foreign_entry(&mut self, script: &mut Script<'_>) {
        let owner = self.some_domain(script);
        if script.byte().is_multiple_of(2) {
            let page = Self::any_page(script);
            let entry = self.entry(script);
            let arguments = [page, entry, script.pick(&[0, 1, 2, 6]), owner.0.into(), 0, 0];
            return self.call(hypercall::UPDATE_VA_MAPPING_OTHERDOMAIN, arguments);
        }
        let list = script.list(4, |script| {
            let pointer = self.frame(script).get() << 12 | Self::index(script) << 3 | script.pick(&[0, 0, 2, 1]);
            MmuUpdate { pointer, value: self.entry(script) }
        });
        let at = self.put(list.as_slice());
        let tables = self.some_domain(script);
        let whose = match script.byte() % 4 {
            0 => u64::from(owner.0) | u64::from(tables.0 + 1) << 16,
            1 => u64::from(script.pick(&[DomainId::IO.0, DomainId::XEN.0])),
            _ => owner.0.into(),
        };
        self.call(hypercall::MMU_UPDATE, [at, list.len() as u64, 0, whose, 0, 0]);
    }

    /// Pins page tables of another domain, like a domain builder.
    fn foreign_pin(&mut self, script: &mut Script<'_>) {
        const COMMANDS: [u32; 6] = [
            mmuext::PIN_L1_TABLE,
            mmuext::PIN_L2_TABLE,
            mmuext::PIN_L3_TABLE,
            mmuext::PIN_L4_TABLE,
            mmuext::UNPIN_TABLE,
            mmuext::CLEAR_PAGE,
        ];
        let list = script.list(4, |script| MmuextOp {
            command: script.pick(&COMMANDS),
            _pad: 0,
            argument1: self.frame(script).get(),
            argument2: self.frame(script).get(),
        });
        let at = self.put(list.as_slice());
        let owner = self.some_domain(script);
        self.call(hypercall::MMUEXT_OP, [at, list.len() as u64, 0, owner.0.into(), 0, 0]);
    }

    /// Adds memory to another domain or removes it. New frames are used in later steps.
    fn others_memory(&mut self, script: &mut Script<'_>) {
        use abi::memory::{Reservation, op};

        let command = Self::command(script, &op::NAMES[..op::NAMES.len().min(20)]);
        let domain = self.some_domain(script);
        // A new domain may not own memory until its limit is set.
        let mut request = Domctl::new_zeroed();
        (request.command, request.interface_version) = (domctl::op::MAX_MEM, domctl::interface::VERSION);
        request.domain = domain;
        request.argument[..8].copy_from_slice(1024_u64.as_bytes());
        let at = self.put(&request);
        self.call(hypercall::DOMCTL, [at, 0, 0, 0, 0, 0]);
        let list = script.list(4, |script| self.frame(script).get());
        if let Some(cpu) = &mut self.cpu {
            let _ = cpu.write(GuestVirt::new(self.scratch + BUFFER), list.as_slice());
        }
        let reservation = Reservation {
            extent_start: self.scratch + BUFFER,
            extent_count: list.len() as u64,
            extent_order: script.pick(&[0, 0, 0, 1, 9]),
            memory_flags: script.pick(&[0, 0, 0, 32, 1 << 16, u32::MAX]),
            domain,
            _pad: [0; 6],
        };
        let at = self.put(&reservation);
        self.call(hypercall::MEMORY_OP, [command.into(), at, 0, 0, 0, 0]);
        for index in 0..list.len() as u64 {
            let Some(cpu) = &mut self.cpu else { return };
            if let Ok(number) = cpu.read::<u64>(GuestVirt::new(self.scratch + BUFFER + index * 8)) {
                self.frames.push(Mfn::new(number));
            }
        }
    }
}
