//! `DELETE /api/v1/profiles/{id}`: the profile and all that belongs to it go; a tombstone stays.

use profile_domain::{Changeset, EntityKey, EntityWrite, Expect, Intent, ProfileId, TenantId};
use profile_ports::Deadline;

use crate::{App, WriteError};

impl App {
    /// Deletes a profile that exists.
    ///
    /// # Errors
    /// As [`App::replace_profile`].
    pub async fn delete_profile(
        &self,
        tenant: &TenantId,
        id: ProfileId,
        expect: Expect,
        deadline: Deadline,
    ) -> Result<(), WriteError> {
        let write = EntityWrite { key: EntityKey::profile(id), intent: Intent::Delete, expect, required: true };
        let changeset = Changeset { now: (self.environment.now)(), writes: vec![write], idempotency: None };
        self.store.commit(tenant, changeset, deadline).await?;
        Ok(())
    }
}
