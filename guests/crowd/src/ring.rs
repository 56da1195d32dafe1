//! The front end's side of a shared ring (`io/ring.h`), with at most one request pending.

use core::sync::atomic::{Ordering::SeqCst, fence};

use kernel::abi::grant_table::entry_flags;
use kernel::grants;
use kernel::memory::{mfn_of, page, peek, poke};

use crate::wait::{self, BACK_END};

// Offsets in the header.
const REQUESTS: u64 = 0;
const REQUEST_EVENT: u64 = 4;
const RESPONSES: u64 = 8;
const RESPONSE_EVENT: u64 = 12;
const HEADER: u64 = 64;
const PAGE: u64 = 4096;

/// A ring whose entries hold a request or a response.
pub(crate) struct Ring {
    page: u64,
    entry_size: u64,
    entries: u64,
}

impl Ring {
    /// Makes an empty ring that is granted to the back end as `reference`.
    pub(crate) fn new(reference: u32, entry_size: u64) -> Self {
        let page = granted_page(reference);
        poke(page + REQUEST_EVENT, 1u32);
        poke(page + RESPONSE_EVENT, 1u32);
        let entries = (PAGE - HEADER) / entry_size;
        Self { page, entry_size, entries: 1 << entries.ilog2() }
    }

    fn entry(&self, number: u32) -> u64 {
        self.page + HEADER + u64::from(number) % self.entries * self.entry_size
    }

    /// Makes a request and waits for its response. `fill` and `read` get the address of the entry.
    pub(crate) fn ask<T>(&mut self, port: u32, what: &str, fill: impl FnOnce(u64), read: impl FnOnce(u64) -> T) -> T {
        let number: u32 = peek(self.page + REQUESTS);
        let entry = self.entry(number);
        fill(entry);
        fence(SeqCst);
        poke(self.page + RESPONSE_EVENT, number.wrapping_add(1));
        poke(self.page + REQUESTS, number.wrapping_add(1));
        fence(SeqCst);
        wait::notify(port);
        wait::until(port, what, || (peek::<u32>(self.page + RESPONSES) != number).then_some(()));
        read(entry)
    }
}

/// Allocates a page that the back end may read and write by `reference`.
pub(crate) fn granted_page(reference: u32) -> u64 {
    let page = page();
    grants::grant(reference, BACK_END.0, mfn_of(page), entry_flags::PERMIT_ACCESS);
    page
}
