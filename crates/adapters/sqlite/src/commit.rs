//! One changeset within its savepoint: loads what the domain asks for, and writes the plan that it makes. Decides nothing.

use std::collections::{BTreeSet, HashMap};

use profile_domain::{
    Changeset, Entity, EntityKey, Idempotency, Moment, Policy, Receipt, Reference, Refusal, TenantId,
    json::canonical,
    plan::{ChangeKind, Draft, EntityChange, Plan},
    stored::{self, FactColumns, Malformed},
    text::EmailKey,
};
use profile_ports::CommitError;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};

use crate::{clock::Clock, entities, error::Failure, row, tasks};

const KEY_OF_REQUEST: &str = "SELECT fingerprint, receipt FROM idempotency_keys WHERE tenant = ?1 AND route = ?2 AND key = ?3";
const KEEP_KEY: &str = "INSERT INTO idempotency_keys (tenant, route, key, fingerprint, receipt, type, reference, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const FORGET_RECEIPTS: &str = "UPDATE idempotency_keys SET receipt = NULL
WHERE tenant = ?1 AND type = ?2 AND reference = ?3 AND receipt IS NOT NULL";

const HOLDER: &str = "SELECT reference FROM profile_emails WHERE tenant = ?1 AND email_key = ?2";
const RELEASE: &str = "DELETE FROM profile_emails WHERE tenant = ?1 AND email_key = ?2 AND reference = ?3";
const TAKE: &str = "INSERT INTO profile_emails (tenant, email_key, reference) VALUES (?1, ?2, ?3)";

const NUMBERS: &str = "UPDATE sequences SET value = value + ?1 WHERE name = 'entity' RETURNING value";

const INSERT: &str = "INSERT INTO entities (tenant, type, reference, id, properties, provenance, superseded, version,
    rules_revision, name_key, created_at, updated_at, deleted_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
/// Most changes leave name and life as they are, and so every index untouched: SQLite rewrites the entries of an index when
/// one of its columns is named here, even with the value it had.
const UPDATE_VALUES: &str = "UPDATE entities SET properties = ?4, provenance = ?5, superseded = ?6, version = ?7,
    rules_revision = ?8, updated_at = ?9
WHERE tenant = ?1 AND type = ?2 AND reference = ?3";
const UPDATE: &str = "UPDATE entities SET id = ?4, properties = ?5, provenance = ?6, superseded = ?7, version = ?8,
    rules_revision = ?9, name_key = ?10, created_at = ?11, updated_at = ?12, deleted_at = ?13
WHERE tenant = ?1 AND type = ?2 AND reference = ?3";

const REMOVE_VALUE: &str = "DELETE FROM entity_values WHERE tenant = ?1 AND key = ?2 AND entity = ?3";
/// A row may be there already: SEARCH_FIELDS that were narrower for a while left it behind when its value went.
const ADD_VALUE: &str = "INSERT INTO entity_values (tenant, key, entity) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

const BLANK_FEED: &str = "UPDATE feed SET changes = NULL WHERE tenant = ?1 AND entity = ?2 AND changes IS NOT NULL";
const APPEND: &str = "INSERT INTO feed (tenant, type, reference, entity, version, kind, changes, at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// Why a changeset ends without being written.
pub(crate) enum Stop {
    Refused(Refusal),
    KeyReused,
    Fenced,
    NoProfile,
    UniqueElsewhere,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Stop> for CommitError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Refused(refusal) => Self::Refused(refusal),
            Stop::KeyReused => Self::KeyReused,
            Stop::Fenced => Self::Fenced,
            Stop::NoProfile => Self::NoProfile,
            Stop::UniqueElsewhere => Self::UniqueElsewhere,
            Stop::Failed(failure) => Self::Store(failure.into()),
        }
    }
}

/// The entities that a changeset names, as they are now.
#[derive(Default)]
struct Loaded {
    entities: HashMap<EntityKey, Entity>,
    /// What the store alone knows of each of them.
    known: HashMap<EntityKey, Known>,
}

struct Known {
    id: Option<i64>,
    name_key: Option<String>,
}

/// Runs a changeset in the transaction of the connection. After an error the caller rolls back.
pub(crate) fn run(
    connection: &Connection,
    policy: &Policy,
    clock: &Clock,
    tenant: &TenantId,
    changeset: &Changeset,
) -> Result<Receipt, Stop> {
    if let Some(idempotency) = &changeset.idempotency
        && let Some(receipt) = replay(connection, tenant, idempotency)?
    {
        return Ok(receipt);
    }
    let Loaded { entities, known } = load(connection, tenant, changeset)?;
    let draft = Draft::new(changeset, &entities, policy).map_err(Stop::Refused)?;
    let holders = holders(connection, tenant, draft.email_keys())?;
    let mut plan = draft.settle(&holders).map_err(Stop::Refused)?;
    if let Some(fence) = changeset.fence
        && !tasks::pass_fence(connection, tenant, fence, clock.now())?
    {
        return Err(Stop::Fenced);
    }
    write(connection, tenant, changeset.now, &plan, &known)?;
    for change in plan.changes.iter().filter(|change| change.ended_life && change.key.entity_type.is_profile()) {
        tasks::cancel_of_profile(connection, tenant, &change.key.reference, clock.now())?;
    }
    for task in &changeset.tasks {
        plan.receipt.tasks.push(tasks::enqueue(connection, tenant, task, clock.now())?);
    }
    if let Some(idempotency) = &changeset.idempotency {
        keep_key(connection, tenant, idempotency, changeset, &plan.receipt)?;
    }
    Ok(plan.receipt)
}

fn replay(connection: &Connection, tenant: &TenantId, idempotency: &Idempotency) -> Result<Option<Receipt>, Stop> {
    let mut statement = connection.prepare_cached(KEY_OF_REQUEST)?;
    let mut rows = statement.query((tenant.as_str(), idempotency.route, &idempotency.key))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let fingerprint: [u8; 32] = row.get(0)?;
    if fingerprint != idempotency.fingerprint {
        return Err(Stop::KeyReused);
    }
    let receipt: Option<Value> = row::json(row, 1)?;
    Ok(Some(stored::receipt_from_json(receipt.as_ref())?))
}

fn load(connection: &Connection, tenant: &TenantId, changeset: &Changeset) -> Result<Loaded, Failure> {
    let mut loaded = Loaded::default();
    for write in &changeset.writes {
        if !loaded.entities.contains_key(&write.key)
            && let Some(stored) = entities::stored(connection, tenant, &write.key)?
        {
            loaded.entities.insert(write.key.clone(), stored.entity);
            loaded.known.insert(write.key.clone(), Known { id: stored.id, name_key: stored.name_key });
        }
    }
    Ok(loaded)
}

fn holders(
    connection: &Connection,
    tenant: &TenantId,
    emails: BTreeSet<EmailKey>,
) -> Result<HashMap<EmailKey, Reference>, Failure> {
    let mut statement = connection.prepare_cached(HOLDER)?;
    let mut holders = HashMap::with_capacity(emails.len());
    for email in emails {
        let holder: Option<String> = statement.query_row((tenant.as_str(), email.as_str()), |row| row.get(0)).optional()?;
        if let Some(holder) = holder {
            holders.insert(email, Reference::parse(&holder)?);
        }
    }
    Ok(holders)
}

fn write(
    connection: &Connection,
    tenant: &TenantId,
    now: Moment,
    plan: &Plan,
    known: &HashMap<EntityKey, Known>,
) -> Result<(), Failure> {
    let mut release = connection.prepare_cached(RELEASE)?;
    for (email, reference) in &plan.released {
        release.execute((tenant.as_str(), email.as_str(), reference.as_str()))?;
    }
    let mut take = connection.prepare_cached(TAKE)?;
    for (email, reference) in &plan.taken {
        take.execute((tenant.as_str(), email.as_str(), reference.as_str()))?;
    }
    let numbers = numbers(connection, plan)?;
    for change in &plan.changes {
        let known = known.get(&change.key);
        let life = Life {
            before: known.and_then(|known| known.id),
            after: match change.birth {
                Some(place) => numbers.clone().nth(place),
                None => known.and_then(|known| known.id).filter(|_| change.after.living.is_some()),
            },
        };
        write_entity(connection, tenant, change, known, life)?;
        write_values(connection, tenant, change, life)?;
        write_feed(connection, tenant, now, change, life)?;
    }
    Ok(())
}

/// The numbers of the lives on both sides of a change.
#[derive(Clone, Copy)]
struct Life {
    before: Option<i64>,
    after: Option<i64>,
}

/// A number for each life that begins.
fn numbers(connection: &Connection, plan: &Plan) -> Result<std::ops::Range<i64>, Failure> {
    let births = plan.changes.iter().filter(|change| change.birth.is_some()).count();
    let births = i64::try_from(births).unwrap_or(i64::MAX);
    if births == 0 {
        return Ok(0..0);
    }
    let last: i64 = connection.prepare_cached(NUMBERS)?.query_row([births], |row| row.get(0))?;
    Ok(last - births + 1..last + 1)
}

fn write_entity(
    connection: &Connection,
    tenant: &TenantId,
    change: &EntityChange,
    known: Option<&Known>,
    life: Life,
) -> Result<(), Failure> {
    let tenant = tenant.as_str();
    let (entity_type, reference) = (change.key.entity_type.as_str(), change.key.reference.as_str());
    let version = change.after.version.get();
    let living = change.after.living.as_ref();
    let columns = living.map(FactColumns::of);
    let properties = columns.as_ref().map(|columns| object(&columns.properties));
    let provenance = columns.as_ref().map(|columns| canonical(&columns.provenance));
    let superseded = columns.as_ref().and_then(|columns| columns.superseded.as_ref()).map(object);
    let revision = living.map(|living| living.rules_revision);
    let updated_at = living.map(|living| living.updated_at.as_micros());

    let changed = if let Some(known) = known
        && known.id.is_some()
        && life.before == life.after
        && known.name_key == change.name_key
    {
        connection.prepare_cached(UPDATE_VALUES)?.execute((
            tenant,
            entity_type,
            reference,
            properties,
            provenance,
            superseded,
            version,
            revision,
            updated_at,
        ))?
    } else {
        let statement = if known.is_some() { UPDATE } else { INSERT };
        connection.prepare_cached(statement)?.execute((
            tenant,
            entity_type,
            reference,
            life.after,
            properties,
            provenance,
            superseded,
            version,
            revision,
            &change.name_key,
            living.map(|living| living.created_at.as_micros()),
            updated_at,
            change.after.floor.map(Moment::as_micros),
        ))?
    };
    if changed == 1 { Ok(()) } else { Err(Malformed("entity").into()) }
}

/// Search rows belong to a life, so those removed carry its old number and those added its new one.
fn write_values(connection: &Connection, tenant: &TenantId, change: &EntityChange, life: Life) -> Result<(), Failure> {
    let mut remove = connection.prepare_cached(REMOVE_VALUE)?;
    for key in &change.keys_removed {
        remove.execute((tenant.as_str(), key.0, life.before))?;
    }
    let mut add = connection.prepare_cached(ADD_VALUE)?;
    for key in &change.keys_added {
        add.execute((tenant.as_str(), key.0, life.after))?;
    }
    Ok(())
}

fn write_feed(connection: &Connection, tenant: &TenantId, now: Moment, change: &EntityChange, life: Life) -> Result<(), Failure> {
    let (entity_type, reference) = (change.key.entity_type.as_str(), change.key.reference.as_str());
    if change.ended_life {
        connection.prepare_cached(BLANK_FEED)?.execute((tenant.as_str(), life.before))?;
        connection.prepare_cached(FORGET_RECEIPTS)?.execute((tenant.as_str(), entity_type, reference))?;
    }
    // One changeset may hold the end of the old life, whole lives, and the beginning of the one that goes on.
    let is_end = |kind| kind == ChangeKind::Deleted;
    let first_end = change.feed.iter().position(|entry| is_end(entry.kind));
    let last_end = change.feed.iter().rposition(|entry| is_end(entry.kind));
    let mut append = connection.prepare_cached(APPEND)?;
    for (index, entry) in change.feed.iter().enumerate() {
        let entity = if last_end.is_none_or(|end| index > end) {
            life.after
        } else if first_end.is_some_and(|end| index <= end) {
            life.before
        } else {
            None
        };
        append.execute((
            tenant.as_str(),
            entity_type,
            reference,
            entity,
            entry.version.get(),
            entry.kind.as_str(),
            object(&entry.changes),
            now.as_micros(),
        ))?;
    }
    Ok(())
}

/// A changeset with a key is of one entity, or of several that are forgotten with the first.
fn keep_key(
    connection: &Connection,
    tenant: &TenantId,
    idempotency: &Idempotency,
    changeset: &Changeset,
    receipt: &Receipt,
) -> Result<(), Failure> {
    let key = changeset.kept_with();
    connection.prepare_cached(KEEP_KEY)?.execute((
        tenant.as_str(),
        idempotency.route,
        &idempotency.key,
        idempotency.fingerprint,
        canonical(&stored::receipt_to_json(receipt)),
        key.as_ref().map(|key| key.entity_type.as_str()),
        key.as_ref().map(|key| key.reference.as_str()),
        changeset.now.as_micros(),
    ))?;
    Ok(())
}

fn object(members: &Map<String, Value>) -> String {
    canonical(&Value::Object(members.clone()))
}
