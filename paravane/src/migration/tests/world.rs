//! Two simulated hosts with one guest. A process is ended by its fuse, before or after an effect; a
//! process that has ended has no more effects. Each effect checks the invariants.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail, ensure};
use serde_json::json;

use crate::link::{Begin, Finding, Needs};
use crate::migration::convergence::Decision;
use crate::migration::records::{Lock, Record, Records, SourceRecord, SourceState, TargetRecord, TargetState};
use crate::migration::{Event, Guest, Source, Target};
use crate::stream::record::{Item, kind};

pub(super) const ID: &str = "0123456789abcdef0123456789abcdef";

/// Where the guest's copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    None,
    /// It is arriving.
    Partial,
    /// Complete, but suspended or paused.
    Paused,
    Running,
}

/// Both hosts, as far as they outlive processes.
#[derive(Debug)]
pub(super) struct World {
    pub(super) source: Copy,
    pub(super) target: Copy,
    source_records: HashMap<String, SourceRecord>,
    target_records: HashMap<String, TargetRecord>,
    /// Sides and ids.
    locks: HashSet<(&'static str, String)>,
    /// What the target was given.
    received: Vec<u8>,
}

pub(super) type Shared = Arc<Mutex<World>>;

pub(super) fn locked(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new() -> Shared {
        Arc::new(Mutex::new(Self {
            source: Copy::Running,
            target: Copy::None,
            source_records: HashMap::new(),
            target_records: HashMap::new(),
            locks: HashSet::new(),
            received: Vec::new(),
        }))
    }

    pub(super) fn source_record(&self) -> Option<SourceRecord> {
        self.source_records.get(ID).cloned()
    }

    pub(super) fn target_record(&self) -> Option<TargetRecord> {
        self.target_records.get(ID).cloned()
    }

    /// Never two, and never none that could run.
    pub(super) fn check(&self) {
        assert!(self.source != Copy::Running || self.target != Copy::Running, "two copies run: {self:?}");
        let given = self.source_record().is_some_and(|record| record.state == SourceState::Given);
        let held = self.target_record().is_some_and(|record| record.state == TargetState::Held);
        let here = self.source != Copy::None;
        let there = matches!(self.target, Copy::Paused | Copy::Running);
        assert!(here || there, "the guest is lost: {self:?}");
        assert!(self.source != Copy::Running || !given, "TK-3: {self:?}");
        assert!(self.target != Copy::Running || held || !here, "TK-1: {self:?}");
    }
}

/// What ends a process: how many steps it may still make.
#[derive(Clone, Debug)]
pub(super) struct Process {
    steps: Arc<Mutex<Option<u32>>>,
}

impl Process {
    /// A process that ends after this many steps, or does not end.
    pub(super) fn new(steps: Option<u32>) -> Self {
        Self { steps: Arc::new(Mutex::new(steps)) }
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.steps.lock().unwrap_or_else(PoisonError::into_inner) == Some(0)
    }

    /// Makes a step, or ends.
    fn step(&self) -> Result<()> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *steps {
            None => {}
            Some(0) => bail!("this process has ended"),
            Some(steps) => {
                *steps -= 1;
                ensure!(*steps > 0, "this process ends");
            }
        }
        Ok(())
    }

    /// Changes the world, with a step before and one after.
    fn effect<T>(&self, world: &Shared, effect: impl FnOnce(&mut World) -> T) -> Result<T> {
        self.step()?;
        let mut world = locked(world);
        let result = effect(&mut world);
        world.check();
        drop(world);
        self.step()?;
        Ok(result)
    }
}

/// A process of a host: its guest and its records.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) process: Process,
    pub(super) world: Shared,
    /// Events of the save that are left, the next one last.
    events: Vec<Script>,
    decisions: Vec<Decision>,
}

/// An event of a save.
#[derive(Clone, Debug)]
enum Script {
    Stream(Vec<u8>),
    Round(u32, Option<u64>),
    Suspend,
    End,
}

impl Host {
    pub(super) fn new(world: &Shared, steps: Option<u32>) -> Self {
        Self { process: Process::new(steps), world: world.clone(), events: Vec::new(), decisions: Vec::new() }
    }
}

/// The configuration of the guest.
pub(super) fn begin() -> Begin {
    Begin { id: ID.into(), configuration: json!({"c_info": {"name": "web", "uuid": "u"}}), pages: 512, streams: 0 }
}

/// The parts of a guest's stream: what comes before the pages, a record of pages, and the rest.
fn stream() -> [Vec<u8>; 3] {
    let mut header = [0; 40];
    header[..8].fill(0xff);
    header[8..12].copy_from_slice(b"XENF");
    (header[15], header[24], header[28]) = (3, 1, 12);
    let record = |kind: u32, body: &[u8]| Item::Record { kind, body: body.to_vec() };
    let mut p2m = [0; 16];
    p2m[4..8].copy_from_slice(&511_u32.to_le_bytes());
    let begin = [
        Item::Header(header),
        record(kind::PV_INFO, &[8, 4, 0, 0, 0, 0, 0, 0]),
        record(kind::STATIC_DATA_END, &[]),
        record(kind::P2M_FRAMES, &p2m),
    ];
    let mut page = vec![1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    page.resize(16 + 4096, 0x55);
    let written = |items: &[Item]| {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| item.write(&mut bytes));
        bytes
    };
    let end = [record(kind::SHARED_INFO, &[0; 4096]), record(kind::END, &[])];
    [written(&begin), written(&[record(kind::PAGE_DATA, &page)]), written(&end)]
}

impl Source for Host {
    fn start(&mut self, live: bool) -> Result<()> {
        self.process.step()?;
        let [begin, page, end] = stream();
        let mut events = vec![Script::Stream(begin)];
        if live {
            for round in 0..2 {
                events.push(Script::Round(round, Some(512)));
                events.push(Script::Stream(page.clone()));
                events.push(Script::Round(round + 1, None));
            }
            events.push(Script::Round(2, Some(0)));
        }
        events.extend([Script::Suspend, Script::Stream(page), Script::Stream(end), Script::End]);
        events.reverse();
        self.events = events;
        Ok(())
    }

    fn event(&mut self) -> Result<Event> {
        self.process.step()?;
        Ok(match self.events.pop() {
            Some(Script::Stream(bytes)) => Event::Stream(bytes),
            Some(Script::Round(round, dirty)) => Event::Round { round, dirty },
            Some(Script::Suspend) => Event::Suspend,
            Some(Script::End) => Event::End(Ok(())),
            None => Event::Idle,
        })
    }

    fn decide(&mut self, decision: Decision) -> Result<()> {
        self.decisions.push(decision);
        Ok(())
    }

    fn suspend(&mut self) -> Result<()> {
        self.process.effect(&self.world, |world| {
            assert_eq!(world.source, Copy::Running, "it ran until now");
            world.source = Copy::Paused;
        })
    }

    fn stop(&mut self) {
        self.events.clear();
    }

    fn throttle(&mut self, _percent: u32) -> Result<()> {
        self.process.step()
    }

    fn keep(&mut self) -> Result<()> {
        self.process.effect(&self.world, |world| {
            assert_ne!(world.source, Copy::None, "it is here");
            world.source = Copy::Running;
        })
    }

    fn destroy(&mut self) -> Result<()> {
        self.process.effect(&self.world, |world| {
            assert_ne!(world.source, Copy::Running, "TK-4: it is suspended");
            world.source = Copy::None;
        })
    }
}

impl Target for Host {
    fn check(&mut self, _needs: &Needs) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn start(&mut self, _begin: &Begin) -> Result<Guest> {
        self.process.effect(&self.world, |world| {
            world.target = Copy::Partial;
            world.received.clear();
            Guest { name: "web".into(), uuid: "u".into(), domain: Some(1) }
        })
    }

    fn write(&mut self, stream: &[u8]) -> Result<()> {
        self.process.effect(&self.world, |world| world.received.extend(stream))
    }

    fn finish(&mut self) -> Result<()> {
        self.process.effect(&self.world, |world| {
            let [begin, _, end] = stream();
            assert!(world.received.starts_with(&begin) && world.received.ends_with(&end), "the stream is whole");
            world.target = Copy::Paused;
        })
    }

    fn is_complete(&mut self, _guest: &Guest) -> Result<bool> {
        self.process.step()?;
        Ok(locked(&self.world).target == Copy::Paused)
    }

    fn run(&mut self, _guest: &Guest) -> Result<()> {
        self.process.effect(&self.world, |world| {
            assert!(matches!(world.target, Copy::Paused | Copy::Running), "TK-2: it is complete");
            world.target = Copy::Running;
        })
    }

    fn settle(&mut self, _guest: &Guest) -> Result<String> {
        self.process.step()?;
        Ok("web".into())
    }

    fn destroy(&mut self, _guest: &Guest) -> Result<()> {
        self.process.effect(&self.world, |world| {
            assert_ne!(world.target, Copy::Running, "TK-5: it never ran");
            world.target = Copy::None;
        })
    }
}

/// How a simulated host keeps records.
trait Kept: Record {
    fn map(world: &mut World) -> &mut HashMap<String, Self>;
}

impl Kept for SourceRecord {
    fn map(world: &mut World) -> &mut HashMap<String, Self> {
        &mut world.source_records
    }
}

impl Kept for TargetRecord {
    fn map(world: &mut World) -> &mut HashMap<String, Self> {
        &mut world.target_records
    }
}

/// A lock, released when the process that has it ends or drops it.
struct Held(Shared, &'static str, String);

impl Drop for Held {
    fn drop(&mut self) {
        locked(&self.0).locks.remove(&(self.1, self.2.clone()));
    }
}

impl<R: Kept> Records<R> for Host {
    fn lock(&self, id: &str) -> Result<Option<Lock>> {
        self.process.step()?;
        let is_free = locked(&self.world).locks.insert((R::SIDE, id.to_owned()));
        Ok(is_free.then(|| Lock::new(Held(self.world.clone(), R::SIDE, id.to_owned()))))
    }

    fn load(&self, id: &str) -> Result<Option<R>> {
        self.process.step()?;
        Ok(R::map(&mut locked(&self.world)).get(id).cloned())
    }

    fn store(&mut self, record: &R) -> Result<()> {
        self.process.effect(&self.world, |world| {
            R::map(world).insert(record.id().to_owned(), record.clone());
        })
    }

    fn remove(&mut self, id: &str) -> Result<()> {
        self.process.effect(&self.world, |world| {
            R::map(world).remove(id);
        })
    }
}
