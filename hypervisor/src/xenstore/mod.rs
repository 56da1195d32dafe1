//! The built-in xenstore, which serves a guest's xenbus on a host without a control domain. It
//! contains a read-only description of the domain and a few directories in which the guest may
//! write. No other domain accesses it.
//!
//! - A guest may corrupt its ring at any time. Indices and lengths are validated. If a guest
//!   violates the protocol, the page's error field is set, and the guest is not served until it
//!   reconnects.
//! - The memory that a guest can consume is bounded: nodes, watches, transactions, and replies that
//!   it has not read (the next request waits until it has).

mod connection;
pub(crate) mod session;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use machine::frames::SharedPage;
use machine::sync::{Level, SpinLock};

use self::connection::Connection;
use self::session::Session;
use self::tree::Tree;
use crate::domain::{Domain, Port};
use crate::event_channel::{self, Consumer};
use crate::guest_log::guest_log;
use crate::limits::{self, Limit};

/// A guest's xenstore.
pub struct Store {
    state: SpinLock<Option<Attached>>,
}

struct Attached {
    port: Port,
    connection: Connection,
    /// Nodes in addition to those of every domain.
    nodes: Vec<(String, String)>,
    /// Created at the guest's first request.
    session: Option<Session>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// A store without a ring.
    pub const fn new() -> Self {
        Self { state: SpinLock::new(Level::Console, None) }
    }

    /// Connects the store to the page of its rings and to the guest's port. `nodes` are paths below
    /// the domain's home, with values, in addition to those of every domain.
    pub fn attach(&self, page: SharedPage, port: Port, nodes: &[(&str, &str)]) {
        let nodes = nodes.iter().map(|(path, value)| (path.to_string(), value.to_string())).collect();
        let attached = Attached { port, connection: Connection::new(page), nodes, session: None };
        let former = self.state.lock().replace(attached);
        drop(former);
    }

    /// Releases the page after the domain has ended.
    pub fn detach(&self) {
        let former = self.state.lock().take();
        drop(former);
    }
}

/// The store as the consumer of a guest's port.
pub(crate) const CONSUMER: Consumer = Consumer { name: "Store", notified };

/// Handles an event that the guest has sent on its store port: there is a request, or room for
/// replies.
pub(crate) fn notified(domain: &Arc<Domain>) {
    let mut state = domain.store.state.lock();
    let Some(attached) = state.as_mut() else { return };
    let Attached { port, connection, nodes, session } = attached;
    let port = *port;
    let session = session.get_or_insert_with(|| Session::new(domain.id(), Tree::of(domain, nodes)));
    let served = connection.serve(session);
    let refused = session.take_refusal();
    drop(state);
    if refused {
        limits::met(domain, Limit::Store);
    }
    if served.is_err() {
        guest_log!(domain, Warn, "xenstore ring with invalid indices or lengths");
    }
    // after a protocol error as well, the page has changed
    if served.unwrap_or(true) {
        event_channel::notify_guest(domain, port);
    }
}
