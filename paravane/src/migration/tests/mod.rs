//! Either process ends before and after each of its effects, the link is cut at each message, and
//! commands that resolve the migration end like this too: the guest never runs twice and is never
//! lost, and commands that are let finish leave exactly one, which runs.

mod wire;
mod world;

use std::cell::Cell;
use std::path::Path;
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::records::{Records, SourceRecord, SourceState, TargetRecord};
use super::resolve::{Resolution, at_source, at_target};
use super::source::{Failure, Sender};
use super::target::Receiver;
use super::{Guest, Moved, Options, Report};
use crate::link::transport::Transport;
use crate::link::{Hello, Link, PROTOCOL};
use world::{Copy, Host, ID, Shared, World, begin, locked};

/// What goes wrong in a command: steps after which a process ends, messages after which the link is
/// cut.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    source: Option<u32>,
    target: Option<u32>,
    link: Option<u32>,
}

fn copies(world: &Shared) -> (Copy, Copy) {
    let world = locked(world);
    (world.source, world.target)
}

fn hello() -> Hello {
    Hello { protocol: PROTOCOL, version: "0".into(), host: "a".into(), boot: "b".into() }
}

fn options(live: bool) -> Options {
    Options {
        live,
        max_downtime: Duration::ZERO,
        timeout: Duration::from_secs(600),
        force: false,
        throttle: true,
        compress: true,
        bandwidth: None,
    }
}

fn record() -> SourceRecord {
    let guest = Guest { name: "web".into(), uuid: "u".into(), domain: Some(7) };
    let target = Transport { host: "there".into(), command: None };
    SourceRecord { id: ID.into(), state: SourceState::Sending, guest, target, cap: 0 }
}

/// The receiving side, on a thread.
fn serve(mut host: Host, mut link: Link) -> thread::JoinHandle<bool> {
    thread::spawn(move || {
        let (mut records, left) = (host.clone(), host.clone());
        let mut receiver = Receiver {
            target: &mut host,
            records: &mut records,
            left: &left,
            link: &mut link,
            sockets: Path::new("/"),
        };
        receiver.serve(hello()).is_ok()
    })
}

/// Migrates the guest. The second value tells what was reported.
fn migrate(world: &Shared, live: bool, faults: Faults) -> (Result<Moved, Failure>, Vec<Report>) {
    migrate_until(world, live, faults, &|| false)
}

/// Migrates the guest, with a user who may give up.
fn migrate_until(
    world: &Shared,
    live: bool,
    faults: Faults,
    is_cancelled: &dyn Fn() -> bool,
) -> (Result<Moved, Failure>, Vec<Report>) {
    let (mut source, target) = (Host::new(world, faults.source), Host::new(world, faults.target));
    let (mut near, far) = wire::link(&source.process, &target.process, faults.link);
    let server = serve(target, far);
    let mut reports = Vec::new();
    let mut records = source.clone();
    let result = match near.greet(hello()) {
        Ok(_) => Sender {
            source: &mut source,
            records: &mut records,
            link: &mut near,
            connect: &mut || unreachable!("one link is enough"),
            options: &options(live),
            report: &mut |report| reports.push(report),
            is_cancelled,
        }
        .migrate(record(), begin()),
        Err(error) => Err(Failure::Kept { error, is_clean: true }),
    };
    drop(near);
    server.join().expect("the receiving side");
    (result, reports)
}

/// Makes links to a new process of the other host, and waits for these processes at the end.
struct Peer {
    world: Shared,
    faults: Faults,
    servers: Vec<thread::JoinHandle<bool>>,
}

impl Peer {
    fn new(world: &Shared, faults: Faults) -> Self {
        Self { world: world.clone(), faults, servers: Vec::new() }
    }

    /// A link from the process of `host` to a new one, which ends after `steps`.
    fn connect(&mut self, host: &Host, steps: Option<u32>) -> anyhow::Result<Link> {
        let other = Host::new(&self.world, steps);
        let (mut near, far) = wire::link(&host.process, &other.process, self.faults.link);
        self.servers.push(serve(other, far));
        near.greet(hello())?;
        Ok(near)
    }

    fn end(self) {
        for server in self.servers {
            server.join().expect("the other side");
        }
    }
}

fn resolve_at_source(world: &Shared, faults: Faults) -> Option<Resolution> {
    let record = locked(world).source_record()?;
    let mut host = Host::new(world, faults.source);
    let (mut records, caller) = (host.clone(), host.clone());
    let mut peer = Peer::new(world, faults);
    let resolution = at_source(&record, &mut host, &mut records, &mut || peer.connect(&caller, faults.target), false);
    peer.end();
    resolution.ok()
}

fn resolve_at_target(world: &Shared, faults: Faults) -> Option<Resolution> {
    let record = locked(world).target_record()?;
    let mut host = Host::new(world, faults.target);
    let (mut records, caller) = (host.clone(), host.clone());
    let mut peer = Peer::new(world, faults);
    let resolution = at_target(&record, &mut host, &mut records, &mut || peer.connect(&caller, faults.source), false);
    peer.end();
    resolution.ok()
}

/// Resolves at both hosts without faults; exactly one copy remains, runs, and is all that remains.
fn settle(world: &Shared, source_first: bool) -> Copy {
    for round in 0..4 {
        if source_first == (round % 2 == 0) {
            resolve_at_source(world, Faults::default());
        } else {
            resolve_at_target(world, Faults::default());
        }
    }
    let world = locked(world);
    world.check();
    assert!(world.source_record().is_none() && world.target_record().is_none(), "no record remains: {world:?}");
    match (world.source, world.target) {
        (Copy::Running, Copy::None) | (Copy::None, Copy::Running) => world.target,
        _ => panic!("{world:?}"),
    }
}

#[test]
fn a_guest_moves() {
    for live in [false, true] {
        let world = World::new();
        let (moved, reports) = migrate(&world, live, Faults::default());
        let moved = moved.expect("it moves");
        assert_eq!((moved.name.as_str(), moved.rounds), ("web", if live { 2 } else { 0 }));
        assert_eq!(moved.pages, if live { 3 } else { 1 });
        assert!(reports.contains(&Report::Suspended) && reports.contains(&Report::Moved(moved)));
        let world = locked(&world);
        assert_eq!((world.source, world.target), (Copy::None, Copy::Running));
        assert!(world.source_record().is_none() && world.target_record().is_none());
    }
}

#[test]
fn a_user_who_gives_up_keeps_the_guest_at_any_moment_and_the_target_has_nothing() {
    let mut moved = 0;
    for moment in 0..30 {
        let world = World::new();
        let looks = Cell::new(0);
        let is_cancelled = || looks.replace(looks.get() + 1) >= moment;
        match migrate_until(&world, true, Faults::default(), &is_cancelled).0 {
            Ok(_) => moved += 1,
            Err(Failure::Kept { is_clean, .. }) => {
                assert!(is_clean, "{moment}");
                assert_eq!(copies(&world), (Copy::Running, Copy::None), "{moment}");
                let world = locked(&world);
                assert!(world.source_record().is_none() && world.target_record().is_none());
            }
            Err(Failure::Open(error)) => panic!("{moment}: {error:#}"),
        }
    }
    assert!((10..25).contains(&moved), "some moments come too late: {moved}");
}

/// More steps and messages than a migration has; a fault there does not happen.
const STEPS: u32 = 80;

#[test]
fn a_fault_at_any_step_or_message_leaves_one_guest() {
    let mut kept = [0, 0];
    for live in [false, true] {
        for step in 1..STEPS {
            for (number, faults) in [
                Faults { source: Some(step), ..Faults::default() },
                Faults { target: Some(step), ..Faults::default() },
                Faults { link: Some(step), ..Faults::default() },
            ]
            .into_iter()
            .enumerate()
            {
                for source_first in [true, false] {
                    let world = World::new();
                    let (result, _) = migrate(&world, live, faults);
                    let (source, target) = copies(&world);
                    match result {
                        Ok(_) => assert_eq!(target, Copy::Running, "{faults:?}"),
                        // A source that lives has let the guest run again when it says so.
                        Err(Failure::Kept { .. }) if number > 0 => assert_eq!(source, Copy::Running, "{faults:?}"),
                        Err(_) => {}
                    }
                    let end = settle(&world, source_first);
                    kept[usize::from(end == Copy::Running)] += 1;
                }
            }
        }
    }
    assert!(kept[0] > 50 && kept[1] > 50, "both ends occur: {kept:?}");
}

#[test]
fn a_source_whose_target_cannot_be_asked_does_not_guess() {
    let mut unknown = 0;
    for step in 1..STEPS {
        let world = World::new();
        let (_, _) = migrate(&world, false, Faults { link: Some(step), ..Faults::default() });
        let is_given = locked(&world).source_record().is_some_and(|record| record.state == SourceState::Given);
        if let Some(resolution) = resolve_at_source(&world, Faults { link: Some(0), ..Faults::default() }) {
            assert_eq!(matches!(resolution, Resolution::Unknown(_)), is_given, "{step}: {resolution:?}");
            unknown += u32::from(is_given);
        }
        settle(&world, true);
    }
    assert!(unknown > 0, "the link was cut between");
}

#[test]
fn nobody_decides_while_a_process_works_on_the_migration() {
    // The link breaks when the target is ready; the source's process has not noticed.
    let world = (1..STEPS)
        .map(|step| {
            let world = World::new();
            let _ = migrate(&world, false, Faults { link: Some(step), ..Faults::default() });
            world
        })
        .find(|world| locked(world).source_record().is_some() && locked(world).target_record().is_some())
        .expect("it breaks between");
    let process = Host::new(&world, None);
    let lock = Records::<SourceRecord>::lock(&process, ID).expect("a lock").expect("it is free");
    assert!(matches!(resolve_at_target(&world, Faults::default()), Some(Resolution::Busy)));
    assert!(matches!(resolve_at_source(&world, Faults::default()), Some(Resolution::Busy)));
    drop(lock);
    let lock = Records::<TargetRecord>::lock(&process, ID).expect("a lock").expect("it is free");
    assert!(matches!(resolve_at_source(&world, Faults::default()), Some(Resolution::Busy)));
    assert!(matches!(resolve_at_target(&world, Faults::default()), Some(Resolution::Busy)));
    drop(lock);
    settle(&world, true);
}

fn fault() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![1 => Just(None), 2 => (1..STEPS).prop_map(Some)]
}

fn faults() -> impl Strategy<Value = Faults> {
    (fault(), fault(), fault()).prop_map(|(source, target, link)| Faults { source, target, link })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_faults_in_the_migration_and_in_what_resolves_it_leave_one_guest(
        live in any::<bool>(),
        first in faults(),
        attempts in vec((any::<bool>(), faults()), 0..5),
        source_first in any::<bool>(),
    ) {
        let world = World::new();
        let _ = migrate(&world, live, first);
        for (at_source, faults) in attempts {
            // Few steps, so that most attempts are hit.
            let few = |fault: Option<u32>| fault.map(|steps| steps % 12 + 1);
            let faults = Faults { source: few(faults.source), target: few(faults.target), link: few(faults.link) };
            if at_source {
                resolve_at_source(&world, faults);
            } else {
                resolve_at_target(&world, faults);
            }
            locked(&world).check();
        }
        settle(&world, source_first);
    }
}
