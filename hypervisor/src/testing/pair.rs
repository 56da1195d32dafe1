//! The two played guests, from creation to the release of their last frame, and the recount.

use std::string::String;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::vec::Vec;

use abi::xen::DomainId;
use machine::addr::{Mfn, Pfn};
use machine::context::Active;
use machine::frames::{self, Budget, FrameRef};
use machine::hosted::tlb::{self, Translation};

use super::player::Player;
use super::{Guest, Tally};
use crate::domain::{self, Domain, EndReason, VcpuId};
use crate::grant_table::GrantRef;
use crate::lifecycle;

/// Number of pages of each guest.
const PAGES: usize = 24;
/// The first grants of each guest, made before it runs: for itself and for the other guest, one for
/// each of the first pages.
pub(super) const FIRST_GRANT: u32 = 8;
pub(super) const GRANTS: u32 = 8;

/// Two guests, each with grants for itself and the other.
pub(super) struct Pair {
    guests: [Guest; 2],
}

impl Pair {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let id = domain_number(NEXT.fetch_add(2, Ordering::Relaxed));
        Self::of([Guest::new(id, PAGES), Guest::new(id + 1, PAGES)])
    }

    /// The same guests, with or without split roots.
    pub(super) fn with_split_roots(mut self, split_roots: bool) -> Self {
        self.guests.iter_mut().for_each(|guest| guest.set_split_roots(split_roots));
        self
    }

    /// A control domain and a guest.
    pub(super) fn with_control() -> Self {
        Self::of([Guest::privileged(0, PAGES), Guest::new(16, PAGES)])
    }

    fn of(guests: [Guest; 2]) -> Self {
        for guest in &guests {
            for (number, mfn) in (0..).zip(guest.tables.iter().chain(&guest.pages)) {
                frames::set_number(*mfn, Pfn::new(number));
            }
            for index in 0..GRANTS {
                let to = guests[index as usize % 2].domain.id();
                let frame = guest.mfn(index as usize + 2);
                assert!(guest.domain.grants.seed(GrantRef::new(FIRST_GRANT + index), to, frame));
            }
        }
        Self { guests }
    }

    /// Creates the player of a guest's vCPU 0, which is unloaded from the guest. Its arguments are
    /// in the pages `scratch` and `scratch + 1`.
    pub(super) fn player(&mut self, guest: usize, scratch: usize) -> Player {
        let cpu = self.guests[guest].cpu.take();
        self.player_of(guest, VcpuId::BOOT, cpu, scratch)
    }

    pub(super) fn domains(&self) -> [Arc<Domain>; 2] {
        [0, 1].map(|index: usize| Arc::clone(&self.guests[index].domain))
    }

    pub(super) fn player_of(&self, guest: usize, vcpu: VcpuId, cpu: Option<Active>, scratch: usize) -> Player {
        let (own, peer) = (&self.guests[guest], &self.guests[1 - guest]);
        let shared_info = own.domain.shared_info().frame().mfn();
        let own_frames = own.tables.iter().chain(&own.pages).chain(&own.tables).chain(&own.pages[4..]);
        let others = [shared_info, peer.pages[3], peer.tables[0], Mfn::new(0), Mfn::new(4095), Mfn::new(4096)];
        let frames = own_frames.chain(&others).copied().chain([Mfn::new(u64::MAX >> 12)]).collect();
        Player {
            domain: Arc::clone(&own.domain),
            vcpu: Arc::clone(own.domain.vcpu(vcpu).expect("a vCPU")),
            cpu,
            over: false,
            scratch: Player::page(scratch),
            frames,
            domains: [own.domain.id(), peer.domain.id(), DomainId::SELF, DomainId(0)],
        }
    }
}

/// The id of a played domain. It is never a reserved id or that of the keeper.
const fn domain_number(turn: u16) -> u16 {
    16 + turn % (DomainId::FIRST_RESERVED.0 - 32) / 2 * 2
}

/// Compares the frame table with the references of `players` and their domains.
pub(super) fn recount(domains: &[Arc<Domain>], players: &[Player]) {
    let mut tally = Tally::default();
    tally.domain(&keeper());
    domains.iter().for_each(|domain| tally.domain(domain));
    players.iter().filter_map(|player| player.cpu.as_ref()).for_each(|cpu| tally.context(cpu.context()));
    if let Err(complaints) = tally.recount() {
        panic!("{complaints}");
    }
    domains.iter().for_each(|domain| check_translations_of_grants(domain));
}

/// Checks GT-2: a pCPU that runs the domain has a translation of another domain's frame only while
/// a mapping of the domain holds a grant of the frame.
fn check_translations_of_grants(domain: &Domain) {
    for translation in tlb::translations() {
        let Translation { holder, frame, writable, .. } = translation;
        let is_foreign = FrameRef::get_any(frame).is_some_and(|frame| frame.owner() != holder);
        let is_granted = holder != domain.id() || !is_foreign || domain.grants.permits(frame, writable);
        assert!(is_granted, "{translation:?} is left of a grant that has been released");
    }
}

/// Destroys the domains of the players.
pub(super) fn destroy(pair: Pair, mut players: Vec<Player>) {
    players.iter_mut().for_each(Player::park);
    drop(players);
    let domains = pair.domains();
    for domain in &domains {
        lifecycle::end(domain, EndReason::Poweroff);
    }
    let gone = |domain: &Arc<Domain>| domain::by_id(domain.id()).is_none();
    for _ in 0..100_000 {
        if domains.iter().all(gone) {
            break;
        }
        lifecycle::advance_destruction(&mut Budget::new(500));
    }
    assert!(domains.iter().all(gone), "a domain is not destroyed");
    drop(pair);
}

/// The number of free frames while no guest exists.
pub(super) fn free_frames() -> u64 {
    super::start_machine();
    keeper();
    frames::free_frames()
}

/// Checks that as many frames are free as before the guests were created.
pub(super) fn all_is_back(free: u64) {
    recount(&[], &[]);
    assert_eq!(free_frames(), free, "frames have leaked");
}

/// A domain that prevents the host from being switched off after its last guest.
fn keeper() -> Arc<Domain> {
    static KEEPER: OnceLock<Arc<Domain>> = OnceLock::new();
    Arc::clone(KEEPER.get_or_init(|| {
        let settings = domain::Settings {
            name: String::from("keeper"),
            privileged: false,
            vcpus: 1,
            max_frames: 1,
            weight: 256,
            cap: 0,
        };
        let keeper = Domain::new(DomainId(9), settings).expect("memory for a domain");
        domain::add(&keeper);
        keeper
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_ids_wrap_without_using_the_keepers() {
        for turn in (0..u16::MAX).step_by(2) {
            let number = domain_number(turn);
            assert!(
                number.is_multiple_of(2) && (16..DomainId::FIRST_RESERVED.0 - 1).contains(&number),
                "{turn}: {number}"
            );
        }
        assert_eq!(domain_number(u16::MAX - 1), domain_number((u16::MAX - 1) % (DomainId::FIRST_RESERVED.0 - 32)));
    }
}
