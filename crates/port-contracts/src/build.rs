//! Short words for cases: keys, facts, writes, changesets, and a client that expects to succeed.

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use profile_domain::{
    Changeset, Entity, EntityKey, EntityType, EntityView, EntityWrite, Expect, Fact, FieldName, Idempotency, Intent, ItemOutcome,
    Moment, Policy, ProfileId, Receipt, Reference, Refusal, SourceName, TenantId, Version,
    search::{Filter, ListQuery, Order, Position},
};
use profile_ports::{CommitError, Deadline, EntityStream, Store};
use serde_json::{Map, Value};
use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;

use crate::Fixture;

/// 2026-01-01T00:00:00Z, where the clock of every case begins.
const BEGINNING: i64 = 1_767_225_600_000_000;

/// So many seconds after the beginning.
pub(crate) fn at(seconds: i64) -> Moment {
    Moment::from_micros(BEGINNING + seconds * 1_000_000)
}

/// Generous: a case that needs it has failed anyway.
pub(crate) fn deadline() -> Deadline {
    Deadline::within(Duration::from_mins(1))
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("the case names a valid tenant")
}

pub(crate) fn field(name: &str) -> FieldName {
    FieldName::parse(name).expect("the case names a valid field")
}

pub(crate) fn source(name: &str) -> SourceName {
    SourceName::parse(name).expect("the case names a valid source")
}

pub(crate) fn version(number: i64) -> Version {
    Version::new(number).expect("the case names a valid version")
}

/// The profile of this number.
pub(crate) fn profile(number: u32) -> EntityKey {
    EntityKey::profile(ProfileId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))))
}

/// An entity that is no profile.
pub(crate) fn organization(reference: &str) -> EntityKey {
    EntityKey {
        entity_type: EntityType::parse("organization").expect("a valid type"),
        reference: Reference::parse(reference).expect("the case names a valid reference"),
    }
}

/// What one source says of one field, dated so many seconds after the beginning.
pub(crate) fn fact(name: &str, from: &str, seconds: i64, value: impl Into<Value>) -> (FieldName, Fact) {
    (field(name), Fact { source: source(from), reference_date: at(seconds), value: value.into() })
}

/// The members of a JSON object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("the case needs an object, not {other}"),
    }
}

/// Takes facts in, as streams do: whatever is there, and not required.
pub(crate) fn merge(key: &EntityKey, facts: impl IntoIterator<Item = (FieldName, Fact)>) -> EntityWrite {
    let intent = Intent::Merge(facts.into_iter().collect());
    EntityWrite { key: key.clone(), intent, expect: Expect::Any, required: false }
}

/// Begins a life, as POST does.
pub(crate) fn create(key: &EntityKey, document: Value) -> EntityWrite {
    required(key, Intent::Replace(object(document)), Expect::Absent)
}

/// Serves exactly this document, as PUT does.
pub(crate) fn put(key: &EntityKey, document: Value) -> EntityWrite {
    required(key, Intent::Replace(object(document)), Expect::Present)
}

/// Changes the served document, as PATCH does.
pub(crate) fn patch(key: &EntityKey, changes: Value) -> EntityWrite {
    required(key, Intent::Patch { fields: object(changes), clear_attributes: false }, Expect::Present)
}

/// Serves these values beside what is served, as an import of source `api` does.
pub(crate) fn update(key: &EntityKey, fields: Value) -> EntityWrite {
    required(key, Intent::Update(object(fields)), Expect::Any)
}

/// Becomes exactly this, as a line of an export says.
pub(crate) fn restore(key: &EntityKey, entity: Entity) -> EntityWrite {
    required(key, Intent::Restore(Box::new(entity)), Expect::Absent)
}

/// Ends a life, as DELETE does.
pub(crate) fn delete(key: &EntityKey) -> EntityWrite {
    required(key, Intent::Delete, Expect::Present)
}

fn required(key: &EntityKey, intent: Intent, expect: Expect) -> EntityWrite {
    EntityWrite { key: key.clone(), intent, expect, required: true }
}

/// Variations of a write.
pub(crate) trait Vary: Sized {
    fn expecting(self, expect: Expect) -> Self;
    /// Rejected alone if it can't be applied.
    fn optional(self) -> Self;
}

impl Vary for EntityWrite {
    fn expecting(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}

/// Writes to commit at a time.
pub(crate) fn changeset(seconds: i64, writes: impl IntoIterator<Item = EntityWrite>) -> Changeset {
    Changeset::of(at(seconds), writes.into_iter().collect())
}

/// The same, to happen once.
pub(crate) fn once(key: &str, fingerprint: u8, changeset: Changeset) -> Changeset {
    let idempotency = Idempotency { route: "POST /api/v1/profiles", key: key.into(), fingerprint: [fingerprint; 32] };
    Changeset { idempotency: Some(idempotency), ..changeset }
}

/// Everything of a type, oldest first.
pub(crate) fn everything(key: &EntityKey) -> ListQuery {
    ListQuery {
        entity_type: key.entity_type.clone(),
        filters: Vec::new(),
        name_prefix: None,
        order: Order::Created,
        after: None,
        limit: 10_000,
    }
}

/// Profiles to which all of this applies, oldest first.
pub(crate) fn where_all(filters: &[Filter]) -> ListQuery {
    ListQuery { filters: filters.to_vec(), ..everything(&profile(0)) }
}

/// Where the page after this one begins.
pub(crate) fn after(last: &EntityView, order: Order) -> Position {
    let name = last.properties.get("name").and_then(|name| name.as_str().map(profile_domain::text::fold));
    Position { id: last.id, name_key: name.filter(|_| order == Order::Name && last.key.entity_type.is_profile()) }
}

/// A fresh store under the default policy, and a client of tenant `a`.
pub(crate) async fn start<F: Fixture>() -> (F, Client) {
    start_with(Policy::default()).await
}

pub(crate) async fn start_with<F: Fixture>(policy: Policy) -> (F, Client) {
    let fixture = F::fresh(policy).await;
    let client = Client::of(&fixture);
    (fixture, client)
}

/// One tenant's use of a store, which panics where the case expects no failure.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tenant: TenantId,
}

impl Client {
    pub(crate) fn of<F: Fixture>(fixture: &F) -> Self {
        Self { store: fixture.store(), tenant: tenant("a") }
    }

    pub(crate) fn as_tenant(&self, name: &str) -> Self {
        Self { store: Arc::clone(&self.store), tenant: tenant(name) }
    }

    pub(crate) async fn try_commit(&self, changeset: Changeset) -> Result<Receipt, CommitError> {
        self.store.commit(&self.tenant, changeset, deadline()).await
    }

    pub(crate) async fn receipt(&self, changeset: Changeset) -> Receipt {
        self.try_commit(changeset).await.expect("the case expects this commit to succeed")
    }

    /// Commits, and gives what became of each write.
    pub(crate) async fn commit(&self, seconds: i64, writes: impl IntoIterator<Item = EntityWrite>) -> Vec<ItemOutcome> {
        let receipt = self.receipt(changeset(seconds, writes)).await;
        receipt.outcomes.into_iter().map(|item| item.outcome).collect()
    }

    /// Commits what must be refused.
    pub(crate) async fn refused(&self, seconds: i64, writes: impl IntoIterator<Item = EntityWrite>) -> Refusal {
        match self.try_commit(changeset(seconds, writes)).await {
            Err(CommitError::Refused(refusal)) => refusal,
            other => panic!("the changeset should have been refused, but gave {other:?}"),
        }
    }

    pub(crate) async fn view(&self, key: &EntityKey) -> Option<EntityView> {
        self.store.view(&self.tenant, key, deadline()).await.expect("a view")
    }

    /// The served values as one JSON object; null if the entity isn't living.
    pub(crate) async fn served(&self, key: &EntityKey) -> Value {
        self.view(key).await.map_or(Value::Null, |view| Value::Object(view.properties.to_map().expect("a map")))
    }

    pub(crate) async fn entity(&self, key: &EntityKey) -> Option<Entity> {
        self.store.entity(&self.tenant, key, deadline()).await.expect("an entity")
    }

    pub(crate) async fn list(&self, query: &ListQuery) -> Vec<EntityView> {
        self.store.list(&self.tenant, query, deadline()).await.expect("a list")
    }

    /// Which entities a list gives.
    pub(crate) async fn keys(&self, query: &ListQuery) -> Vec<EntityKey> {
        self.list(query).await.into_iter().map(|view| view.key).collect()
    }

    /// Begins to export profiles.
    pub(crate) async fn begin_export(&self) -> EntityStream {
        self.store.export(&self.tenant, &EntityType::profile(), deadline()).await.expect("an export")
    }

    /// All profiles with their facts, tombstones last.
    pub(crate) async fn export(&self) -> Vec<(EntityKey, Entity)> {
        self.begin_export().await.try_collect().await.expect("a whole export")
    }

    /// Every page of a list, in pages of the query's limit, until one is short.
    pub(crate) async fn walk(&self, query: &ListQuery) -> Vec<EntityView> {
        let mut query = query.clone();
        let mut all = Vec::new();
        loop {
            let page = self.list(&query).await;
            assert!(page.len() <= query.limit, "a page of {} where {} were asked for", page.len(), query.limit);
            let short = page.len() < query.limit;
            query.after = page.last().map(|last| after(last, query.order)).or(query.after);
            all.extend(page);
            assert!(all.len() < 2_000, "a walk without end");
            if short {
                return all;
            }
        }
    }
}

/// Commits changesets at once, each from a task of its own; the answers in the order of the changesets.
pub(crate) async fn race(client: &Client, changesets: Vec<Changeset>) -> Vec<Result<Receipt, CommitError>> {
    let start = Arc::new(Barrier::new(changesets.len()));
    let mut tasks = JoinSet::new();
    for (index, changeset) in changesets.into_iter().enumerate() {
        let (client, start) = (client.clone(), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            (index, client.try_commit(changeset).await)
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
