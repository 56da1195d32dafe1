//! The order of frames that arrive over several connections.
//!
//! Records are numbered in the order in which they were sent. Messages arrive over one connection;
//! one that concerns the records before it says how many there are.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::frame::Frame;
use super::message::Message;

/// Most frames that may arrive before one that was sent earlier.
const MAX_EARLY: usize = 64;

/// Frames that have arrived and are not next.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Number of the next frame with records.
    next: u64,
    early: BTreeMap<u64, Vec<u8>>,
    /// A message that comes after records that have not arrived.
    held: Option<Message>,
}

impl Order {
    /// Takes a frame that has arrived.
    pub(super) fn take(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Message(message) => {
                ensure!(self.held.is_none(), "the other host sends messages without an answer");
                self.held = Some(message);
            }
            Frame::Records { number, compact } => {
                let is_new = number >= self.next && self.early.insert(number, compact).is_none();
                ensure!(is_new, "the other host sends records twice");
                ensure!(self.early.len() <= MAX_EARLY, "the other host sends records far out of order");
            }
        }
        Ok(())
    }

    /// The next frame, if it has arrived.
    pub(super) fn next(&mut self) -> Option<Frame> {
        if let Some(compact) = self.early.remove(&self.next) {
            let number = self.next;
            self.next += 1;
            return Some(Frame::Records { number, compact });
        }
        self.held.take_if(|message| message.records_before() <= self.next).map(Frame::Message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(number: u64) -> Frame {
        Frame::Records { number, compact: vec![7; 3] }
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_becomes_the_order_of_sending(order in Just((0..20_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut frames = Order::default();
            frames.take(Frame::Message(Message::End { records: 20 })).expect("a message");
            let mut seen = Vec::new();
            for number in order {
                frames.take(records(number)).expect("a record");
                seen.extend(std::iter::from_fn(|| frames.next()));
            }
            let expected: Vec<Frame> =
                (0..20).map(records).chain([Frame::Message(Message::End { records: 20 })]).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn records_that_come_twice_or_far_too_early_are_refused() {
        let mut frames = Order::default();
        frames.take(records(0)).expect("the first");
        assert!(frames.take(records(0)).is_err());
        assert_eq!(frames.next(), Some(records(0)));
        assert!(frames.take(records(0)).is_err(), "it has been handed on");
        for number in 0..63 {
            frames.take(records(number + 2)).expect("within the limit");
        }
        assert!((65..70).any(|number| frames.take(records(number)).is_err()));
    }
}
