//! `PUT /api/v1/profiles/{id}`: the profile becomes what the body says.

use profile_domain::{Changeset, Entity, EntityKey, EntityWrite, Expect, Intent, ProfileId, Rejection, TenantId};
use profile_ports::Deadline;
use serde_json::{Map, Value};

use crate::{App, ConsistencyToken, ProfileBody, WriteError};

/// A profile that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The profile as it is now.
    pub body: ProfileBody,
    /// For reads that must show it.
    pub token: Option<ConsistencyToken>,
}

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
    ) -> Result<Written, WriteError> {
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
    ) -> Result<Written, WriteError> {
        let key = EntityKey::profile(id);
        let write = EntityWrite { key: key.clone(), intent, expect, required: true };
        let changeset = Changeset::of((self.environment.now)(), vec![write]);
        let before = self.reads.before_commit(tenant, &key).await;
        let mut receipt = self.commit_one(tenant, &key, changeset, deadline).await?;
        let Some(Entity { version, living: Some(living), .. }) = receipt.states.remove(&key) else {
            return Err(WriteError::Refused(Rejection::Absent));
        };
        let body = ProfileBody::of_living(&key.reference, version, &living);
        let token = self.token(tenant, &key, version, receipt.place);
        if receipt.changed_versions().next().is_some() {
            self.reads.committed(before, tenant, key, version, Some((body.clone(), living.updated_at))).await;
        }
        Ok(Written { body, token })
    }
}
