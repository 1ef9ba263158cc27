//! What a process did to its files, replayed up to a moment at which the power goes.
//!
//! **What a loss leaves.** Of a file, what it was at its last sync, and of what was written since any part: disks write when
//! and in what order they like, by sectors of 512 bytes. A name, or that it is gone, is durable once its folder was synced. What
//! a failed sync was about is never written unless the program writes it again, as on Linux, which takes the pages for clean then.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::random::Random;

const SECTOR: usize = 512;

/// Everything that happened, in order.
pub struct Record {
    events: Vec<Event>,
    next: usize,
    /// What all files were, by the number each got when it was created.
    files: Vec<File>,
    /// Names as the process sees them, and as they are on the disk.
    seen: Names,
    durable: Names,
    random: Random,
}

type Names = BTreeMap<PathBuf, usize>;

struct Event {
    /// Where its record ends in the trace.
    end: u64,
    path: PathBuf,
    what: What,
}

enum What {
    Created,
    FolderMade,
    Removed,
    Changed(Change),
    Synced,
    SyncFailed,
}

#[derive(Clone)]
enum Change {
    Written { offset: usize, bytes: Vec<u8> },
    Cut { length: usize },
}

#[derive(Default)]
struct File {
    is_folder: bool,
    durable: Vec<u8>,
    /// Since the last sync.
    pending: Vec<Change>,
}

impl Record {
    pub(super) fn read(trace: &Path, root: &Path) -> Self {
        let bytes = fs::read(trace).expect("a trace");
        let mut events = Vec::new();
        let mut rest = bytes.as_slice();
        // A process that was killed may have left half an event.
        while let Some((event, after)) = Event::read(rest, root) {
            rest = after;
            events.push(Event { end: (bytes.len() - rest.len()) as u64, ..event });
        }
        let (seen, durable) = (Names::new(), Names::new());
        Self { events, next: 0, files: Vec::new(), seen, durable, random: Random::new(0) }
    }

    /// So many moments, ascending: half of them anywhere, half of them around a sync, where what matters happens.
    pub fn moments(&self, count: u32, seed: u64) -> Vec<usize> {
        let mut random = Random::new(seed);
        let syncs = self.events.iter().enumerate().filter(|(_, event)| matches!(event.what, What::Synced | What::SyncFailed));
        let syncs: Vec<usize> = syncs.map(|(index, _)| index).collect();
        let all = u32::try_from(self.events.len()).expect("few events");
        let mut moment = |number: u32| {
            let near = if number.is_multiple_of(2) { random.below(all) as usize } else { *random.pick(&syncs) };
            (near + random.below(3) as usize).min(self.events.len())
        };
        let mut moments: Vec<usize> = (0..count).map(&mut moment).collect();
        moments.sort_unstable();
        moments
    }

    /// The power goes after so many events, not fewer than the last time. Gives the length of the trace at that moment, and writes
    /// what is left into an empty folder: of what was not synced a share between nothing and everything, as the seed decides.
    pub fn lose_power(&mut self, after: usize, seed: u64, into: &Path) -> u64 {
        self.random = Random::new(seed);
        while self.next < after {
            self.apply();
        }
        let share = *self.random.pick(&[0, 0, 25, 50, 90, 100]);
        let names: BTreeSet<PathBuf> = self.seen.keys().chain(self.durable.keys()).cloned().collect();
        // Sorted, so that a folder comes before what is in it; what is in a folder that isn't there is lost.
        for name in names {
            let names = if self.random.percent(share) { &self.seen } else { &self.durable };
            let Some(&file) = names.get(&name) else { continue };
            let path = into.join(&name);
            if !path.parent().is_some_and(Path::exists) {
                continue;
            }
            let file = &self.files[file];
            let left = if file.is_folder { fs::create_dir(path) } else { fs::write(path, file.left(share, &mut self.random)) };
            left.expect("a folder to write to");
        }
        self.next.checked_sub(1).map_or(0, |last| self.events[last].end)
    }

    /// How many checkpoints of the database, failed ones included, and how many failed syncs the record holds.
    pub fn tally(&self) -> (usize, usize) {
        let is_database = |event: &&Event| event.path.extension().is_some_and(|extension| extension == "db");
        let failed = self.events.iter().filter(|event| matches!(event.what, What::SyncFailed));
        let synced = self.events.iter().filter(|event| matches!(event.what, What::Synced));
        (synced.chain(failed.clone()).filter(is_database).count(), failed.count())
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn apply(&mut self) {
        let Event { path, what, .. } = &self.events[self.next];
        self.next += 1;
        match what {
            What::Created | What::FolderMade => {
                self.seen.insert(path.clone(), self.files.len());
                self.files.push(File { is_folder: matches!(what, What::FolderMade), ..File::default() });
            }
            What::Removed => {
                self.seen.remove(path);
            }
            What::Changed(change) => {
                let file = self.seen.get(path).expect("a file that was created");
                self.files[*file].pending.push(change.clone());
            }
            What::Synced => match self.seen.get(path) {
                Some(&file) if !self.files[file].is_folder => self.files[file].sync(),
                // The root is a folder that was there before.
                _ => {
                    let inside = |name: &Path| name.parent() == Some(path);
                    self.durable.retain(|name, _| !inside(name));
                    let names = self.seen.iter().filter(|(name, _)| inside(name));
                    self.durable.extend(names.map(|(name, file)| (name.clone(), *file)));
                }
            },
            What::SyncFailed => {
                if let Some(&file) = self.seen.get(path) {
                    let (file, share) = (&mut self.files[file], *self.random.pick(&[0, 50, 100]));
                    file.durable = file.left(share, &mut self.random);
                    file.pending.clear();
                }
            }
        }
    }
}

impl File {
    /// The file as it is on the disk, with such a share of the sectors that were written since.
    fn left(&self, share: u32, random: &mut Random) -> Vec<u8> {
        let mut left = self.durable.clone();
        for change in &self.pending {
            match change {
                Change::Written { offset, bytes } => {
                    let mut from = *offset;
                    let end = offset + bytes.len();
                    while from < end {
                        let to = (from / SECTOR * SECTOR + SECTOR).min(end);
                        if random.percent(share) {
                            put(&mut left, from, &bytes[from - offset..to - offset]);
                        }
                        from = to;
                    }
                }
                Change::Cut { length } if random.percent(share) => left.resize(*length, 0),
                Change::Cut { .. } => {}
            }
        }
        left
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Written { offset, bytes } => put(&mut self.durable, offset, &bytes),
                Change::Cut { length } => self.durable.resize(length, 0),
            }
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

impl Event {
    /// The first event, and what follows it: `struct event` of the library, the path, the bytes.
    fn read<'a>(bytes: &'a [u8], root: &Path) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(24)?;
        let number = |at: usize| usize::try_from(u64::from_ne_bytes(head[at..at + 8].try_into().ok()?)).ok();
        let path = u32::from_ne_bytes(head[4..8].try_into().ok()?) as usize;
        let (offset, length) = (number(8)?, number(16)?);
        let (path, rest) = rest.split_at_checked(path)?;
        let path = Path::new(std::str::from_utf8(path).expect("a path in UTF-8"));
        let path = path.strip_prefix(root).expect("a path beneath the root").to_owned();
        let (what, rest) = match head[0] {
            b'W' => {
                let (bytes, rest) = rest.split_at_checked(length)?;
                (What::Changed(Change::Written { offset, bytes: bytes.to_owned() }), rest)
            }
            b'T' => (What::Changed(Change::Cut { length }), rest),
            b'C' => (What::Created, rest),
            b'M' => (What::FolderMade, rest),
            b'U' => (What::Removed, rest),
            b'S' => (What::Synced, rest),
            b'F' => (What::SyncFailed, rest),
            kind => panic!("an event of kind {kind}"),
        };
        Some((Self { end: 0, path, what }, rest))
    }
}
