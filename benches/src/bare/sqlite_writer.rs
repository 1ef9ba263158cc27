//! One thread that writes SQLite: the same rows, committed in groups, `synchronous=FULL`.

use std::{path::Path, thread};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::rows::{Document, Rows, TENANT, TYPE};

/// Profiles between two commits while a file is filled.
const CHUNK: u64 = 50_000;
/// Profiles in one commit.
const GROUP: usize = 256;

const NUMBERS: &str = "UPDATE sequences SET value = value + 1 WHERE name = 'entity' RETURNING value";
const ENTITY: &str =
    "INSERT INTO entities (tenant, type, reference, id, properties, provenance, version, rules_revision, name_key,
    created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, 0, ?7, ?8, ?8)";
const VALUE: &str = "INSERT INTO entity_values (tenant, key, entity) VALUES (?1, ?2, ?3)";
const EMAIL: &str = "INSERT INTO profile_emails (tenant, email_key, reference) VALUES (?1, ?2, ?3)";
const FEED: &str = "INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
VALUES (?1, ?2, ?3, ?4, 1, 'created', ?5, ?6)";
const READY: &str = "INSERT INTO bench_ready (reference, body) VALUES (?1, ?2)";

const TASK: &str = "INSERT INTO tasks (tenant, id, type, status, payload, run_at, created_at, max_attempts, last_attempt)
VALUES (?1, ?2, ?3, 'scheduled', ?4, ?5, ?6, 5, 5)";

/// What is to be written, and who waits for it.
pub(super) struct Job {
    work: Work,
    /// Told once it is durable.
    done: Option<oneshot::Sender<bool>>,
}

/// A profile on its way, with its JSON columns as text; or a task.
pub(super) enum Work {
    Profile { rows: Box<Rows>, properties: String, provenance: String, changes: String },
    Task { id: Uuid, task_type: String, payload: String, run_at: Timestamp, at: Timestamp },
}

impl Work {
    pub(super) fn of(rows: Rows) -> Self {
        let text = |value: &serde_json::Map<String, Value>| serde_json::to_string(value).unwrap_or_default();
        let (properties, provenance, changes) = (text(&rows.properties), rows.provenance.to_string(), text(&rows.changes));
        Self::Profile { rows: Box::new(rows), properties, provenance, changes }
    }
}

impl Job {
    pub(super) fn new(work: Work, done: Option<oneshot::Sender<bool>>) -> Self {
        Self { work, done }
    }
}

/// As the service opens it.
fn open(path: &Path, synchronous: &str) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Starts the thread.
pub(super) fn start(path: &Path) -> Result<flume::Sender<Job>> {
    let mut connection = open(path, "full")?;
    let (queue, waiting) = flume::bounded::<Job>(1_024);
    thread::Builder::new().name("writer".into()).spawn(move || {
        while let Ok(first) = waiting.recv() {
            let mut group = vec![first];
            let written = write_group(&mut connection, &waiting, &mut group).is_ok();
            for done in group.iter_mut().filter_map(|job| job.done.take()) {
                let _ = done.send(written);
            }
        }
    })?;
    Ok(queue)
}

fn write_group(connection: &mut Connection, waiting: &flume::Receiver<Job>, group: &mut Vec<Job>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    insert(&transaction, &group[0])?;
    while group.len() < GROUP
        && let Ok(job) = waiting.try_recv()
    {
        insert(&transaction, &job)?;
        group.push(job);
    }
    transaction.commit()
}

fn insert(connection: &Connection, job: &Job) -> rusqlite::Result<()> {
    let (rows, properties, provenance, changes) = match &job.work {
        Work::Profile { rows, properties, provenance, changes } => (rows, properties, provenance, changes),
        Work::Task { id, task_type, payload, run_at, at } => {
            let times = (run_at.as_microsecond(), at.as_microsecond());
            let columns = (TENANT, id.as_bytes(), task_type, payload, times.0, times.1);
            return connection.prepare_cached(TASK)?.execute(columns).map(drop);
        }
    };
    let reference = rows.reference.to_string();
    let at = rows.at.as_microsecond();
    let id: i64 = connection.prepare_cached(NUMBERS)?.query_row([], |row| row.get(0))?;
    connection.prepare_cached(EMAIL)?.execute((TENANT, &rows.email_key, &reference))?;
    let columns = (TENANT, TYPE, &reference, id, properties, provenance, &rows.name_key, at);
    connection.prepare_cached(ENTITY)?.execute(columns)?;
    let mut values = connection.prepare_cached(VALUE)?;
    for key in &rows.keys {
        values.execute((TENANT, key, id))?;
    }
    connection.prepare_cached(FEED)?.execute((TENANT, TYPE, &reference, id, changes, at))?;
    Ok(())
}

/// Profiles `0..count`, under the ids of [`crate::sample::reference`]; with `ready`, also the answers that the service will give.
pub(crate) fn fill(path: &Path, count: u64, ready: bool) -> Result<()> {
    let mut connection = open(path, "off")?;
    // The keys are scattered, so that all of their tree is needed all of the time.
    connection.pragma_update(None, "cache_size", -2 * 1024 * 1024)?;
    if ready {
        connection
            .execute_batch("CREATE TABLE bench_ready (reference TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID")?;
    }
    for start in (0..count).step_by(usize::try_from(CHUNK)?) {
        let transaction = connection.transaction()?;
        for number in start..count.min(start + CHUNK) {
            let (document, rows) = Document::numbered(number)?;
            if ready {
                transaction.prepare_cached(READY)?.execute((rows.reference.to_string(), document.ready(&rows, "database")))?;
            }
            insert(&transaction, &Job::new(Work::of(rows), None))?;
        }
        transaction.commit()?;
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).context("checkpoint")?;
    Ok(())
}
