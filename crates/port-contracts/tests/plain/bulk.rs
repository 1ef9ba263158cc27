//! Reads of many entities, over maps.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use profile_domain::{
    Entity, EntityKey, EntityType, TenantId,
    text::{EmailAddress, EmailKey},
};
use profile_ports::{Bulk, Deadline, EmailOwners, EntityStream, StoreError};

use super::{Disk, PlainStore};

#[async_trait]
impl Bulk for PlainStore {
    async fn email_owners(
        &self,
        tenant: &TenantId,
        emails: &[EmailKey],
        _: Deadline,
    ) -> Result<HashMap<EmailKey, EmailOwners>, StoreError> {
        let disk = self.disk();
        let holders = disk.holders(tenant, &emails.iter().cloned().collect());
        let owners = |email: &EmailKey| {
            let mut serving = disk.living(tenant);
            serving.retain(|(key, entity)| key.entity_type.is_profile() && serves(entity, email));
            serving.truncate(2);
            let serving = serving.into_iter().map(|(key, _)| key.reference).collect();
            EmailOwners { holder: holders.get(email).cloned(), serving }
        };
        Ok(emails.iter().map(|email| (email.clone(), owners(email))).collect())
    }

    async fn is_empty(&self, tenant: &TenantId, _: Deadline) -> Result<bool, StoreError> {
        Ok(!self.disk().entities.keys().any(|(of, _)| of == tenant))
    }

    async fn export(&self, tenant: &TenantId, entity_type: &EntityType, _: Deadline) -> Result<EntityStream, StoreError> {
        let disk = self.disk();
        let mut all = disk.living(tenant);
        all.extend(disk.tombstones(tenant));
        all.retain(|(key, _)| key.entity_type == *entity_type);
        Ok(stream::iter(all.into_iter().map(Ok)).boxed())
    }

    async fn tenants(&self, _: Deadline) -> Result<Vec<TenantId>, StoreError> {
        let tenants: BTreeSet<String> = self.disk().entities.keys().map(|(tenant, _)| tenant.to_string()).collect();
        Ok(tenants.iter().filter_map(|tenant| TenantId::parse(tenant).ok()).collect())
    }

    async fn outdated(
        &self,
        tenant: &TenantId,
        revision: i32,
        after: Option<&EntityKey>,
        limit: usize,
        _: Deadline,
    ) -> Result<Vec<EntityKey>, StoreError> {
        let mut all = self.disk().living(tenant);
        all.retain(|(_, entity)| entity.living.as_ref().is_some_and(|living| living.rules_revision < revision));
        let mut keys: Vec<EntityKey> = all.into_iter().map(|(key, _)| key).collect();
        keys.retain(|key| after.is_none_or(|after| key > after));
        keys.sort();
        keys.truncate(limit);
        Ok(keys)
    }
}

fn serves(entity: &Entity, email: &EmailKey) -> bool {
    let served = entity.living.as_ref().and_then(|living| living.value("email")?.as_str());
    served.and_then(EmailAddress::parse).is_some_and(|served| served.key() == *email)
}

impl Disk {
    /// In the order of creation.
    fn living(&self, tenant: &TenantId) -> Vec<(EntityKey, Entity)> {
        let mut rows: Vec<_> =
            self.entities.iter().filter(|((of, _), row)| of == tenant && row.entity.living.is_some()).collect();
        rows.sort_by_key(|(_, row)| row.id);
        rows.into_iter().map(|((_, key), row)| (key.clone(), row.entity.clone())).collect()
    }

    /// In the order of references.
    fn tombstones(&self, tenant: &TenantId) -> Vec<(EntityKey, Entity)> {
        let rows = self.entities.iter().filter(|((of, _), row)| of == tenant && row.entity.living.is_none());
        rows.map(|((_, key), row)| (key.clone(), row.entity.clone())).collect()
    }
}
