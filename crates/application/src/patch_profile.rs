//! `PATCH /api/v1/profiles/{id}`: a JSON merge patch (RFC 7396) of the served profile.

use profile_domain::{Expect, Intent, ProfileId, TenantId, profile::ProfilePatch};
use profile_ports::Deadline;

use crate::{App, WriteError, Written};

impl App {
    /// Changes some fields of a profile that exists. A patch that changes nothing writes nothing.
    ///
    /// # Errors
    /// As [`App::replace_profile`].
    pub async fn patch_profile(
        &self,
        tenant: &TenantId,
        id: ProfileId,
        patch: ProfilePatch,
        expect: Expect,
        deadline: Deadline,
    ) -> Result<Written, WriteError> {
        let intent = Intent::Patch { fields: patch.fields, clear_attributes: patch.clear_attributes };
        self.write_profile(tenant, id, intent, expect, deadline).await
    }
}
