//! `DELETE /api/v1/profiles/{id}`: the profile and all that belongs to it go; a tombstone stays.

use profile_domain::{Changeset, EntityKey, EntityWrite, Expect, Intent, ProfileId, TenantId};
use profile_ports::Deadline;

use crate::{App, ConsistencyToken, WriteError};

impl App {
    /// Deletes a profile that exists, and gives a token for reads that must not show it.
    ///
    /// # Errors
    /// As [`App::replace_profile`].
    pub async fn delete_profile(
        &self,
        tenant: &TenantId,
        id: ProfileId,
        expect: Expect,
        deadline: Deadline,
    ) -> Result<Option<ConsistencyToken>, WriteError> {
        let key = EntityKey::profile(id);
        let write = EntityWrite { key: key.clone(), intent: Intent::Delete, expect, required: true };
        let changeset = Changeset::of((self.environment.now)(), vec![write]);
        let before = self.reads.before_commit(tenant, &key).await;
        let receipt = self.commit_one(tenant, &key, changeset, deadline).await?;
        let Some((_, version)) = receipt.changed_versions().last() else { return Ok(None) };
        let token = self.token(tenant, &key, version, receipt.place);
        self.reads.committed(before, tenant, key, version, None).await;
        Ok(token)
    }
}
