//! The reads, each of one statement, and the way in to [`commit`](crate::commit).

use async_trait::async_trait;
use profile_domain::{
    Changeset, Entity, EntityKey, EntityView, Receipt, TenantId,
    search::{ListQuery, MAX_FILTERS, Order, Position},
};
use profile_ports::{AsOf, By, CommitError, Deadline, Entities, Replicas, Seen, Servers, StoreError};
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use crate::{
    PostgresStore,
    pool::{Params, Pool},
    row::{Loaded, get, view},
    statement::Statement,
};

const BY_KEY: &[Type] = &[Type::TEXT, Type::TEXT, Type::TEXT];

static VIEW: Statement = Statement::new("entity_view", include_str!("sql/view.sql"), BY_KEY);

/// One entity as it is, without a lock.
pub(crate) static ENTITY: Statement = Statement::new("entity", include_str!("sql/entity.sql"), BY_KEY);

/// Several at once.
pub(crate) static ENTITIES: Statement =
    Statement::new("entities", include_str!("sql/entities.sql"), &[Type::TEXT, Type::TEXT_ARRAY, Type::TEXT_ARRAY]);

const BY_ID: &[Type] = &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
const BY_NAME: &[Type] = &[Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8];
const BY_PREFIX: &[Type] = &[Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::TEXT];
const BY_VALUES: &[Type] = &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::INT8, Type::INT8, Type::INT8, Type::INT8];

static LIST_CREATED: Statement = Statement::new("list_created", include_str!("sql/list_created.sql"), BY_ID);
static LIST_CREATED_DESCENDING: Statement =
    Statement::new("list_created_descending", include_str!("sql/list_created_descending.sql"), BY_ID);
static LIST_NAME: Statement = Statement::new("list_name", include_str!("sql/list_name.sql"), BY_NAME);
static LIST_NAME_PREFIX: Statement = Statement::new("list_name_prefix", include_str!("sql/list_name_prefix.sql"), BY_PREFIX);
static LIST_FILTERED: Statement = Statement::new("list_filtered", include_str!("sql/list_filtered.sql"), BY_VALUES);
static LIST_FILTERED_DESCENDING: Statement =
    Statement::new("list_filtered_descending", include_str!("sql/list_filtered_descending.sql"), BY_VALUES);

/// The statement that answers a query, and the types of its parameters, for whoever wants to see its plan.
#[doc(hidden)]
pub fn explain_list(query: &ListQuery) -> (&'static str, &'static [Type]) {
    let statement = statement_for(query);
    (statement.sql, statement.types)
}

#[async_trait]
impl Entities for PostgresStore {
    async fn commit(&self, tenant: &TenantId, changeset: Changeset, deadline: Deadline) -> Result<Receipt, CommitError> {
        self.commit_as_task(tenant, changeset, deadline).await
    }

    async fn view(&self, tenant: &TenantId, key: &EntityKey, deadline: Deadline) -> Result<Option<EntityView>, StoreError> {
        self.view_as_of(tenant, key, AsOf::Now, deadline).await.map(|seen| seen.found)
    }

    async fn entity(&self, tenant: &TenantId, key: &EntityKey, deadline: Deadline) -> Result<Option<Entity>, StoreError> {
        let rows = one_entity(&self.pool, tenant, key, deadline).await?;
        Ok(Loaded::from_rows(&rows)?.entities.remove(key))
    }

    async fn list(&self, tenant: &TenantId, query: &ListQuery, deadline: Deadline) -> Result<Vec<EntityView>, StoreError> {
        self.list_as_of(tenant, query, AsOf::Now, deadline).await
    }
}

#[async_trait]
impl Replicas for PostgresStore {
    fn has_replicas(&self) -> bool {
        !self.replicas.all.is_empty()
    }

    fn servers(&self) -> Option<Servers> {
        Some(self.replicas.tally(self.pool.succession().current().is_some()))
    }

    async fn view_as_of(
        &self,
        tenant: &TenantId,
        key: &EntityKey,
        as_of: AsOf,
        deadline: Deadline,
    ) -> Result<Seen<Option<EntityView>>, StoreError> {
        let (entity_type, reference) = (key.entity_type.as_str(), key.reference.as_str());
        let params: Params<'_> = &[&tenant.as_str(), &entity_type, &reference];
        let (rows, by) = match self.replicas.read(&VIEW, params, as_of, deadline).await {
            Some(rows) => (rows, By::Replica),
            None => (self.pool.read(&VIEW, params, deadline).await?, By::Primary),
        };
        Ok(Seen { found: rows.first().map(view).transpose()?, by })
    }

    async fn list_as_of(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
        as_of: AsOf,
        deadline: Deadline,
    ) -> Result<Vec<EntityView>, StoreError> {
        let mut found = Vec::new();
        let mut after = query.after.clone();
        loop {
            let wanted = query.limit - found.len();
            let rows = self.page(tenant, query, after.as_ref(), wanted, as_of, deadline).await?;
            let last_page = rows.len() < wanted;
            for row in &rows {
                if query.filters.is_empty() {
                    found.push(view(row)?);
                    continue;
                }
                // Rows are found by the hashes of values, so what they hold must still be looked at.
                after = Some(Position { id: get(row, "position")?, name_key: None });
                if get::<Option<i64>>(row, "id")?.is_some() {
                    let view = view(row)?;
                    if query.filters.iter().all(|filter| filter.matches(&query.entity_type, &view.properties)) {
                        found.push(view);
                    }
                }
            }
            if last_page || found.len() >= query.limit {
                return Ok(found);
            }
        }
    }
}

impl PostgresStore {
    async fn page(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
        after: Option<&Position>,
        limit: usize,
        as_of: AsOf,
        deadline: Deadline,
    ) -> Result<Vec<Row>, StoreError> {
        let statement = statement_for(query);
        let (tenant, entity_type) = (tenant.as_str(), query.entity_type.as_str());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let start = if query.order == Order::CreatedDescending { i64::MAX } else { i64::MIN };
        let id = after.map_or(start, |position| position.id);
        if query.order == Order::Name {
            let prefix = query.name_prefix.as_deref().unwrap_or_default();
            let name = after.and_then(|position| position.name_key.as_deref());
            let (name, id) = name.map_or((prefix, i64::MIN), |name| (name, id).max((prefix, i64::MIN)));
            let end = successor(prefix);
            let mut params: Vec<&(dyn ToSql + Sync)> = vec![&tenant, &entity_type, &name, &id, &limit];
            if let Some(end) = &end {
                params.push(end);
            }
            return self.read(statement, &params, as_of, deadline).await;
        }
        if query.filters.is_empty() {
            return self.read(statement, &[&tenant, &entity_type, &id, &limit], as_of, deadline).await;
        }
        let mut keys = [None::<i64>; MAX_FILTERS];
        for (key, filter) in keys.iter_mut().zip(&query.filters) {
            *key = Some(filter.key(&query.entity_type).0);
        }
        let [first, second, third, fourth] = &keys;
        let params: Params<'_> = &[&tenant, &entity_type, &id, first, second, third, fourth, &limit];
        self.read(statement, params, as_of, deadline).await
    }

    /// Reads many rows, from a replica if one will do.
    async fn read(
        &self,
        statement: &Statement,
        params: Params<'_>,
        as_of: AsOf,
        deadline: Deadline,
    ) -> Result<Vec<Row>, StoreError> {
        match self.replicas.read(statement, params, as_of, deadline).await {
            Some(rows) => Ok(rows),
            None => self.pool.run(statement, params, deadline).await,
        }
    }
}

/// The row of an entity, if there is one.
pub(crate) async fn one_entity(
    pool: &Pool,
    tenant: &TenantId,
    key: &EntityKey,
    deadline: Deadline,
) -> Result<Vec<Row>, StoreError> {
    let (entity_type, reference) = (key.entity_type.as_str(), key.reference.as_str());
    pool.read(&ENTITY, &[&tenant.as_str(), &entity_type, &reference], deadline).await
}

fn statement_for(query: &ListQuery) -> &'static Statement {
    let filtered = !query.filters.is_empty();
    match query.order {
        Order::Created if filtered => &LIST_FILTERED,
        Order::Created => &LIST_CREATED,
        Order::CreatedDescending if filtered => &LIST_FILTERED_DESCENDING,
        Order::CreatedDescending => &LIST_CREATED_DESCENDING,
        Order::Name if query.name_prefix.as_deref().and_then(successor).is_some() => &LIST_NAME_PREFIX,
        Order::Name => &LIST_NAME,
    }
}

/// The least text above every text that begins with a prefix, by bytes; none above an empty one.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The range skips surrogates. UTF-8 sorts by bytes as its code points do.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn successor_ends_the_texts_that_begin_with_a_prefix() {
        assert_eq!(successor("ab").as_deref(), Some("ac"));
        assert_eq!(successor("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(successor("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor(""), None);
    }
}
