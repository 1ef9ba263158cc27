//! Reads of many entities. An export has a connection and a thread of its own: it may last for as long as its reader likes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use profile_domain::{
    Entity, EntityKey, EntityType, Reference, TenantId,
    search::Filter,
    text::{EmailAddress, EmailKey},
};
use profile_ports::{Bulk, Deadline, EmailOwners, EntityStream, StoreError};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    Settings, SqliteStore,
    error::{Failure, store_error},
    migrate,
    row::{self, StoredEntity},
};

/// Exports at once; one more waits until its deadline.
const MAX_EXPORTS: usize = 4;
/// How long an export waits for its reader to take what is ready. Its snapshot keeps the write-ahead log from being emptied.
const READER_WITHIN: Duration = Duration::from_mins(5);
/// What is handed over at a time: so many entities, or once this much JSON has come together. Two such may wait beside it.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

const HOLDER: &str = "SELECT reference FROM profile_emails WHERE tenant = ?1 AND email_key = ?2";
/// Rows found by a hash, so their values must still be looked at; read until two are right.
const SERVING: &str = "SELECT e.reference, e.properties ->> '$.email'
FROM entity_values v CROSS JOIN entities e
WHERE v.tenant = ?1 AND v.key = ?2 AND e.tenant = ?1 AND e.type = ?3 AND e.id = v.entity AND e.id IS NOT NULL
ORDER BY v.entity";

const ANY: &str = "SELECT EXISTS (SELECT 1 FROM entities WHERE tenant = ?1)";

/// From each tenant straight to the next, instead of over all rows.
const TENANTS: &str = "WITH RECURSIVE names (tenant) AS (
    SELECT min(tenant) FROM entities
    UNION ALL
    SELECT (SELECT min(tenant) FROM entities WHERE tenant > names.tenant) FROM names WHERE names.tenant IS NOT NULL
)
SELECT tenant FROM names WHERE tenant IS NOT NULL";

/// Walks the primary key, so that a walk goes on where it ended whatever was resolved meanwhile.
const OUTDATED: &str = "SELECT type, reference FROM entities INDEXED BY sqlite_autoindex_entities_1
WHERE tenant = ?1 AND (type, reference) > (?2, ?3) AND id IS NOT NULL AND rules_revision < ?4
ORDER BY type, reference LIMIT ?5";

/// Walks `entities_by_creation`. Columns as [`StoredEntity`] reads them, then the reference.
const LIVING: &str =
    "SELECT id, properties, provenance, superseded, version, rules_revision, name_key, created_at, updated_at, deleted_at, reference
FROM entities WHERE tenant = ?1 AND type = ?2 AND id IS NOT NULL ORDER BY id";
/// Walks the primary key.
const TOMBSTONES: &str =
    "SELECT id, properties, provenance, superseded, version, rules_revision, name_key, created_at, updated_at, deleted_at, reference
FROM entities WHERE tenant = ?1 AND type = ?2 AND id IS NULL ORDER BY reference";

/// What exports need.
pub(crate) struct Exports {
    settings: Settings,
    permits: Arc<Semaphore>,
}

impl Exports {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), permits: Arc::new(Semaphore::new(MAX_EXPORTS)) }
    }

    /// Lets no export begin any more. Those that have begun end with their readers.
    pub(crate) fn close(&self) {
        self.permits.close();
    }
}

#[async_trait]
impl Bulk for SqliteStore {
    async fn email_owners(
        &self,
        tenant: &TenantId,
        emails: &[EmailKey],
        deadline: Deadline,
    ) -> Result<HashMap<EmailKey, EmailOwners>, StoreError> {
        let tenant = tenant.clone();
        let emails: BTreeSet<EmailKey> = emails.iter().cloned().collect();
        self.read_apart("email_owners", deadline, move |connection| owners(connection, &tenant, emails)).await
    }

    async fn is_empty(&self, tenant: &TenantId, deadline: Deadline) -> Result<bool, StoreError> {
        self.readers.take(deadline).await?.read("is_empty", |connection| {
            let any: bool = connection.prepare_cached(ANY)?.query_row([tenant.as_str()], |row| row.get(0))?;
            Ok(!any)
        })
    }

    async fn export(&self, tenant: &TenantId, entity_type: &EntityType, deadline: Deadline) -> Result<EntityStream, StoreError> {
        let permit = tokio::time::timeout(deadline.remaining(), Arc::clone(&self.exports.permits).acquire_owned())
            .await
            .map_err(|_| unavailable("too many exports were running until the deadline"))?
            .map_err(|_| unavailable("the store is closed"))?;
        let (batches, received) = flume::bounded(1);
        let (begun, beginning) = oneshot::channel();
        let (settings, tenant, entity_type) = (self.exports.settings.clone(), tenant.clone(), entity_type.clone());
        let walk = move || {
            let _permit = permit;
            let snapshot = snapshot(&settings);
            let connection = match snapshot {
                // Nobody waits for it any more if this fails.
                Ok(connection) => begun.send(Ok(())).ok().map(|()| connection),
                Err(error) => begun.send(Err(error)).ok().and(None),
            };
            if let Some(connection) = connection
                && let Err(End::Failed(failure)) = walk(&connection, &tenant, &entity_type, &batches)
            {
                let _ = batches.send_timeout(Err(failure.into()), READER_WITHIN);
            }
        };
        std::thread::Builder::new()
            .name("sqlite-export".into())
            .spawn(walk)
            .map_err(|error| StoreError::Unavailable(error.into()))?;
        tokio::time::timeout(deadline.remaining(), beginning)
            .await
            .map_err(|_| unavailable("the export did not begin before the deadline"))?
            .map_err(|_| unavailable("the export did not begin"))??;
        Ok(entities(received))
    }

    async fn tenants(&self, deadline: Deadline) -> Result<Vec<TenantId>, StoreError> {
        self.read_apart("tenants", deadline, |connection| {
            let mut statement = connection.prepare_cached(TENANTS)?;
            let mut rows = statement.query([])?;
            let mut tenants = Vec::new();
            while let Some(row) = rows.next()? {
                tenants.push(TenantId::parse(row::text(row, 0)?)?);
            }
            Ok(tenants)
        })
        .await
    }

    async fn outdated(
        &self,
        tenant: &TenantId,
        revision: i32,
        after: Option<&EntityKey>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<EntityKey>, StoreError> {
        let (tenant, after) = (tenant.clone(), after.cloned());
        self.read_apart("outdated", deadline, move |connection| {
            // No type is empty, so this lies before all.
            let (entity_type, reference) =
                after.as_ref().map_or(("", ""), |key| (key.entity_type.as_str(), key.reference.as_str()));
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut statement = connection.prepare_cached(OUTDATED)?;
            let mut rows = statement.query((tenant.as_str(), entity_type, reference, revision, limit))?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                let entity_type = EntityType::parse(row::text(row, 0)?)?;
                keys.push(EntityKey { entity_type, reference: Reference::parse(row::text(row, 1)?)? });
            }
            Ok(keys)
        })
        .await
    }
}

impl SqliteStore {
    /// Reads on a thread that may block.
    pub(crate) async fn read_apart<T: Send + 'static>(
        &self,
        name: &'static str,
        deadline: Deadline,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.readers.take(deadline).await?;
        let read = tokio::task::spawn_blocking(move || reader.read(name, work)).await;
        read.map_err(|error| StoreError::Unavailable(error.into()))?
    }
}

fn owners(
    connection: &Connection,
    tenant: &TenantId,
    emails: BTreeSet<EmailKey>,
) -> Result<HashMap<EmailKey, EmailOwners>, Failure> {
    let profile = EntityType::profile();
    let mut holder = connection.prepare_cached(HOLDER)?;
    let mut serving = connection.prepare_cached(SERVING)?;
    let mut all = HashMap::with_capacity(emails.len());
    for email in emails {
        let held: Option<String> = holder.query_row((tenant.as_str(), email.as_str()), |row| row.get(0)).optional()?;
        let mut owners = EmailOwners { holder: held.as_deref().map(Reference::parse).transpose()?, serving: Vec::new() };
        if let Some(address) = EmailAddress::parse(email.as_str()) {
            let filter = Filter::email(&address);
            let mut rows = serving.query((tenant.as_str(), filter.key(&profile).0, profile.as_str()))?;
            while owners.serving.len() < 2
                && let Some(row) = rows.next()?
            {
                let served = row.get::<_, Option<String>>(1)?;
                if served.as_deref().and_then(EmailAddress::parse).is_some_and(|served| served.key() == email) {
                    owners.serving.push(Reference::parse(row::text(row, 0)?)?);
                }
            }
        }
        all.insert(email, owners);
    }
    Ok(all)
}

/// What is handed over: entities, or none to say that these were all.
type Batch = Result<Vec<(EntityKey, Entity)>, StoreError>;

/// A channel that breaks off before the empty batch broke off the export, too, and must not look like its end.
fn entities(received: flume::Receiver<Batch>) -> EntityStream {
    let batches = stream::try_unfold(received, |received| async move {
        match received.recv_async().await {
            Ok(Ok(batch)) if batch.is_empty() => Ok(None),
            Ok(Ok(batch)) => Ok(Some((stream::iter(batch).map(Ok), received))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(unavailable("the export broke off: nobody read it for too long, or its thread ended")),
        }
    });
    batches.try_flatten().boxed()
}

/// A connection in a transaction that sees what is there now, whatever is written later.
fn snapshot(settings: &Settings) -> Result<Connection, StoreError> {
    let connection = migrate::connect(settings, migrate::Access::Read).map_err(|error| StoreError::Unavailable(error.into()))?;
    // BEGIN alone sees nothing yet: the first read does.
    let pinned = connection.execute_batch("BEGIN; SELECT 1 FROM entities LIMIT 1");
    pinned.map_err(store_error)?;
    Ok(connection)
}

/// Why a walk ended before its end.
enum End {
    /// The reader went away, or took nothing for too long.
    Unread,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn walk(connection: &Connection, tenant: &TenantId, entity_type: &EntityType, batches: &flume::Sender<Batch>) -> Result<(), End> {
    let send = |batch| batches.send_timeout(Ok(batch), READER_WITHIN).map_err(|_| End::Unread);
    for sql in [LIVING, TOMBSTONES] {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query((tenant.as_str(), entity_type.as_str()))?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let key = EntityKey { entity_type: entity_type.clone(), reference: Reference::parse(row::text(row, 10)?)? };
            batch.push((key, StoredEntity::try_from(row)?.entity));
            for column in 1..=3 {
                let text = row.get_ref(column)?.as_str_or_null().map_err(|error| Failure::Corrupt(error.into()))?;
                bytes += text.map_or(0, str::len);
            }
            if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                bytes = 0;
                send(std::mem::take(&mut batch))?;
            }
        }
        if !batch.is_empty() {
            send(batch)?;
        }
    }
    send(Vec::new())
}

fn unavailable(why: &'static str) -> StoreError {
    StoreError::Unavailable(why.into())
}
