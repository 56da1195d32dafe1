//! The references of domains to frames: the part of the frame table's counts that page tables, pins
//! and lists do not account for. Tests use them to recount the whole table.

use std::string::String;
use std::vec::Vec;

use machine::addr::Mfn;
use machine::context::GuestContext;
use machine::frames::audit::{self, Held};

use crate::domain::Domain;

/// Numbers of references and uses, by frame number.
#[derive(Default)]
pub struct Tally {
    frames: Vec<Held>,
}

impl Tally {
    fn held(&mut self, mfn: Mfn) -> &mut Held {
        let index = usize::try_from(mfn.get()).expect("a frame of a small machine");
        if index >= self.frames.len() {
            self.frames.resize(index + 1, Held::default());
        }
        &mut self.frames[index]
    }

    /// Counts a `FrameRef`.
    pub(crate) fn reference(&mut self, mfn: Mfn) {
        self.held(mfn).references += 1;
    }

    /// Counts a `TypedRef`.
    pub(crate) fn typed(&mut self, mfn: Mfn) {
        let held = self.held(mfn);
        held.references += 1;
        held.uses += 1;
    }

    /// Counts the references of a vCPU's state.
    pub(crate) fn context(&mut self, context: &GuestContext) {
        context.kernel_root().into_iter().chain(context.user_root()).for_each(|root| self.typed(root.mfn()));
        context.gdt().0.for_each(|mfn| self.typed(mfn));
        if let Some((page, _)) = context.vcpu_info() {
            self.typed(page.frame().mfn());
        }
    }

    /// Counts the references of a domain and its parked vCPUs. The caller counts loaded vCPUs. The
    /// domain's consoles and stores must not have a ring.
    pub(crate) fn domain(&mut self, domain: &Domain) {
        self.typed(domain.shared_info().frame().mfn());
        domain.grants.count_held(self);
        domain.events.count_held(self);
        for vcpu in domain.vcpus() {
            self.typed(vcpu.info().page.frame().mfn());
            if let Some((_, promotion)) = &*vcpu.promotion.lock() {
                promotion.frames().for_each(|mfn| self.reference(mfn));
                promotion.root().into_iter().for_each(|mfn| self.typed(mfn));
            }
            if let Some(context) = &*vcpu.parked() {
                self.context(context);
            }
        }
    }

    /// Compares the frame table with these counts.
    ///
    /// # Errors
    /// All differences, one line each.
    pub(crate) fn recount(&self) -> Result<(), String> {
        audit::recount(|mfn| self.frames.get(mfn.get() as usize).copied().unwrap_or_default())
    }
}
