//! What a stock program or library says on standard error: kept, and shown if it fails.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// How much is kept, in bytes.
const KEPT: usize = 4096;

/// The last messages of a process.
pub struct Messages {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Messages {
    /// Reads messages, on a thread of its own, until their writers end.
    pub fn from(errors: impl Read + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let shared = kept.clone();
        let reader = thread::spawn(move || keep_last(errors, &shared));
        Self { kept, reader: Some(reader) }
    }

    /// The last messages. The process has ended, so all have been written.
    pub fn last(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

fn keep_last(mut from: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(piece.get(..length).unwrap_or_default());
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_messages_are_kept() {
        let text = [vec![b'a'; KEPT], b"the end\n".to_vec()].concat();
        let last = Messages::from(std::io::Cursor::new(text)).last();
        assert!(last.ends_with("athe end") && last.len() == KEPT - 1);
    }
}
