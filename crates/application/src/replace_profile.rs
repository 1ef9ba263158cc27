//! `PUT /api/v1/profiles/{id}`: the profile becomes what the body says.

use profile_domain::{Changeset, Entity, EntityKey, EntityWrite, Expect, Intent, ProfileId, Rejection, TenantId};
use profile_ports::Deadline;
use serde_json::{Map, Value};

use crate::{App, ProfileBody, WriteError};

impl App {
    /// Replaces a profile that exists. Equal content changes nothing, not even the version.
    ///
    /// # Errors
    /// [`Rejection::Absent`], [`Rejection::VersionConflict`] under an expected version, and the others of [`WriteError`].
    pub async fn replace_profile(
        &self,
        tenant: &TenantId,
        id: ProfileId,
        document: Map<String, Value>,
        expect: Expect,
        deadline: Deadline,
    ) -> Result<ProfileBody, WriteError> {
        self.write_profile(tenant, id, Intent::Replace(document), expect, deadline).await
    }

    /// One write of one profile, answered with the profile as it then is.
    pub(crate) async fn write_profile(
        &self,
        tenant: &TenantId,
        id: ProfileId,
        intent: Intent,
        expect: Expect,
        deadline: Deadline,
    ) -> Result<ProfileBody, WriteError> {
        let key = EntityKey::profile(id);
        let write = EntityWrite { key: key.clone(), intent, expect, required: true };
        let changeset = Changeset { now: (self.environment.now)(), writes: vec![write], idempotency: None };
        let mut receipt = self.store.commit(tenant, changeset, deadline).await?;
        match receipt.states.remove(&key) {
            Some(Entity { version, living: Some(living), .. }) => Ok(ProfileBody::of_living(&key.reference, version, &living)),
            _ => Err(WriteError::Refused(Rejection::Absent)),
        }
    }
}
