//! A front end's nodes in the store.

use core::fmt::Display;

use crate::store::{Store, Text};

const INITIALISED: &str = "2";
const CONNECTED: &str = "4";

/// A front end, and the path of its back end.
pub(crate) struct FrontEnd<'a> {
    store: &'a mut Store,
    path: &'static str,
    back_end: Text,
}

impl<'a> FrontEnd<'a> {
    /// The front end at `path`, when its back end is ready for it.
    pub(crate) fn open(store: &'a mut Store, path: &'static str) -> Self {
        let back_end = Text::new(format_args!("{path}/backend"));
        let back_end = store.read(back_end.as_str()).expect("a back end");
        store.wait_for_state(back_end.as_str(), INITIALISED);
        Self { store, path, back_end }
    }

    pub(crate) fn read(&mut self, key: &str) -> Option<Text> {
        self.store.read(Text::new(format_args!("{}/{key}", self.path)).as_str())
    }

    pub(crate) fn write(&mut self, key: &str, value: &dyn Display) {
        self.store.write(Text::new(format_args!("{}/{key}", self.path)).as_str(), value);
    }

    /// Waits until the back end has connected.
    pub(crate) fn wait_until_connected(&mut self) {
        self.store.wait_for_state(self.back_end.as_str(), CONNECTED);
    }
}
