//! Reads of one entity, and the way in.

use std::sync::Arc;

use async_trait::async_trait;
use profile_domain::{
    Changeset, Entity, EntityKey, EntityView, Receipt, TenantId, changeset::MAX_ITEMS, search::ListQuery, task::MAX_TASKS,
};
use profile_ports::{CommitError, Deadline, Entities, StoreError};
use rusqlite::Connection;

use crate::{SqliteStore, commit, error::Failure, list, row, row::StoredEntity};

/// The last condition keeps tombstones out.
const VIEW: &str = "SELECT reference, id, version, created_at, updated_at, properties
FROM entities WHERE tenant = ?1 AND type = ?2 AND reference = ?3 AND id IS NOT NULL";

const ENTITY: &str =
    "SELECT id, properties, provenance, superseded, version, rules_revision, name_key, created_at, updated_at, deleted_at
FROM entities WHERE tenant = ?1 AND type = ?2 AND reference = ?3";

#[async_trait]
impl Entities for SqliteStore {
    async fn commit(&self, tenant: &TenantId, changeset: Changeset, deadline: Deadline) -> Result<Receipt, CommitError> {
        let items = changeset.writes.len() + changeset.tasks.len();
        if changeset.writes.len() > MAX_ITEMS || changeset.tasks.len() > MAX_TASKS {
            return Err(CommitError::TooLarge);
        }
        let tenant = tenant.clone();
        let (policy, clock) = (Arc::clone(&self.policy), Arc::clone(&self.clock));
        let work = move |connection: &Connection| Ok(commit::run(connection, &policy, &clock, &tenant, &changeset)?);
        self.writer.submit(items, deadline, work).await
    }

    /// On the calling thread: a point read takes some microseconds, less than handing it to another.
    async fn view(&self, tenant: &TenantId, key: &EntityKey, deadline: Deadline) -> Result<Option<EntityView>, StoreError> {
        self.readers.take(deadline).await?.read("view", |connection| {
            let mut statement = connection.prepare_cached(VIEW)?;
            let mut rows = statement.query((tenant.as_str(), key.entity_type.as_str(), key.reference.as_str()))?;
            rows.next()?.map(|row| row::view(row, &key.entity_type)).transpose()
        })
    }

    async fn entity(&self, tenant: &TenantId, key: &EntityKey, deadline: Deadline) -> Result<Option<Entity>, StoreError> {
        let reader = self.readers.take(deadline).await?;
        reader.read("entity", |connection| Ok(stored(connection, tenant, key)?.map(|stored| stored.entity)))
    }

    async fn list(&self, tenant: &TenantId, query: &ListQuery, deadline: Deadline) -> Result<Vec<EntityView>, StoreError> {
        let reader = self.readers.take(deadline).await?;
        let tenant = tenant.clone();
        let query = query.clone();
        let read = move || reader.read("list", |connection| list::page(connection, &tenant, &query));
        tokio::task::spawn_blocking(read).await.map_err(|error| StoreError::Unavailable(error.into()))?
    }
}

/// An entity or tombstone, within the transaction of the connection, if it is in one.
pub(crate) fn stored(connection: &Connection, tenant: &TenantId, key: &EntityKey) -> Result<Option<StoredEntity>, Failure> {
    let mut statement = connection.prepare_cached(ENTITY)?;
    let mut rows = statement.query((tenant.as_str(), key.entity_type.as_str(), key.reference.as_str()))?;
    rows.next()?.map(StoredEntity::try_from).transpose()
}
