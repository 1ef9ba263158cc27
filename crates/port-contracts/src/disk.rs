//! A disk that can fail under a process: full, refusing to sync, or without power.
//!
//! A small library stands in for the calls by which a process changes files (`LD_PRELOAD`). It is C, because there is no
//! unsafe code here; and so the program under test is the one that ships, with no hook of its own, down to the driver's
//! handling of `ENOSPC` and `EIO`. The compiler that the driver needs anyway makes it.

mod record;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub use record::Record;

/// What may be wrong with a disk.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing can grow.
    Full,
    /// The write-ahead log can't be synced.
    LogSyncsFail,
    /// The database can't be synced.
    DatabaseSyncsFail,
}

/// The part of a file system beneath a folder, as a process sees it that runs with [`Disk::variables`].
pub struct Disk {
    root: PathBuf,
    /// The library, the faults that are switched on, the record.
    folder: PathBuf,
}

impl Disk {
    /// Watches what is beneath `root`; `folder`, which must be elsewhere, is for what that takes.
    pub fn under(root: &Path, folder: &Path) -> Self {
        let real = |path: &Path| path.canonicalize().expect("a folder that exists");
        let disk = Self { root: real(root), folder: real(folder) };
        fs::create_dir_all(disk.faults()).expect("a folder for faults");
        let source = disk.folder.join("preload.c");
        fs::write(&source, include_str!("disk/preload.c")).expect("a file of one's own");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(disk.library()).arg(source).status().expect("cc runs");
        assert!(compiled.success(), "cc can't compile the disk");
        disk
    }

    /// What a process has to find in its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library())),
            ("DISK_ROOT".to_owned(), text(&self.root)),
            ("DISK_FAULTS".to_owned(), text(&self.faults())),
        ]
    }

    /// The same, and everything that happens is recorded: [`Record`] reads it. Of the syncs of the log one in so many fails
    /// and of those of the database every other, none if that is 0.
    pub fn recording_variables(&self, sync_fails_one_in: u32) -> Vec<(String, String)> {
        let mut variables = self.variables();
        variables.push(("DISK_TRACE".to_owned(), self.trace().to_str().expect("a path in UTF-8").to_owned()));
        variables.push(("DISK_SYNC_FAILS_ONE_IN".to_owned(), sync_fails_one_in.to_string()));
        variables
    }

    /// Where what happens is recorded. Its length names a moment: what ends before it had happened by then.
    pub fn trace(&self) -> PathBuf {
        self.folder.join("trace")
    }

    /// What was recorded so far.
    pub fn record(&self) -> Record {
        Record::read(&self.trace(), &self.root)
    }

    /// Switches a fault on.
    pub fn break_by(&self, fault: Fault) {
        fs::write(self.switch(fault), []).expect("a file of one's own");
    }

    /// Switches it off.
    pub fn mend(&self, fault: Fault) {
        fs::remove_file(self.switch(fault)).expect("it was on");
    }

    fn switch(&self, fault: Fault) -> PathBuf {
        self.faults().join(match fault {
            Fault::Full => "full",
            Fault::LogSyncsFail => "log-syncs-fail",
            Fault::DatabaseSyncsFail => "database-syncs-fail",
        })
    }

    fn faults(&self) -> PathBuf {
        self.folder.join("faults")
    }

    fn library(&self) -> PathBuf {
        self.folder.join("preload.so")
    }
}
