//! A plan as statements: set-wise, one for each table and kind of write, all sent at once with the `COMMIT` behind them. If one
//! fails the server takes the rest for nothing and the `COMMIT` for a rollback.

use std::{
    collections::HashMap,
    future::Future,
    pin::{Pin, pin},
    sync::atomic::Ordering,
};

use futures_util::future::try_join_all;
use profile_domain::{
    EntityKey, Moment, Place, Receipt, TenantId,
    plan::{EntityChange, Plan},
    stored::{FactColumns, receipt_to_json},
};
use serde_json::{Map, Value};
use tokio_postgres::{
    Error,
    types::{Json, ToSql, Type},
};

use crate::{
    commit::{Commit, LOCK_EMAILS, LOCK_ENTITIES},
    entities::ENTITIES,
    pool::{LIMITS, Lease},
    statement::{Statement, durably},
    tasks::CANCEL_OF_PROFILES,
};

pub(crate) static CREATE_FRESH: Statement = Statement::new(
    "create_fresh",
    concat!(include_str!("sql/create_fresh.sql"), ", ", durably!()),
    &[
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::INT4,
        Type::TEXT,
        Type::JSON,
        Type::JSON,
        Type::JSON,
        Type::TEXT,
        Type::INT8_ARRAY,
        Type::TEXT,
        Type::JSON,
    ],
);

pub(crate) static CHANGE_ONE: Statement = Statement::new(
    "change_one",
    include_str!("sql/change_one.sql"),
    &[
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::TIMESTAMPTZ,
        Type::INT4,
        Type::TEXT,
        Type::JSON,
        Type::JSON,
        Type::JSON,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT,
        Type::JSON,
        Type::TIMESTAMPTZ,
    ],
);

static RELEASE_EMAILS: Statement = Statement::new(
    "emails_release",
    // Each is looked up by its key, as in entities.sql.
    "DELETE FROM profile_emails AS e USING unnest($2::text[], $3::text[]) AS released (email_key, reference), LATERAL (
         SELECT ctid FROM profile_emails WHERE tenant = $1 AND email_key = released.email_key OFFSET 0
     ) AS found
     WHERE e.ctid = found.ctid AND e.reference = released.reference",
    &[Type::TEXT, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
);

static TAKE_EMAILS: Statement = Statement::new(
    "emails_take",
    "INSERT INTO profile_emails (tenant, email_key, reference) SELECT $1, taken.* FROM unnest($2::text[], $3::text[]) AS taken",
    &[Type::TEXT, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
);

const ENTITY_COLUMNS: &[Type] = &[
    Type::TEXT,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::TIMESTAMPTZ_ARRAY,
    Type::INT4_ARRAY,
    Type::TEXT_ARRAY,
    Type::JSON_ARRAY,
    Type::JSON_ARRAY,
    Type::JSON_ARRAY,
];

static INSERT_ENTITIES: Statement = Statement::new("entities_insert", include_str!("sql/insert_entities.sql"), ENTITY_COLUMNS);

static UPDATE_ENTITIES: Statement = Statement::new("entities_update", include_str!("sql/update_entities.sql"), ENTITY_COLUMNS);

static REMOVE_VALUES: Statement = Statement::new(
    "values_remove",
    // Each is looked up by its key, as in entities.sql.
    "DELETE FROM entity_values AS v USING unnest($2::bigint[], $3::bigint[]) AS removed (key, entity), LATERAL (
         SELECT ctid FROM entity_values WHERE tenant = $1 AND key = removed.key AND entity = removed.entity OFFSET 0
     ) AS found
     WHERE v.ctid = found.ctid",
    &[Type::TEXT, Type::INT8_ARRAY, Type::INT8_ARRAY],
);

static ADD_VALUES: Statement = Statement::new(
    "values_add",
    "INSERT INTO entity_values (tenant, key, entity) SELECT $1, added.* FROM unnest($2::bigint[], $3::bigint[]) AS added",
    &[Type::TEXT, Type::INT8_ARRAY, Type::INT8_ARRAY],
);

/// For lives that go on. A row may be there already: SEARCH_FIELDS that were narrower for a while left it behind when its value
/// went. Lives that begin have a new number and no such rows, so they are spared what looking for them costs.
static ADD_MISSING_VALUES: Statement = Statement::new(
    "values_add_missing",
    "INSERT INTO entity_values (tenant, key, entity) SELECT $1, added.* FROM unnest($2::bigint[], $3::bigint[]) AS added
     ON CONFLICT DO NOTHING",
    &[Type::TEXT, Type::INT8_ARRAY, Type::INT8_ARRAY],
);

static BLANK_FEED: Statement = Statement::new(
    "feed_blank",
    // By the life, as in entities.sql by the key.
    "UPDATE feed AS f SET changes = NULL FROM unnest($2::bigint[]) AS ended (entity), LATERAL (
         SELECT ctid FROM feed WHERE tenant = $1 AND entity = ended.entity AND changes IS NOT NULL OFFSET 0
     ) AS found
     WHERE f.ctid = found.ctid",
    &[Type::TEXT, Type::INT8_ARRAY],
);

static FORGET_RECEIPTS: Statement = Statement::new(
    "idempotency_forget",
    include_str!("sql/forget_receipts.sql"),
    &[Type::TEXT, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
);

static APPEND_FEED: Statement = Statement::new(
    "feed_append",
    include_str!("sql/insert_feed.sql"),
    &[
        Type::TEXT,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::JSON_ARRAY,
        Type::TIMESTAMPTZ,
    ],
);

static KEEP_RECEIPT: Statement = Statement::new(
    "idempotency_keep",
    "UPDATE idempotency_keys SET receipt = $4 WHERE tenant = $1 AND route = $2 AND key = $3",
    &[Type::TEXT, Type::TEXT, Type::TEXT, Type::JSON],
);

/// Rows of `entities`, column by column.
#[derive(Default)]
struct EntityRows<'p> {
    types: Vec<&'p str>,
    references: Vec<&'p str>,
    ids: Vec<Option<i64>>,
    versions: Vec<i64>,
    created: Vec<Option<jiff::Timestamp>>,
    updated: Vec<Option<jiff::Timestamp>>,
    deleted: Vec<Option<jiff::Timestamp>>,
    revisions: Vec<Option<i32>>,
    names: Vec<Option<&'p str>>,
    properties: Vec<Option<Json<Map<String, Value>>>>,
    provenance: Vec<Option<Json<Value>>>,
    superseded: Vec<Option<Json<Map<String, Value>>>>,
}

/// Rows of `feed`, column by column.
#[derive(Default)]
struct FeedRows<'p> {
    types: Vec<&'p str>,
    references: Vec<&'p str>,
    entities: Vec<Option<i64>>,
    versions: Vec<i64>,
    kinds: Vec<&'static str>,
    changes: Vec<Json<&'p Map<String, Value>>>,
}

/// The answer of a statement that was sent.
type Sent<'s> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 's>>;

/// A plan, table by table.
#[derive(Default)]
struct Rows<'p> {
    inserted: EntityRows<'p>,
    updated: EntityRows<'p>,
    removed_keys: Vec<i64>,
    removed_of: Vec<i64>,
    /// Of lives that begin.
    added_keys: Vec<i64>,
    added_of: Vec<i64>,
    /// Of lives that go on.
    missing_keys: Vec<i64>,
    missing_of: Vec<i64>,
    ended_ids: Vec<i64>,
    ended_types: Vec<&'p str>,
    ended_references: Vec<&'p str>,
    ended_profiles: Vec<&'p str>,
    feed: FeedRows<'p>,
}

/// Writes a plan and commits the open transaction, unless tasks are still to come: then [`finish`] does. `known` are the numbers of
/// the entities that live, `drawn` at least as many new ones as lives begin. `sent` of the commit is set once the server may have been
/// told to. Gives how far the server then was.
pub(crate) async fn write(
    lease: &Lease<'_>,
    commit: &Commit<'_>,
    plan: &Plan,
    known: &HashMap<EntityKey, i64>,
    drawn: &[i64],
) -> Result<Option<Place>, Error> {
    let (rows, changeset) = (Rows::of(plan, known, drawn), commit.changeset);
    let complete = changeset.tasks.is_empty();
    let tenant = commit.tenant.as_str();
    let released: (Vec<&str>, Vec<&str>) = plan.released.iter().map(|(key, of)| (key.as_str(), of.as_str())).unzip();
    let taken: (Vec<&str>, Vec<&str>) = plan.taken.iter().map(|(key, of)| (key.as_str(), of.as_str())).unzip();
    let idempotency = changeset.idempotency.as_ref().filter(|_| complete);
    let receipt = idempotency.map(|key| (key, Json(receipt_to_json(&plan.receipt))));
    let now = jiff::Timestamp::from(changeset.now);

    let (inserted, updated, feed) = (&rows.inserted, &rows.updated, &rows.feed);
    // In the order that excludes deadlocks, and earlier feed rows blanked before new ones come.
    let mut writes: Vec<(&Statement, Vec<&(dyn ToSql + Sync)>)> = Vec::new();
    let mut push = |needed: bool, statement, params| {
        if needed {
            writes.push((statement, params));
        }
    };
    push(!released.0.is_empty(), &RELEASE_EMAILS, vec![&tenant, &released.0, &released.1]);
    push(!taken.0.is_empty(), &TAKE_EMAILS, vec![&tenant, &taken.0, &taken.1]);
    push(!inserted.types.is_empty(), &INSERT_ENTITIES, inserted.params(&tenant));
    push(!updated.types.is_empty(), &UPDATE_ENTITIES, updated.params(&tenant));
    push(!rows.removed_keys.is_empty(), &REMOVE_VALUES, vec![&tenant, &rows.removed_keys, &rows.removed_of]);
    push(!rows.added_keys.is_empty(), &ADD_VALUES, vec![&tenant, &rows.added_keys, &rows.added_of]);
    push(!rows.missing_keys.is_empty(), &ADD_MISSING_VALUES, vec![&tenant, &rows.missing_keys, &rows.missing_of]);
    push(!rows.ended_ids.is_empty(), &BLANK_FEED, vec![&tenant, &rows.ended_ids]);
    push(!rows.ended_types.is_empty(), &FORGET_RECEIPTS, vec![&tenant, &rows.ended_types, &rows.ended_references]);
    push(!rows.ended_profiles.is_empty(), &CANCEL_OF_PROFILES, vec![&tenant, &rows.ended_profiles, &commit.clock_offset]);
    push(!feed.types.is_empty(), &APPEND_FEED, feed.params(&tenant, &now));
    if let Some((idempotency, receipt)) = &receipt {
        push(true, &KEEP_RECEIPT, vec![&tenant, &idempotency.route, &idempotency.key, receipt]);
    }

    let mut statements: Vec<&Statement> = writes.iter().map(|(statement, _)| *statement).collect();
    statements.extend(lease.placing());
    lease.prepare(&statements).await?;
    commit.sent.store(complete, Ordering::Relaxed);
    let mut pipeline: Vec<Sent<'_>> = Vec::with_capacity(writes.len() + 1);
    for (statement, params) in &writes {
        pipeline.push(Box::pin(async move { lease.query(statement, params).await.map(drop) }));
    }
    if !complete {
        return try_join_all(pipeline).await.map(|_| None);
    }
    pipeline.push(Box::pin(lease.batch("commit", "COMMIT")));
    let (_, place) = lease.placed(pin!(try_join_all(pipeline)), commit.deadline).await?;
    Ok(place)
}

/// Keeps a receipt that names tasks, and commits. Gives how far the server then was.
pub(crate) async fn finish(lease: &Lease<'_>, commit: &Commit<'_>, receipt: &Receipt) -> Result<Option<Place>, Error> {
    if let Some(idempotency) = &commit.changeset.idempotency {
        let (tenant, receipt) = (commit.tenant.as_str(), Json(receipt_to_json(receipt)));
        lease.query(&KEEP_RECEIPT, &[&tenant, &idempotency.route, &idempotency.key, &receipt]).await?;
    }
    lease.prepare(lease.placing()).await?;
    commit.sent.store(true, Ordering::Relaxed);
    let ((), place) = lease.placed(pin!(lease.batch("commit", "COMMIT")), commit.deadline).await?;
    Ok(place)
}

/// Writes a plan that creates one entity, in one statement that commits by itself. `false` if its address is taken, and nothing
/// was written.
pub(crate) async fn create_fresh(lease: &Lease<'_>, tenant: &TenantId, now: Moment, plan: &Plan) -> Result<bool, Error> {
    let [change] = plan.changes.as_slice() else { return Ok(true) };
    let ([entry], Some(living)) = (change.feed.as_slice(), &change.after.living) else { return Ok(true) };
    let columns = FactColumns::of(living);
    let (created, updated) = (jiff::Timestamp::from(now), jiff::Timestamp::from(living.updated_at));
    let email = plan.taken.first().map(|(key, _)| key.as_str());
    let keys: Vec<i64> = change.keys_added.iter().map(|key| key.0).collect();
    let params: [&(dyn ToSql + Sync); 15] = [
        &tenant.as_str(),
        &change.key.entity_type.as_str(),
        &change.key.reference.as_str(),
        &change.after.version.get(),
        &created,
        &updated,
        &living.rules_revision,
        &change.name_key,
        &Json(&columns.properties),
        &Json(&columns.provenance),
        &columns.superseded.as_ref().map(Json),
        &email,
        &keys,
        &entry.kind.as_str(),
        &Json(&entry.changes),
    ];
    lease.query(&CREATE_FRESH, &params).await.map(|rows| !rows.is_empty())
}

/// What is set in a transaction that writes, and the statements that look for rows before it and in it, for whoever wants to see their plans.
#[doc(hidden)]
pub fn explain_writes() -> (&'static str, Vec<(&'static str, &'static [Type])>) {
    let statements = [
        &ENTITIES,
        &CHANGE_ONE,
        &LOCK_ENTITIES,
        &LOCK_EMAILS,
        &UPDATE_ENTITIES,
        &RELEASE_EMAILS,
        &REMOVE_VALUES,
        &BLANK_FEED,
        &FORGET_RECEIPTS,
        &KEEP_RECEIPT,
    ];
    (LIMITS.sql, statements.map(|statement| (statement.sql, statement.types)).to_vec())
}

/// Whether a plan is one change of an entity that lives on and keeps its address, so that [`change_one`] can write it.
pub(crate) fn is_one_change(plan: &Plan) -> bool {
    let [change] = plan.changes.as_slice() else { return false };
    let lives_on = change.was_living && change.after.living.is_some() && change.birth.is_none() && !change.ended_life;
    lives_on && change.feed.len() == 1 && plan.released.is_empty() && plan.taken.is_empty()
}

/// Writes such a plan in one statement. `false` if the entity isn't what the plan was made from any more, or somebody else is about to
/// change it, and nothing was written.
pub(crate) async fn change_one(lease: &Lease<'_>, tenant: &TenantId, now: Moment, plan: &Plan) -> Result<bool, Error> {
    let [change] = plan.changes.as_slice() else { return Ok(false) };
    let ([entry], Some(living), Some(before)) = (change.feed.as_slice(), &change.after.living, change.before) else {
        return Ok(false);
    };
    let columns = FactColumns::of(living);
    let (removed, added): (Vec<i64>, Vec<i64>) =
        (change.keys_removed.iter().map(|key| key.0).collect(), change.keys_added.iter().map(|key| key.0).collect());
    let params: [&(dyn ToSql + Sync); 16] = [
        &tenant.as_str(),
        &change.key.entity_type.as_str(),
        &change.key.reference.as_str(),
        &before.get(),
        &change.after.version.get(),
        &jiff::Timestamp::from(living.updated_at),
        &living.rules_revision,
        &change.name_key,
        &Json(&columns.properties),
        &Json(&columns.provenance),
        &columns.superseded.as_ref().map(Json),
        &removed,
        &added,
        &entry.kind.as_str(),
        &Json(&entry.changes),
        &jiff::Timestamp::from(now),
    ];
    lease.query(&CHANGE_ONE, &params).await.map(|rows| !rows.is_empty())
}

impl<'p> Rows<'p> {
    fn of(plan: &'p Plan, known: &HashMap<EntityKey, i64>, drawn: &[i64]) -> Self {
        let mut rows = Self::default();
        for change in &plan.changes {
            let before = known.get(&change.key).copied();
            let after = match (&change.after.living, change.birth) {
                (None, _) => None,
                (Some(_), Some(place)) => drawn.get(place).copied(),
                (Some(_), None) => before,
            };
            let entities = if change.before.is_none() { &mut rows.inserted } else { &mut rows.updated };
            entities.push(change, after);
            let added = if change.birth.is_some() {
                (&mut rows.added_keys, &mut rows.added_of)
            } else {
                (&mut rows.missing_keys, &mut rows.missing_of)
            };
            for (keys, life, to_keys, to_lives) in [
                (&change.keys_removed, before, &mut rows.removed_keys, &mut rows.removed_of),
                (&change.keys_added, after, added.0, added.1),
            ] {
                to_keys.extend(keys.iter().map(|key| key.0));
                to_lives.extend(keys.iter().filter_map(|_| life));
            }
            let (entity_type, reference) = (change.key.entity_type.as_str(), change.key.reference.as_str());
            if change.ended_life {
                rows.ended_ids.extend(before);
                rows.ended_types.push(entity_type);
                rows.ended_references.push(reference);
                rows.ended_profiles.extend(change.key.entity_type.is_profile().then_some(reference));
            }
            for entry in &change.feed {
                rows.feed.types.push(entity_type);
                rows.feed.references.push(reference);
                rows.feed.entities.push(after.or(before));
                rows.feed.versions.push(entry.version.get());
                rows.feed.kinds.push(entry.kind.as_str());
                rows.feed.changes.push(Json(&entry.changes));
            }
        }
        rows
    }
}

impl<'p> EntityRows<'p> {
    fn push(&mut self, change: &'p EntityChange, id: Option<i64>) {
        let living = change.after.living.as_ref();
        let columns = living.map(FactColumns::of);
        self.types.push(change.key.entity_type.as_str());
        self.references.push(change.key.reference.as_str());
        self.ids.push(id);
        self.versions.push(change.after.version.get());
        self.created.push(living.map(|living| living.created_at.into()));
        self.updated.push(living.map(|living| living.updated_at.into()));
        self.deleted.push(change.after.floor.map(Into::into));
        self.revisions.push(living.map(|living| living.rules_revision));
        self.names.push(change.name_key.as_deref());
        let (properties, provenance, superseded) = match columns {
            None => (None, None, None),
            Some(columns) => (Some(Json(columns.properties)), Some(Json(columns.provenance)), columns.superseded.map(Json)),
        };
        self.properties.push(properties);
        self.provenance.push(provenance);
        self.superseded.push(superseded);
    }

    fn params<'s>(&'s self, tenant: &'s &'p str) -> Vec<&'s (dyn ToSql + Sync)> {
        vec![
            tenant,
            &self.types,
            &self.references,
            &self.ids,
            &self.versions,
            &self.created,
            &self.updated,
            &self.deleted,
            &self.revisions,
            &self.names,
            &self.properties,
            &self.provenance,
            &self.superseded,
        ]
    }
}

impl FeedRows<'_> {
    fn params<'s>(&'s self, tenant: &'s &str, now: &'s jiff::Timestamp) -> Vec<&'s (dyn ToSql + Sync)> {
        vec![tenant, &self.types, &self.references, &self.entities, &self.versions, &self.kinds, &self.changes, now]
    }
}
