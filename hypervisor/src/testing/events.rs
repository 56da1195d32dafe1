//! Plays two guests that mainly use event channels: ports, and control blocks and event words of
//! the FIFO ABI, which they also write to directly.

use abi::event_channel::{Status, op, status};
use abi::vcpu::RegisterVcpuInfo;
use abi::xen::{DomainId, hypercall};
use machine::addr::GuestVirt;
use zerocopy::FromZeros;

use super::pair::{Pair, all_is_back, destroy, free_frames, recount};
use super::play::Recount;
use super::player::{Player, Script};

/// Pages for control blocks and event words, unless the script selects others.
const CONTROL: [usize; 2] = [12, 13];
const WORDS: [usize; 3] = [14, 15, 16];
/// Number of ports that are checked at the end.
const LOOKED_AT: u32 = 64;

/// Plays two guests according to `bytes`. At the end the connections of both must be consistent
/// (EC-1), and all frames must be free.
///
/// # Panics
/// If the connections are inconsistent, a count is wrong or a frame has leaked.
pub fn events(bytes: &[u8], when: Recount) {
    let free = free_frames();
    let mut script = Script(bytes);
    let mut pair = Pair::new();
    let mut players = std::vec![pair.player(0, 0), pair.player(1, 0)];
    let domains = pair.domains();
    while !script.0.is_empty() && !players[0].over {
        let who = usize::from(script.byte().is_multiple_of(4) && !players[1].over);
        match script.byte() {
            255 => players[who].step(&mut script),
            choice => players[who].event_step(choice, &mut script),
        }
        if when == Recount::EachStep {
            recount(&domains, &players);
        }
    }
    if !players.iter().any(|player| player.over) {
        check_connections(&mut players);
    }
    recount(&domains, &players);
    drop(domains);
    destroy(pair, players);
    all_is_back(free);
}

/// EC-1: if a port is connected to a second one, then the second one is connected to the first.
fn check_connections(players: &mut [Player]) {
    for who in 0..2 {
        for port in 1..LOOKED_AT {
            let Some(found) = players[who].port(port).filter(|found| found.status == status::INTERDOMAIN) else {
                continue;
            };
            let (own, peer) = (players[who].domain.id(), players[1 - who].domain.id());
            let other = if found.bound_to == u32::from(own.0) { who } else { 1 - who };
            assert!(found.bound_to == u32::from(own.0) || found.bound_to == u32::from(peer.0), "{port}: {found:?}");
            let back = players[other].port(found.remote_port);
            let agrees = |back: &Status| {
                (back.status, back.bound_to, back.remote_port) == (status::INTERDOMAIN, own.0.into(), port)
            };
            assert!(back.as_ref().is_some_and(agrees), "port {port} of {own:?}: {found:?}, but the peer has {back:?}");
        }
    }
}

impl Player {
    fn port(&mut self, port: u32) -> Option<Status> {
        let mut request = Status::new_zeroed();
        (request.domain, request.port) = (DomainId::SELF, port);
        let at = self.put(&request);
        self.call(hypercall::EVENT_CHANNEL_OP, [op::STATUS.into(), at, 0, 0, 0, 0]);
        let cpu = self.cpu.as_ref()?;
        (cpu.registers().rax == 0).then(|| cpu.read(GuestVirt::new(at)).ok())?
    }

    /// Makes one step with event channels.
    fn event_step(&mut self, choice: u8, script: &mut Script<'_>) {
        let (command, words) = match choice % 24 {
            0..=2 => (op::ALLOC_UNBOUND, [self.domain_of(script) | self.domain_of(script) << 16, 0, 0, 0]),
            3..=6 => (op::BIND_INTERDOMAIN, [self.domain_of(script), Self::port_of(script), 0, 0]),
            7 => (op::BIND_VIRQ, [u32::from(script.byte() % 24), Self::vcpu_of(script), 0, 0]),
            8 => (op::BIND_IPI, [Self::vcpu_of(script), 0, 0, 0]),
            9 | 10 => (op::CLOSE, [Self::port_of(script), 0, 0, 0]),
            11..=13 => (op::SEND, [Self::port_of(script), 0, 0, 0]),
            14 => (op::BIND_VCPU, [Self::port_of(script), Self::vcpu_of(script), 0, 0]),
            15 => (op::UNMASK, [Self::port_of(script), 0, 0, 0]),
            16 => (op::SET_PRIORITY, [Self::port_of(script), u32::from(script.byte() % 17), 0, 0]),
            17 => (op::RESET, [self.domain_of(script), 0, 0, 0]),
            18 => {
                let [low, high] = self.frame_of(&CONTROL, script);
                let offset = script.pick(&[0, 64, 72, 4024, 4032, 4, 4096, u32::MAX]);
                (op::INIT_CONTROL, [low, high, offset, Self::vcpu_of(script)])
            }
            19 => {
                let [low, high] = self.frame_of(&WORDS, script);
                (op::EXPAND_ARRAY, [low, high, 0, 0])
            }
            20..=22 => return self.write_word(script),
            _ => return self.move_info(script),
        };
        let at = self.put(&words);
        self.call(hypercall::EVENT_CHANNEL_OP, [command.into(), at, 0, 0, 0, 0]);
    }

    /// Writes to a control block, an event word, or the vCPU information in the shared page.
    fn write_word(&mut self, script: &mut Script<'_>) {
        let page = script.pick(&[CONTROL[0], CONTROL[1], WORDS[0], WORDS[0], WORDS[0], WORDS[1]]);
        let index = script.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 17, 18, 1023, script.0.len() as u64 % 1024]);
        let flags = u32::from(script.byte() & 0xf) << 28;
        let value = flags | script.pick(&[0, 1, 2, 3, 4, 5, 1024, 4095, 0x1_ffff, 0xfff_ffff]);
        if let Some(cpu) = &mut self.cpu {
            let _ = cpu.write(GuestVirt::new(Self::page(page) + index * 4), &value);
        }
    }

    /// Registers another location of a vCPU's information.
    fn move_info(&mut self, script: &mut Script<'_>) {
        let [low, high] = self.frame_of(&[17], script);
        let mfn = u64::from(low) | u64::from(high) << 32;
        let place = RegisterVcpuInfo { mfn, offset: script.pick(&[0, 64, 4032, 4033]), reserved: 0 };
        let at = self.put(&place);
        let operation = abi::vcpu::op::REGISTER_VCPU_INFO;
        self.call(hypercall::VCPU_OP, [operation.into(), Self::vcpu_of(script).into(), at, 0, 0, 0]);
    }

    fn domain_of(&self, script: &mut Script<'_>) -> u32 {
        script.pick(&self.domains).0.into()
    }

    fn port_of(script: &mut Script<'_>) -> u32 {
        match script.byte() {
            byte @ 0..240 => u32::from(byte % 16),
            byte => [1023, 1024, 4095, 4096, 131_071, 131_072, u32::MAX, 64][usize::from(byte % 8)],
        }
    }

    fn vcpu_of(script: &mut Script<'_>) -> u32 {
        script.pick(&[0, 0, 0, 1, 1, 2, 31, u32::MAX])
    }

    /// The frame of one of these pages, or any frame.
    fn frame_of(&self, pages: &[usize], script: &mut Script<'_>) -> [u32; 2] {
        let mfn = match script.byte() {
            byte @ 0..224 => self.frame_of_page(pages[usize::from(byte) % pages.len()]),
            _ => self.frame(script),
        };
        [mfn.get() as u32, (mfn.get() >> 32) as u32]
    }
}
