//! The power goes in the middle of writing: what was acknowledged is there afterwards, and nothing is half.
//!
//! A process writes through the store while everything it does to its files is recorded. The record is then replayed up to
//! 200 moments, and what a loss of power at each may leave is opened as the next process would. In some runs syncs fail as
//! well: what the system then forgets may be built on by nothing that is acknowledged later.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]
#![expect(clippy::disallowed_methods, reason = "tests have no configuration; this tells a child what to do")]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt as _;
use profile_domain::{Changeset, EntityKey, EntityType, EntityWrite, Expect, Intent, Moment, Policy, ProfileId, TenantId};
use profile_port_contracts::disk::{Disk, Record};
use profile_ports::{Bulk as _, CommitError, Deadline, Entities as _};
use profile_sqlite::{Settings, SqliteStore, Synchronous};
use rusqlite::Connection;
use serde_json::{Map, json};

const CUTS: u32 = 200;
const WRITERS: usize = 6;
/// Entities of each writer, always written together.
const TOGETHER: usize = 3;
/// How many steps a writer does at least in each life of the process, none of which ends in order.
const LIVES: [usize; 5] = [10, 80, 10, 80, 80];

/// How the process is run.
#[derive(Clone, Copy)]
struct Conditions {
    synchronous: Synchronous,
    /// Of the syncs one in so many fails; none if 0.
    sync_fails_one_in: u32,
}

const AS_IT_SHIPS: Conditions = Conditions { synchronous: Synchronous::Full, sync_fails_one_in: 0 };

#[test]
fn what_was_acknowledged_survives_a_loss_of_power() {
    if let Some(folder) = in_the_process() {
        return write(&folder, AS_IT_SHIPS);
    }
    let found = lose_power_often("what_was_acknowledged_survives_a_loss_of_power", AS_IT_SHIPS);
    assert!(found.is_empty(), "{} of {CUTS} losses of power took something, such as: {}", found.len(), found[0]);
}

#[test]
fn what_was_acknowledged_survives_a_loss_of_power_after_syncs_that_failed() {
    let conditions = Conditions { sync_fails_one_in: 8, ..AS_IT_SHIPS };
    if let Some(folder) = in_the_process() {
        return write(&folder, conditions);
    }
    let found = lose_power_often("what_was_acknowledged_survives_a_loss_of_power_after_syncs_that_failed", conditions);
    assert!(found.is_empty(), "{} of {CUTS} losses of power took something, such as: {}", found.len(), found[0]);
}

#[test]
fn without_a_sync_for_each_commit_something_acknowledged_is_lost() {
    let conditions = Conditions { synchronous: Synchronous::Normal, ..AS_IT_SHIPS };
    if let Some(folder) = in_the_process() {
        return write(&folder, conditions);
    }
    let found = lose_power_often("without_a_sync_for_each_commit_something_acknowledged_is_lost", conditions);
    let lost = found.iter().filter(|what| what.contains("acknowledged")).count();
    eprintln!("synchronous=NORMAL: {lost} of {CUTS} losses of power took something that was acknowledged");
    assert!(lost > 0, "the test notices nothing: {found:?}");
}

/// Where the process that the test has started shall write.
fn in_the_process() -> Option<PathBuf> {
    std::env::var("POWER_LOSS_FOLDER").ok().map(PathBuf::from)
}

/// Runs this test in processes of their own, and gives what was wrong after losses of power.
fn lose_power_often(test: &str, conditions: Conditions) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("disk");
    fs::create_dir(&root).unwrap();
    let disk = Disk::under(&root, folder.path());
    for steps in LIVES {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", test, "--nocapture"]).env("POWER_LOSS_FOLDER", folder.path());
        process.env("POWER_LOSS_STEPS", steps.to_string());
        process.envs(disk.recording_variables(conditions.sync_fails_one_in));
        let output = process.output().unwrap();
        assert_eq!(output.status.code(), Some(ENDED), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let acknowledged = Acknowledged::read(folder.path());
    let seed = std::env::var("TEST_SEED").map_or(4, |text| text.parse().unwrap());
    let mut record = disk.record();
    let (checkpoints, failed_syncs) = record.tally();
    let commits = acknowledged.0.len();
    eprintln!("{commits} commits, {} changes of files, {checkpoints} checkpoints, {failed_syncs} failed syncs", record.len());
    let mut found = Vec::new();
    for (number, moment) in (0..).zip(record.moments(CUTS, seed)) {
        if let Err(what) = lose_power(&mut record, moment, seed + number, &acknowledged) {
            found.push(format!("TEST_SEED={seed}, loss {number}, after change {moment}: {what}"));
        }
    }
    found
}

/// Replays a loss of power and opens what it left.
fn lose_power(record: &mut Record, moment: usize, seed: u64, acknowledged: &Acknowledged) -> Result<(), String> {
    // In memory where there is such a folder: what is tried here is over when the power goes.
    let left = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let length = record.lose_power(moment, seed, left.path());
    let settings = Settings::at(database(left.path()));
    let store =
        SqliteStore::open(&settings, Policy::default(), &prometheus::Registry::new()).map_err(|error| format!("{error:?}"))?;
    let look = Connection::open(&settings.path).map_err(|error| error.to_string())?;
    is_whole(&look).map_err(|error| error.to_string())??;
    for writer in 0..WRITERS {
        let step = step_of(&look, writer).map_err(|error| error.to_string())??;
        let known = acknowledged.before(length, writer);
        if step < known {
            return Err(format!("writer {writer} was acknowledged step {known} and is back at {step}"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tenant = TenantId::default_tenant();
        let next = store.commit(&tenant, changeset(writer, step + 1), soon());
        runtime.block_on(next).map_err(|error| format!("it takes no more writes: {error:?}"))?;
    }
    Ok(())
}

/// Every table agrees with every other, and the file with itself.
fn is_whole(look: &Connection) -> rusqlite::Result<Result<(), String>> {
    const NONE: &str = "SELECT
        (SELECT count(*) FROM entities AS e LEFT JOIN (SELECT reference, count(*) AS changes, max(version) AS version FROM feed
             GROUP BY reference) AS f ON f.reference = e.reference
         WHERE f.changes IS NULL OR f.changes <> e.version OR f.version <> e.version)
        + (SELECT count(*) FROM feed WHERE reference NOT IN (SELECT reference FROM entities))
        + (SELECT count(*) FROM entity_values WHERE entity NOT IN (SELECT id FROM entities WHERE id IS NOT NULL))
        + abs((SELECT count(*) FROM entities WHERE id IS NOT NULL) - (SELECT count(*) FROM profile_emails))";
    let integrity: String = look.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if integrity != "ok" {
        return Ok(Err(integrity));
    }
    let torn: i64 = look.query_row(NONE, [], |row| row.get(0))?;
    Ok(if torn == 0 { Ok(()) } else { Err(format!("{torn} rows disagree with another table")) })
}

/// The step in which all entities of a writer are; each step makes one version.
fn step_of(look: &Connection, writer: usize) -> rusqlite::Result<Result<usize, String>> {
    let mut statement =
        look.prepare("SELECT version, properties ->> '$.step' FROM entities WHERE reference >= ?1 AND reference <= ?2")?;
    let reference = |index| key(writer, index).reference.as_str().to_owned();
    let rows = statement.query_map([reference(0), reference(TOGETHER - 1)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, Option<i64>)> = rows.collect::<rusqlite::Result<_>>()?;
    let Some(&(version, _)) = rows.first() else { return Ok(Ok(0)) };
    let step = usize::try_from(version).unwrap();
    let whole = rows.len() == TOGETHER && rows.iter().all(|row| *row == (version, (!deletes(step)).then_some(version)));
    Ok(if whole { Ok(step) } else { Err(format!("writer {writer} has half a changeset: {rows:?}")) })
}

/// What was acknowledged, with the length of the trace when that was known: (length, writer, step).
struct Acknowledged(Vec<(u64, usize, usize)>);

impl Acknowledged {
    fn read(folder: &Path) -> Self {
        let lines = fs::read_to_string(folder.join("acknowledged")).unwrap_or_default();
        let number = |text: Option<&str>| text.unwrap().parse::<u64>().unwrap();
        let small = |text: Option<&str>| usize::try_from(number(text)).unwrap();
        let line = |line: &str| {
            let mut words = line.split(' ');
            (number(words.next()), small(words.next()), small(words.next()))
        };
        Self(lines.lines().map(line).collect())
    }

    /// The last step of a writer that it knew to be done when the trace was so long.
    fn before(&self, length: u64, writer: usize) -> usize {
        let its = self.0.iter().filter(|(then, who, _)| *then <= length && *who == writer);
        its.map(|(_, _, step)| *step).max().unwrap_or(0)
    }
}

/// The exit code of a process that ended as it should: at once, and without closing anything.
const ENDED: i32 = 86;

fn end_if(now: bool) {
    if now {
        std::process::exit(ENDED);
    }
}

/// Writes until one writer has done its steps; where syncs fail, until one fails after that.
fn write(folder: &Path, conditions: Conditions) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let root = folder.join("disk").canonicalize().unwrap();
    let settings = Settings { synchronous: conditions.synchronous, cache_kib: 256, ..Settings::at(database(&root)) };
    let store = loop {
        match SqliteStore::open(&settings, Policy::default(), &prometheus::Registry::new()) {
            Ok(store) => break Arc::new(store),
            Err(error) => assert!(conditions.sync_fails_one_in > 0, "{error:?}"),
        }
    };
    let steps: usize = std::env::var("POWER_LOSS_STEPS").unwrap().parse().unwrap();
    let known = Acknowledged::read(folder);
    let acknowledged = File::options().create(true).append(true).open(folder.join("acknowledged")).unwrap();
    let acknowledged = Arc::new(Mutex::new(acknowledged));
    let trace = folder.join("trace");
    for writer in 0..WRITERS {
        let (store, acknowledged, trace) = (Arc::clone(&store), Arc::clone(&acknowledged), trace.clone());
        let first = known.before(u64::MAX, writer) + 1;
        runtime.spawn(async move {
            for step in first.. {
                // What failed is done again: if it was done after all, nothing changes.
                while let Err(error) = store.commit(&TenantId::default_tenant(), changeset(writer, step), soon()).await {
                    assert!(matches!(error, CommitError::Store(_)), "{error:?}");
                    // The next process finds in the log what was neither acknowledged nor synced.
                    end_if(step >= first + steps);
                }
                // In one piece, as the process may end in between.
                let line = format!("{} {writer} {step}\n", fs::metadata(&trace).unwrap().len());
                acknowledged.lock().unwrap().write_all(line.as_bytes()).unwrap();
                end_if(step >= first + steps && conditions.sync_fails_one_in == 0);
            }
        });
    }
    // Who reads on at an older state lets no checkpoint be complete.
    runtime.block_on(async {
        loop {
            let export = store.export(&TenantId::default_tenant(), &EntityType::profile(), soon()).await;
            if let Ok(mut export) = export {
                export.next().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

fn database(root: &Path) -> PathBuf {
    root.join("data/store.db")
}

fn soon() -> Deadline {
    Deadline::within(Duration::from_secs(30))
}

fn key(writer: usize, index: usize) -> EntityKey {
    EntityKey::profile(ProfileId(uuid::Uuid::from_u128((writer * 16 + index) as u128)))
}

fn deletes(step: usize) -> bool {
    step.is_multiple_of(7)
}

/// What a writer does in a step to all of its entities.
fn changeset(writer: usize, step: usize) -> Changeset {
    let write = |index| {
        let document = json!({
            "name": format!("Writer {writer}"),
            "email": format!("{writer}-{index}-{step}@example.com"),
            "bio": "x".repeat(step * 131 % 3_000 + 1),
            "step": step,
        });
        let fields: Map<_, _> = document.as_object().unwrap().clone();
        let intent = if deletes(step) { Intent::Delete } else { Intent::Replace(fields) };
        EntityWrite { key: key(writer, index), intent, expect: Expect::Any, required: true }
    };
    Changeset::of(Moment::from_micros(1_000_000), (0..TOGETHER).map(write).collect())
}
