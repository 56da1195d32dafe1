//! What each side records of a migration, and the files that keep it.
//!
//! A record is a JSON file, `ID.source` or `ID.target`. It is replaced by a new file in one step,
//! and both the file and the folder are on the disk before a write returns. A lock file in another
//! folder tells whether a process works on the migration; the kernel releases the lock when the
//! process ends, and a restart of the host removes the file.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Guest;
use crate::link::transport::Transport;

/// Where records are kept.
pub const FOLDER: &str = "/var/lib/paravane/migrations";

/// Where their locks are.
pub const LOCKS: &str = "/run/paravane/migrations";

/// The source's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Identifies the migration.
    pub id: String,
    /// Where the token is.
    pub state: SourceState,
    /// The guest.
    pub guest: Guest,
    /// How to ask the target.
    pub target: Transport,
    /// The guest's cap before the migration, in percent of a CPU; zero means none.
    pub cap: u32,
}

/// States of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceState {
    /// The guest is being sent; the token is here.
    Sending,
    /// The token has been given to the target.
    Given,
}

/// The target's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRecord {
    /// Identifies the migration.
    pub id: String,
    /// Where the token is.
    pub state: TargetState,
    /// The guest.
    pub guest: Guest,
    /// Name of the source.
    pub source: String,
}

/// States of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetState {
    /// The guest is arriving.
    Receiving,
    /// The guest is complete, and paused.
    Ready,
    /// The token is here.
    Held,
}

/// A kind of record.
pub trait Record: Clone + Serialize + DeserializeOwned {
    /// How its files end.
    const SIDE: &'static str;

    /// Identifies the migration.
    fn id(&self) -> &str;
}

impl Record for SourceRecord {
    const SIDE: &'static str = "source";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Record for TargetRecord {
    const SIDE: &'static str = "target";

    fn id(&self) -> &str {
        &self.id
    }
}

/// Durable records of one kind.
pub trait Records<R> {
    /// Keeps other processes from the record until the lock is dropped; `None` if one has it.
    fn lock(&self, id: &str) -> Result<Option<Lock>>;

    /// The record, if there is one.
    fn load(&self, id: &str) -> Result<Option<R>>;

    /// Writes the record durably.
    fn store(&mut self, record: &R) -> Result<()>;

    /// Removes the record durably.
    fn remove(&mut self, id: &str) -> Result<()>;
}

/// A lock that is held.
pub struct Lock(#[expect(dead_code, reason = "dropping it releases the lock")] Box<dyn Send>);

impl Lock {
    /// A lock that is released when `guard` is dropped.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self(Box::new(guard))
    }
}

/// Records as files in a folder.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
    locks: PathBuf,
}

impl Files {
    /// The records in `folder` with their locks in `locks`, which are made if they do not exist.
    pub fn open(folder: &Path, locks: &Path) -> Result<Self> {
        for folder in [folder, locks] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Self { folder: folder.to_owned(), locks: locks.to_owned() })
    }

    /// All records of a kind, in the order of their ids.
    pub fn all<R: Record>(&self) -> Result<Vec<R>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(R::SIDE)?.strip_suffix('.'));
            ids.extend(id.filter(|id| is_id(id)).map(str::to_owned));
        }
        ids.sort();
        // A record may be removed meanwhile.
        ids.iter().filter_map(|id| self.load(id).transpose()).collect()
    }

    fn sync(&self) -> Result<()> {
        File::open(&self.folder)?.sync_all().with_context(|| format!("cannot sync {}", self.folder.display()))
    }
}

/// The file of a migration in a folder.
fn path(folder: &Path, id: &str, side: &str) -> Result<PathBuf> {
    ensure!(is_id(id), "'{id}' does not identify a migration");
    Ok(folder.join(format!("{id}.{side}")))
}

/// Whether this could identify a migration: 32 hexadecimal digits.
pub fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl<R: Record> Records<R> for Files {
    fn lock(&self, id: &str) -> Result<Option<Lock>> {
        let path = path(&self.locks, id, R::SIDE)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    fn load(&self, id: &str) -> Result<Option<R>> {
        let path = path(&self.folder, id, R::SIDE)?;
        match fs::read(&path) {
            Ok(text) => {
                let record = serde_json::from_slice(&text);
                Ok(Some(record.with_context(|| format!("{} is not a record of a migration", path.display()))?))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn store(&mut self, record: &R) -> Result<()> {
        let new = path(&self.folder, record.id(), &format!("{}.new", R::SIDE))?;
        let path = path(&self.folder, record.id(), R::SIDE)?;
        let write = || -> Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            self.sync()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    fn remove(&mut self, id: &str) -> Result<()> {
        let path = path(&self.folder, id, R::SIDE)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
            Ok(()) => self.sync(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn record(state: SourceState) -> SourceRecord {
        let guest = Guest { name: "web".into(), uuid: "u".into(), domain: Some(7) };
        let target = Transport { host: "there".into(), command: None };
        SourceRecord { id: ID.into(), state, guest, target, cap: 0 }
    }

    #[test]
    fn records_are_kept_replaced_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = Files::open(&folder.path().join("a/b"), folder.path()).expect("records");
        assert_eq!(Records::<SourceRecord>::load(&files, ID).expect("readable"), None);
        for state in [SourceState::Sending, SourceState::Given] {
            files.store(&record(state)).expect("stored");
            assert_eq!(files.load(ID).expect("readable"), Some(record(state)));
        }
        assert_eq!(files.all::<SourceRecord>().expect("readable"), [record(SourceState::Given)]);
        assert_eq!(files.all::<TargetRecord>().expect("readable"), []);
        Records::<SourceRecord>::remove(&mut files, ID).expect("removed");
        Records::<SourceRecord>::remove(&mut files, ID).expect("removed already");
        assert_eq!(files.all::<SourceRecord>().expect("readable"), []);
    }

    #[test]
    fn a_lock_excludes_others_of_its_side_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), &folder.path().join("locks")).expect("records");
        let lock = Records::<SourceRecord>::lock(&files, ID).expect("a lock").expect("it is free");
        assert!(Records::<SourceRecord>::lock(&files, ID).expect("a lock").is_none());
        assert!(Records::<TargetRecord>::lock(&files, ID).expect("a lock").is_some());
        drop(lock);
        assert!(Records::<SourceRecord>::lock(&files, ID).expect("a lock").is_some());
    }

    #[test]
    fn an_id_is_no_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), &folder.path().join("locks")).expect("records");
        for id in ["", "..", "../../../../../../../../etc/shadow", &ID.to_uppercase()] {
            assert!(Records::<SourceRecord>::load(&files, id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_damaged_record_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), &folder.path().join("locks")).expect("records");
        fs::write(folder.path().join(format!("{ID}.source")), "{").expect("written");
        let error = Records::<SourceRecord>::load(&files, ID).expect_err("it is damaged");
        assert!(error.to_string().contains(ID));
    }
}
