//! Migrates a played guest: copies its pages in rounds, those that its log of dirty pages names,
//! and checks in the end that the copy has the guest's contents.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::Vec;

use machine::addr::{Mfn, PAGE_SIZE, Pfn};
use machine::frames::dirty_log::{self, DirtyLog, Harvest};
use machine::frames::{self, Budget, FrameRef};
use machine::m2p;

use crate::domain::Domain;

/// Page numbers that the log covers.
const PAGES: u64 = 4096;
/// Frames of the pool: few, so that they are used up often.
const POOL: u32 = 14;

/// A migration in progress.
pub(super) struct Migration {
    domain: Arc<Domain>,
    /// Contents by page number and frame: several frames may have one number.
    copy: BTreeMap<(Pfn, Mfn), Box<[u8; PAGE_SIZE]>>,
}

/// The frames of a domain that have a page number.
fn pages(domain: &Domain) -> impl Iterator<Item = (Pfn, FrameRef)> {
    let frames = (0..frames::table_size()).filter_map(|number| domain.frame(Mfn::new(number)));
    frames.map(|frame| (m2p::get(frame.mfn()), frame)).filter(|(page, _)| page.get() < PAGES)
}

fn contents(frame: &FrameRef) -> Box<[u8; PAGE_SIZE]> {
    let mut bytes = Box::new([0; PAGE_SIZE]);
    frame.copy_out(0, &mut *bytes);
    bytes
}

impl Migration {
    /// Begins the log of a domain, whose vCPUs are parked, and copies all of its pages.
    pub(super) fn begin(domain: &Arc<Domain>) -> Self {
        let mut log = DirtyLog::new(domain.id(), PAGES, domain.vcpus().len());
        while !log.grow(POOL, &mut Budget::new(1000)).expect("free frames") {}
        dirty_log::begin(log).ok().expect("the domain has no log");
        let mut next = None;
        while !dirty_log::hold_shared(&domain.frames, domain.id(), &mut next, &mut Budget::new(10)) {}
        let copy = pages(domain).map(|(page, frame)| ((page, frame.mfn()), contents(&frame))).collect();
        Self { domain: Arc::clone(domain), copy }
    }

    /// Copies the pages that are dirty.
    pub(super) fn round(&mut self, is_last: bool) {
        let mut words = [0; PAGES as usize / 64];
        assert!(dirty_log::start_round(self.domain.id()).is_some());
        assert!(dirty_log::harvest(self.domain.id(), Harvest::Take, is_last, 0, &mut words));
        let is_dirty = |page: Pfn| words[page.get() as usize / 64] >> (page.get() % 64) & 1 != 0;
        for (page, frame) in pages(&self.domain).filter(|(page, _)| is_dirty(*page)) {
            self.copy.insert((page, frame.mfn()), contents(&frame));
        }
    }

    /// Copies what is dirty for the last time, and ends the log. The vCPUs are parked.
    ///
    /// # Panics
    /// If the copy differs from the guest's contents.
    pub(super) fn finish(mut self) {
        self.round(true);
        let missed: Vec<(Pfn, Mfn)> = pages(&self.domain)
            .filter(|(page, frame)| self.copy.get(&(*page, frame.mfn())) != Some(&contents(frame)))
            .map(|(page, frame)| (page, frame.mfn()))
            .collect();
        assert!(missed.is_empty(), "writes to these pages were not logged: {missed:x?}");
        end(&self.domain);
    }
}

/// Ends the log of a domain.
fn end(domain: &Domain) {
    let mut log = dirty_log::end(domain.id()).expect("a log");
    while !log.shrink(&mut Budget::new(1000)) {}
}
