//! A store in memory that runs the domain's planning, and calls that check every answer against the OpenAPI description.

mod bulk;
mod feed;

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_web::{
    body::to_bytes,
    http::{StatusCode, header::HeaderMap},
    test::{self, TestRequest},
};
use async_trait::async_trait;
use bytes::Bytes;
use profile_application::{App, Environment};
use profile_domain::{
    Changeset, Entity, EntityKey, EntityType, EntityView, Idempotency, Moment, Policy, Receipt, Reference, Replay, TenantId,
    plan::Draft,
    search::{ListQuery, Order},
    stored::FactColumns,
    text::{EmailKey, fold},
};
use profile_http::{BuildInfo, Operations, Service, Settings};
use profile_port_contracts::TaskTable;
use profile_ports::{CommitError, Deadline, Entities, SecretKey, Secrets, Store, StoreError};
use serde_json::Value;
use uuid::Uuid;

/// What the store shall do instead of its work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Unavailable,
    OutcomeUnknown,
    Full,
    Corrupt,
    InProgress,
    Panic,
}

#[derive(Default)]
pub(crate) struct FakeStore {
    state: Mutex<State>,
    pub(crate) trouble: Mutex<Option<Trouble>>,
    pub(crate) pings: AtomicU64,
}

#[derive(Clone, Default)]
struct State {
    entities: HashMap<TenantId, HashMap<EntityKey, Entity>>,
    ids: HashMap<(TenantId, EntityKey), i64>,
    emails: HashMap<TenantId, HashMap<EmailKey, Reference>>,
    receipts: HashMap<(TenantId, &'static str, String), (Idempotency, Receipt)>,
    tasks: TaskTable,
}

impl FakeStore {
    fn trouble(&self) -> Result<(), CommitError> {
        let cause = || "secret detail of the store".into();
        let Some(trouble) = *self.trouble.lock().unwrap() else { return Ok(()) };
        Err(match trouble {
            Trouble::Unavailable => StoreError::Unavailable(cause()).into(),
            Trouble::OutcomeUnknown => StoreError::OutcomeUnknown(cause()).into(),
            Trouble::Full => StoreError::Full(cause()).into(),
            Trouble::Corrupt => StoreError::Corrupt(cause()).into(),
            Trouble::InProgress => CommitError::InProgress,
            Trouble::Panic => panic!("secret detail of a panic"),
        })
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        self.working().map(|state| read(&state))
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        match self.trouble() {
            Err(CommitError::Store(error)) => Err(error),
            _ => Ok(self.state.lock().unwrap()),
        }
    }
}

impl State {
    fn commit(&mut self, tenant: &TenantId, changeset: &Changeset) -> Result<Receipt, CommitError> {
        if let Some(once) = &changeset.idempotency
            && let Some((known, receipt)) = self.receipts.get(&(tenant.clone(), once.route, once.key.clone()))
        {
            return if known.fingerprint == once.fingerprint { Ok(receipt.clone()) } else { Err(CommitError::KeyReused) };
        }
        let entities = self.entities.entry(tenant.clone()).or_default();
        let emails = self.emails.entry(tenant.clone()).or_default();
        let policy = Policy::default();
        let mut plan = Draft::new(changeset, entities, &policy)?.settle(emails)?;
        let lives = |reference: &Reference| {
            let key = EntityKey { entity_type: EntityType::profile(), reference: reference.clone() };
            entities.get(&key).is_some_and(|entity| entity.living.is_some())
        };
        let ended = plan.changes.iter().filter(|change| change.ended_life).map(|change| change.key.reference.clone());
        plan.receipt.tasks = self.tasks.commit(tenant, changeset, lives, &ended.collect::<Vec<_>>())?;
        let last_id = self.ids.values().copied().max().unwrap_or_default();
        for change in plan.changes {
            if let Some(place) = change.birth {
                self.ids.insert((tenant.clone(), change.key.clone()), last_id + 1 + i64::try_from(place).unwrap());
            }
            if change.ended_life {
                let about = |receipt: &Receipt| receipt.outcomes.iter().any(|item| item.key == change.key);
                for (_, receipt) in self.receipts.values_mut().filter(|(_, receipt)| about(receipt)) {
                    *receipt = Receipt { outcomes: Vec::new(), replay: Replay::Forgotten, ..receipt.clone() };
                }
            }
            entities.insert(change.key, change.after);
        }
        plan.released.iter().for_each(|(email, _)| drop(emails.remove(email)));
        emails.extend(plan.taken);
        if let Some(once) = &changeset.idempotency {
            let replay = Receipt { states: HashMap::new(), replay: Replay::Yes, ..plan.receipt.clone() };
            self.receipts.insert((tenant.clone(), once.route, once.key.clone()), (once.clone(), replay));
        }
        Ok(plan.receipt)
    }

    fn view(&self, tenant: &TenantId, key: &EntityKey) -> Option<EntityView> {
        let entity = self.entities.get(tenant)?.get(key)?;
        let living = entity.living.as_ref()?;
        Some(EntityView {
            key: key.clone(),
            id: self.ids[&(tenant.clone(), key.clone())],
            version: entity.version,
            created_at: living.created_at,
            updated_at: living.updated_at,
            properties: (&FactColumns::of(living).properties).into(),
        })
    }

    fn list(&self, tenant: &TenantId, query: &ListQuery) -> Vec<EntityView> {
        let keys = self.entities.get(tenant).into_iter().flat_map(HashMap::keys);
        let name = |view: &EntityView| fold(view.properties.get("name").unwrap().as_str().unwrap());
        let mut views: Vec<EntityView> = keys
            .filter_map(|key| self.view(tenant, key))
            .filter(|view| query.filters.iter().all(|filter| filter.matches(&query.entity_type, &view.properties)))
            .filter(|view| query.name_prefix.as_ref().is_none_or(|prefix| name(view).starts_with(prefix)))
            .collect();
        views.sort_by_key(|view| match query.order {
            Order::Created => (String::new(), view.id),
            Order::CreatedDescending => (String::new(), -view.id),
            Order::Name => (name(view), view.id),
        });
        let start = query.after.as_ref().map_or(0, |after| views.iter().position(|view| view.id == after.id).unwrap() + 1);
        views.drain(start..).take(query.limit).collect()
    }
}

#[async_trait]
impl Entities for FakeStore {
    async fn commit(&self, tenant: &TenantId, changeset: Changeset, _: Deadline) -> Result<Receipt, CommitError> {
        self.trouble()?;
        let mut state = self.state.lock().unwrap();
        let mut next = state.clone();
        let receipt = next.commit(tenant, &changeset)?;
        *state = next;
        Ok(receipt)
    }

    async fn view(&self, tenant: &TenantId, key: &EntityKey, _: Deadline) -> Result<Option<EntityView>, StoreError> {
        self.read(|state| state.view(tenant, key))
    }

    async fn entity(&self, tenant: &TenantId, key: &EntityKey, _: Deadline) -> Result<Option<Entity>, StoreError> {
        self.read(|state| state.entities.get(tenant)?.get(key).cloned())
    }

    async fn list(&self, tenant: &TenantId, query: &ListQuery, _: Deadline) -> Result<Vec<EntityView>, StoreError> {
        self.read(|state| state.list(tenant, query))
    }
}

profile_port_contracts::tasks_in_a_table!(FakeStore, |store| store.working()?.tasks);

#[async_trait]
impl Secrets for FakeStore {
    async fn secrets(&self, _: [u8; 32], _: Deadline) -> Result<Vec<SecretKey>, StoreError> {
        self.read(|_| vec![SecretKey { id: 1, bytes: [7; 32] }])
    }

    async fn rotate_secrets(&self, _: [u8; 32], _: Deadline) -> Result<(), StoreError> {
        Ok(())
    }
}

impl profile_ports::Replicas for FakeStore {}

#[async_trait]
impl Store for FakeStore {
    async fn ping(&self, _: Deadline) -> Result<(), StoreError> {
        self.pings.fetch_add(1, Ordering::Relaxed);
        self.read(|_| ())
    }
}

fn new_id() -> Uuid {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(0x0199_f3c2_6f0e_7cc3_98a2_0000_0000_0000 + u128::from(COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// A service of its own for each test.
pub(crate) struct Api {
    pub(crate) store: Arc<FakeStore>,
    pub(crate) service: Service,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

static OPENAPI: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(profile_http::openapi()).unwrap());

impl Api {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut Settings)) -> Self {
        let store = Arc::new(FakeStore::default());
        let environment = Environment { now: || Moment::from_micros(1_770_000_000_250_000), new_id, new_secret: || [7; 32] };
        let app = App::new(store.clone(), environment, None, Policy::default());
        let mut settings = Settings::new(BuildInfo { version: "1.2.3", commit: "abc" }, "fake", new_id);
        adjust(&mut settings);
        let service = Service::new(app, settings, Arc::new(Operations::new()), prometheus::Registry::new()).unwrap();
        Self { store, service }
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        *self.store.trouble.lock().unwrap() = Some(trouble);
    }

    pub(crate) async fn call(&self, request: TestRequest) -> Answer {
        let app = test::init_service(profile_http::app(&self.service)).await;
        let request = request.to_request();
        let (method, path) = (request.method().as_str().to_owned(), request.path().to_owned());
        let response = test::call_service(&app, request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body()).await.ok().unwrap();
        check_documented(&method, &path, status, &headers, &body);
        Answer { status: status.as_u16(), headers, body }
    }

    /// Creates a profile; its path.
    pub(crate) async fn create(&self, body: Value) -> String {
        let answer = self.call(TestRequest::post().uri("/api/v1/profiles").set_json(body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.header("location").unwrap().to_owned()
    }
}

/// Every answer of a documented operation must have a status and a media type that are documented.
fn check_documented(method: &str, path: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    assert!(headers.contains_key("x-request-id"), "{method} {path}: no request id");
    assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff");
    if path.starts_with("/docs") || matches!(status.as_u16(), 405) || method == "OPTIONS" {
        return;
    }
    let pattern = match path.strip_prefix("/api/v1/profiles/") {
        // Paths of their own.
        Some("import" | "export") => path,
        Some(id) if !id.contains('/') => "/api/v1/profiles/{id}",
        None if path.starts_with("/profile/") => "/profile/{id}",
        _ => path,
    };
    let pattern = match pattern.strip_prefix("/api/v1/tasks/") {
        Some("delayed") | None => pattern,
        Some(rest) if rest.ends_with("/retry") => "/api/v1/tasks/{id}/retry",
        Some(_) => "/api/v1/tasks/{id}",
    };
    let Some(item) = OPENAPI["paths"].get(pattern) else {
        assert_eq!(status, 404, "{method} {path} is not documented");
        return;
    };
    let response = &item[method.to_ascii_lowercase()]["responses"][status.as_str()];
    assert!(response.is_object(), "{method} {pattern}: {status} is not documented");
    if method == "HEAD" {
        return;
    }
    let content_type = headers.get("content-type").map(|value| value.to_str().unwrap().split(';').next().unwrap());
    let documented: Vec<&str> = response["content"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    assert_eq!(content_type.into_iter().collect::<Vec<_>>(), documented, "{method} {pattern} {status}");
    if let (Some(content_type), Ok(body)) = (content_type, serde_json::from_slice(body)) {
        check_members(&response["content"][content_type]["schema"], &body, pattern);
    }
}

/// Answers are described as open, so that clients take new members; here every member must be one that is described.
fn check_members(schema: &Value, value: &Value, at: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => OPENAPI.pointer(&reference[1..]).unwrap(),
        None => schema,
    };
    match value {
        Value::Object(members) if schema["properties"].is_object() => {
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(required.as_str().unwrap()), "{at}: {required} is required");
            }
            for (name, member) in members {
                let described = &schema["properties"][name];
                assert!(described.is_object(), "{at}: {name} is not described");
                check_members(described, member, name);
            }
        }
        Value::Object(members) if schema["additionalProperties"].is_object() => {
            members.iter().for_each(|(name, member)| check_members(&schema["additionalProperties"], member, name));
        }
        Value::Array(items) => items.iter().for_each(|item| check_members(&schema["items"], item, at)),
        Value::String(text) if schema["enum"].is_array() => {
            assert!(schema["enum"].as_array().unwrap().contains(value), "{at}: {text} is not described");
        }
        _ => {}
    }
}
