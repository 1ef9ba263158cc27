//! Bulk: what imports, exports and maintenance read. None of it is on the path of a single request for a profile.

use std::collections::HashMap;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use profile_domain::{Entity, EntityKey, EntityType, Reference, TenantId, text::EmailKey};

use crate::{Deadline, StoreError};

/// Who has an e-mail address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailOwners {
    /// The profile that holds it reserved.
    pub holder: Option<Reference>,
    /// Profiles that serve it, whoever reported it, in the order of their creation: the first two of them.
    pub serving: Vec<Reference>,
}

/// Entities with all that is stored of them, in no hurry.
pub type EntityStream = BoxStream<'static, Result<(EntityKey, Entity), StoreError>>;

/// Reads of many entities.
#[async_trait]
pub trait Bulk: Send + Sync {
    /// Who has these e-mail addresses; one that nobody has may be left out [`email_owners_are_found`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn email_owners(
        &self,
        tenant: &TenantId,
        emails: &[EmailKey],
        deadline: Deadline,
    ) -> Result<HashMap<EmailKey, EmailOwners>, StoreError>;

    /// Whether the tenant never had an entity: not even a tombstone is there [`emptiness_counts_tombstones`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn is_empty(&self, tenant: &TenantId, deadline: Deadline) -> Result<bool, StoreError>;

    /// Every entity of a type, as of one moment, whatever is written meanwhile [`export_is_one_snapshot`]: the living in the
    /// order of their creation, then tombstones in the order of their references [`export_gives_everything_in_order`]. Memory
    /// is bounded, and a reader that stops holds back the store; dropping the stream ends it. Restored in this order elsewhere,
    /// it is exported equally from there [`restore_is_exact`].
    ///
    /// The deadline is for the first; the rest may take as long as it is read.
    ///
    /// # Errors
    /// As [`crate::Entities::view`]; also within the stream, which ends with it.
    async fn export(&self, tenant: &TenantId, entity_type: &EntityType, deadline: Deadline) -> Result<EntityStream, StoreError>;

    /// Every tenant that has or had an entity, in the order of their names [`tenants_are_listed`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn tenants(&self, deadline: Deadline) -> Result<Vec<TenantId>, StoreError>;

    /// Living entities whose winners were chosen under rules of a lower revision, in the order of their keys, after the one
    /// given; at most `limit`. Fewer mean that there are no more [`outdated_are_walked_once`].
    ///
    /// # Errors
    /// As [`crate::Entities::view`].
    async fn outdated(
        &self,
        tenant: &TenantId,
        revision: i32,
        after: Option<&EntityKey>,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<EntityKey>, StoreError>;
}
