//! The small store that answers a guest's xenbus where there is no control domain: what the domain is called and has been
//! given, to be read, and a few directories for the guest to write in. Nobody else reads or writes here.
//!
//! - The ring is the guest's to corrupt: its indices and lengths are checked, and a guest that breaks the protocol is told so in the
//!   page's error field and not served until it connects anew.
//! - What a guest can make Paravane keep is bounded: nodes, watches, transactions, and answers it does not fetch (the next
//!   request waits for those).

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
use crate::domain::Domain;
use crate::event_channel::{self, Consumer, Port};
use crate::guest_log::guest_log;
use crate::limits::{self, Limit};

/// A guest's store.
pub struct Store {
    state: SpinLock<Option<Attached>>,
}

struct Attached {
    port: Port,
    connection: Connection,
    /// Nodes besides those that every domain has.
    nodes: Vec<(String, String)>,
    /// Made when the guest first asks for something.
    session: Option<Session>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// A store that is not attached to a ring.
    pub const fn new() -> Self {
        Self { state: SpinLock::new(Level::Console, None) }
    }

    /// Connects the store with the page that holds its rings and the guest's port. `nodes` are paths below the domain's own, with
    /// values, besides those that every domain has.
    pub fn attach(&self, page: SharedPage, port: Port, nodes: &[(&str, &str)]) {
        let nodes = nodes.iter().map(|(path, value)| (path.to_string(), value.to_string())).collect();
        let attached = Attached { port, connection: Connection::new(page), nodes, session: None };
        let former = self.state.lock().replace(attached);
        drop(former);
    }

    /// Lets the page go, once the domain has ended.
    pub fn detach(&self) {
        let former = self.state.lock().take();
        drop(former);
    }
}

/// The store as the other end of a guest's port.
pub(crate) const CONSUMER: Consumer = Consumer { name: "Store", notified };

/// The guest has sent an event on its store's port: there is a request, or room for answers.
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
        guest_log!(domain, Warn, "store ring with impossible indices or lengths");
    }
    // broken or not, there is something to be seen on the page
    if served.unwrap_or(true) {
        event_channel::notify_guest(domain, port);
    }
}
