//! Reads of many entities, from memory.

use std::collections::HashMap;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use profile_domain::{
    Entity, EntityKey, EntityType, Reference, TenantId,
    search::{Filter, ListQuery, Order},
    text::{EmailAddress, EmailKey},
};
use profile_ports::{Bulk, Deadline, EmailOwners, EntityStream, StoreError};

use super::{FakeStore, State};

impl State {
    fn owners(&self, tenant: &TenantId, email: &EmailKey) -> EmailOwners {
        let query = ListQuery {
            entity_type: EntityType::profile(),
            filters: vec![Filter::email(&EmailAddress::parse(email.as_str()).unwrap())],
            name_prefix: None,
            order: Order::Created,
            after: None,
            limit: 2,
        };
        let serving: Vec<Reference> = self.list(tenant, &query).into_iter().map(|view| view.key.reference).collect();
        EmailOwners { holder: self.emails.get(tenant).and_then(|emails| emails.get(email).cloned()), serving }
    }

    fn all(&self, tenant: &TenantId) -> Vec<(EntityKey, Entity)> {
        let all = self.entities.get(tenant).into_iter().flatten();
        let mut all: Vec<_> = all.map(|(key, entity)| (key.clone(), entity.clone())).collect();
        all.sort_by_key(|(key, entity)| match &entity.living {
            Some(_) => (self.ids[&(tenant.clone(), key.clone())], None),
            None => (i64::MAX, Some(key.clone())),
        });
        all
    }
}

#[async_trait]
impl Bulk for FakeStore {
    async fn email_owners(
        &self,
        tenant: &TenantId,
        emails: &[EmailKey],
        _: Deadline,
    ) -> Result<HashMap<EmailKey, EmailOwners>, StoreError> {
        self.read(|state| emails.iter().map(|email| (email.clone(), state.owners(tenant, email))).collect())
    }

    async fn is_empty(&self, tenant: &TenantId, _: Deadline) -> Result<bool, StoreError> {
        self.read(|state| state.all(tenant).is_empty())
    }

    async fn export(&self, tenant: &TenantId, entity_type: &EntityType, _: Deadline) -> Result<EntityStream, StoreError> {
        let mut all = self.read(|state| state.all(tenant))?;
        all.retain(|(key, _)| key.entity_type == *entity_type);
        Ok(stream::iter(all.into_iter().map(Ok)).boxed())
    }

    async fn tenants(&self, _: Deadline) -> Result<Vec<TenantId>, StoreError> {
        self.read(|state| {
            let known = state.entities.iter().filter(|(_, entities)| !entities.is_empty());
            let mut tenants: Vec<TenantId> = known.map(|(tenant, _)| tenant.clone()).collect();
            tenants.sort();
            tenants
        })
    }

    async fn outdated(
        &self,
        tenant: &TenantId,
        revision: i32,
        after: Option<&EntityKey>,
        limit: usize,
        _: Deadline,
    ) -> Result<Vec<EntityKey>, StoreError> {
        let outdated = |entity: &Entity| entity.living.as_ref().is_some_and(|living| living.rules_revision < revision);
        let all = self.read(|state| state.all(tenant))?;
        let mut keys: Vec<EntityKey> = all.into_iter().filter(|(_, entity)| outdated(entity)).map(|(key, _)| key).collect();
        keys.retain(|key| after.is_none_or(|after| key > after));
        keys.sort();
        keys.truncate(limit);
        Ok(keys)
    }
}
