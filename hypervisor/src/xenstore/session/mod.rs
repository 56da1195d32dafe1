//! The effects of requests: the xenstore protocol (`docs/misc/xenstore.txt` of Xen) on messages,
//! without the ring.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::xen::DomainId;
use abi::xenstore::{MessageHeader, error, limit, message};
use machine::heap;
use machine::integers::saturating_u32;
use zerocopy::IntoBytes;

use super::tree::{Error, Tree, concerns};

pub(crate) const MAX_TRANSACTIONS: usize = 4;
pub(crate) const MAX_WATCHES: usize = 128;
/// Upper bound on the bytes of paths and tokens of all watches.
pub(crate) const MAX_WATCH_BYTES: usize = 16 * 1024;
/// Upper bound on the paths that one transaction changes, and their bytes. Each change fires all
/// watches on it.
pub(crate) const MAX_CHANGES: usize = 64;
pub(crate) const MAX_CHANGE_BYTES: usize = 4 * 1024;

const DONE: &[u8] = b"OK\0";

/// A guest's connection to the store: the tree, and the guest's watches and transactions.
pub(super) struct Session {
    domain: DomainId,
    tree: Tree,
    watches: Vec<Watch>,
    transactions: Vec<Transaction>,
    last_transaction: u32,
    /// A request has been refused because of a limit since the last `take_refusal`.
    refused: bool,
}

struct Watch {
    /// The path as the guest has sent it.
    path: String,
    absolute: String,
    token: Vec<u8>,
}

/// Upper bound on the events that one request may cause, in bytes, and the cost of an event in
/// addition to its path and token. A request that would exceed the bound is refused.
const MAX_EVENT_COST: usize = 64 << 10;
const EVENT_COST: usize = 64;

/// A copy of the tree that replaces it on commit, unless the tree has changed in the meantime.
struct Transaction {
    id: u32,
    tree: Tree,
    start: u64,
    changes: Vec<String>,
}

impl Session {
    pub(super) const fn new(domain: DomainId, tree: Tree) -> Self {
        Self { domain, tree, watches: Vec::new(), transactions: Vec::new(), last_transaction: 0, refused: false }
    }

    /// Drops the guest's watches and transactions, for example for a new kernel in the same domain.
    pub(super) fn reset(&mut self) {
        self.watches.clear();
        self.transactions.clear();
    }

    /// Performs a request. Appends the reply and the watch events to `output`.
    pub(super) fn request(&mut self, header: &MessageHeader, payload: &[u8], output: &mut Vec<u8>) {
        let answer = self.perform(header, payload).and_then(|answer| {
            if answer.bytes.len() <= limit::PAYLOAD_MAX as usize { Ok(answer) } else { Err(error::TOO_BIG) }
        });
        match answer {
            Ok(answer) => {
                reply(output, header, header.kind, &answer.bytes);
                for event in &answer.events {
                    reply(output, &WATCH_EVENT, message::WATCH_EVENT, event);
                }
            }
            Err(name) => {
                self.refused |= matches!(name, error::NO_SPACE | error::TOO_BIG);
                reply(output, header, message::ERROR, format!("{name}\0").as_bytes());
            }
        }
    }

    /// Returns and clears whether a request has been refused because of a limit.
    pub(super) fn take_refusal(&mut self) -> bool {
        core::mem::take(&mut self.refused)
    }

    fn perform(&mut self, header: &MessageHeader, payload: &[u8]) -> Result<Answer, Error> {
        let grows =
            matches!(header.kind, message::WRITE | message::MKDIR | message::WATCH | message::TRANSACTION_START);
        if grows && heap::is_short() {
            return Err(error::NO_SPACE);
        }
        let transaction = header.transaction_id;
        match header.kind {
            message::DIRECTORY => {
                let (tree, path) = self.named(transaction, payload)?;
                Ok(Answer::new(tree.children(&path)?))
            }
            message::READ => {
                let (tree, path) = self.named(transaction, payload)?;
                Ok(Answer::new(tree.read(&path)?.to_vec()))
            }
            message::GET_PERMS => {
                let (tree, path) = self.named(transaction, payload)?;
                let id = self.domain.0;
                let text = if tree.is_writable(&path)? { format!("n{id}\0") } else { format!("n0\0r{id}\0") };
                Ok(Answer::new(text.into_bytes()))
            }
            message::WRITE => {
                let (path, value) = split_string(payload)?;
                self.change(transaction, path, |tree, path| tree.write(path, value).map(|()| true))
            }
            message::MKDIR => self.change(transaction, one_string(payload)?, Tree::make),
            message::RM => self.change(transaction, one_string(payload)?, Tree::remove),
            message::WATCH => self.watch(payload),
            message::UNWATCH => self.unwatch(payload),
            message::RESET_WATCHES => {
                self.watches.clear();
                Ok(Answer::done())
            }
            message::TRANSACTION_START if transaction != 0 => Err(error::BUSY),
            message::TRANSACTION_START => self.start_transaction(),
            message::TRANSACTION_END => self.end_transaction(transaction, one_string(payload)?),
            message::GET_DOMAIN_PATH => {
                let id: u16 = one_string(payload)?.parse().map_err(|_| error::INVALID)?;
                Ok(Answer::new(format!("/local/domain/{id}\0").into_bytes()))
            }
            message::IS_DOMAIN_INTRODUCED => {
                let id: u16 = one_string(payload)?.parse().map_err(|_| error::INVALID)?;
                let known = [self.domain, DomainId::SELF].contains(&DomainId(id));
                Ok(Answer::new(if known { b"T\0".to_vec() } else { b"F\0".to_vec() }))
            }
            message::INTRODUCE
            | message::RELEASE
            | message::RESUME
            | message::SET_TARGET
            | message::SET_PERMS
            | message::CONTROL => Err(error::ACCESS),
            _ => Err(error::NO_SYSTEM_CALL),
        }
    }

    /// The tree that a transaction sees. Zero means no transaction.
    fn tree(&self, transaction: u32) -> Result<&Tree, Error> {
        if transaction == 0 {
            return Ok(&self.tree);
        }
        let found = self.transactions.iter().find(|open| open.id == transaction);
        found.map(|open| &open.tree).ok_or(error::NO_ENTRY)
    }

    fn named(&self, transaction: u32, payload: &[u8]) -> Result<(&Tree, String), Error> {
        let tree = self.tree(transaction)?;
        Ok((tree, tree.absolute(one_string(payload)?)?))
    }

    fn change(
        &mut self,
        transaction: u32,
        path: &str,
        change: impl FnOnce(&mut Tree, &str) -> Result<bool, Error>,
    ) -> Result<Answer, Error> {
        let path = self.tree(transaction)?.absolute(path)?;
        if let Some(open) = self.transactions.iter_mut().find(|open| open.id == transaction) {
            let is_new = !open.changes.contains(&path);
            let used: usize = open.changes.iter().map(String::len).sum();
            if is_new && (open.changes.len() >= MAX_CHANGES || used + path.len() > MAX_CHANGE_BYTES) {
                return Err(error::NO_SPACE);
            }
            if change(&mut open.tree, &path)? && is_new {
                open.changes.push(path);
            }
            return Ok(Answer::done());
        }
        self.may_tell([path.as_str()])?;
        let events = if change(&mut self.tree, &path)? { self.events(&path) } else { Vec::new() };
        Ok(Answer { bytes: DONE.to_vec(), events })
    }

    fn watch(&mut self, payload: &[u8]) -> Result<Answer, Error> {
        let (path, token) = watched(payload)?;
        let absolute = if path.starts_with('@') { path.to_string() } else { self.tree.absolute(path)? };
        if self.watches.iter().any(|watch| watch.path == path && watch.token == token) {
            return Err(error::EXISTS);
        }
        let watch = Watch { path: path.to_string(), absolute, token: token.to_vec() };
        let used: usize = self.watches.iter().map(Watch::size).sum();
        if self.watches.len() >= MAX_WATCHES || used + watch.size() > MAX_WATCH_BYTES {
            return Err(error::TOO_BIG);
        }
        // a watch fires once when it is set
        let event = watch.event(path);
        self.watches.push(watch);
        Ok(Answer { bytes: DONE.to_vec(), events: alloc::vec![event] })
    }

    #[expect(clippy::disallowed_methods, reason = "the index is the result of a search")]
    fn unwatch(&mut self, payload: &[u8]) -> Result<Answer, Error> {
        let (path, token) = watched(payload)?;
        let found = self.watches.iter().position(|watch| watch.path == path && watch.token == token);
        self.watches.remove(found.ok_or(error::NO_ENTRY)?);
        Ok(Answer::done())
    }

    fn start_transaction(&mut self) -> Result<Answer, Error> {
        if self.transactions.len() >= MAX_TRANSACTIONS {
            return Err(error::NO_SPACE);
        }
        let id = (1..=u32::MAX)
            .map(|step| self.last_transaction.wrapping_add(step))
            .find(|&id| id != 0 && self.transactions.iter().all(|open| open.id != id))
            .ok_or(error::NO_SPACE)?;
        self.last_transaction = id;
        let start = self.tree.generation();
        self.transactions.push(Transaction { id, tree: self.tree.clone(), start, changes: Vec::new() });
        Ok(Answer::new(format!("{id}\0").into_bytes()))
    }

    #[expect(clippy::disallowed_methods, reason = "the index is the result of a search")]
    fn end_transaction(&mut self, id: u32, verdict: &str) -> Result<Answer, Error> {
        let commit = match verdict {
            "T" => true,
            "F" => false,
            _ => return Err(error::INVALID),
        };
        let found = self.transactions.iter().position(|open| open.id == id).ok_or(error::NO_ENTRY)?;
        let transaction = self.transactions.remove(found);
        if !commit || transaction.changes.is_empty() {
            return Ok(Answer::done());
        }
        if transaction.start != self.tree.generation() {
            return Err(error::AGAIN);
        }
        self.may_tell(transaction.changes.iter().map(String::as_str))?;
        self.tree = transaction.tree;
        let mut changes = transaction.changes;
        changes.sort_unstable();
        let events = changes.iter().flat_map(|path| self.events(path)).collect();
        Ok(Answer { bytes: DONE.to_vec(), events })
    }

    /// The watches that fire on a change of `path`.
    fn watching(&self, path: &str) -> impl Iterator<Item = &Watch> {
        self.watches.iter().filter(move |watch| concerns(&watch.absolute, path))
    }

    /// Checks that changes of these paths cause no more events than [`MAX_EVENT_COST`].
    fn may_tell<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let mut cost = 0;
        for path in paths {
            cost += self.watching(path).map(|watch| EVENT_COST + path.len() + watch.token.len()).sum::<usize>();
        }
        if cost <= MAX_EVENT_COST { Ok(()) } else { Err(error::NO_SPACE) }
    }

    /// The payloads of the watch events for a change of `path`.
    fn events(&self, path: &str) -> Vec<Vec<u8>> {
        self.watching(path)
            .map(|watch| {
                let home = format!("{}/", self.tree.home());
                let relative = if watch.path.starts_with('/') { None } else { path.strip_prefix(&home) };
                watch.event(relative.unwrap_or(path))
            })
            .collect()
    }
}

impl Watch {
    const fn size(&self) -> usize {
        self.path.len() + self.absolute.len() + self.token.len()
    }

    fn event(&self, path: &str) -> Vec<u8> {
        [path.as_bytes(), b"\0", &self.token, b"\0"].concat()
    }
}

/// The reply to a successful request, and the watch events that follow it.
struct Answer {
    bytes: Vec<u8>,
    events: Vec<Vec<u8>>,
}

impl Answer {
    const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, events: Vec::new() }
    }

    fn done() -> Self {
        Self::new(DONE.to_vec())
    }
}

/// The header of watch events, which belong to no request.
const WATCH_EVENT: MessageHeader =
    MessageHeader { kind: message::WATCH_EVENT, request_id: 0, transaction_id: 0, length: 0 };

fn reply(output: &mut Vec<u8>, to: &MessageHeader, kind: u32, payload: &[u8]) {
    let header = MessageHeader { kind, length: saturating_u32(payload.len()), ..*to };
    output.extend_from_slice(header.as_bytes());
    output.extend_from_slice(payload);
}

/// The first string, and the bytes after its zero byte.
fn split_string(payload: &[u8]) -> Result<(&str, &[u8]), Error> {
    let mut parts = payload.splitn(2, |&byte| byte == 0);
    let (Some(text), Some(rest)) = (parts.next(), parts.next()) else { return Err(error::INVALID) };
    let text = core::str::from_utf8(text).map_err(|_| error::INVALID)?;
    Ok((text, rest))
}

/// The string of a payload that is a single string.
fn one_string(payload: &[u8]) -> Result<&str, Error> {
    let (text, rest) = split_string(payload)?;
    if rest.is_empty() { Ok(text) } else { Err(error::INVALID) }
}

/// The path and the token in the payload of a watch request.
fn watched(payload: &[u8]) -> Result<(&str, &[u8]), Error> {
    let (path, rest) = split_string(payload)?;
    let (&last, token) = rest.split_last().ok_or(error::INVALID)?;
    if last == 0 && !token.contains(&0) { Ok((path, token)) } else { Err(error::INVALID) }
}

#[cfg(test)]
mod tests;
