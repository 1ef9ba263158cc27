//! `profile-service reresolve`: after a change of the rules, every entity is resolved anew, as ordinary changes.

use profile_domain::{Changeset, EntityKey, EntityWrite, Expect, Intent, ItemOutcome, TenantId};
use profile_ports::{CommitError, Deadline, StoreError};

use crate::App;

/// Entities in one step.
const STEP: usize = 1_000;

/// How far a walk has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reresolved {
    /// Entities looked at in this step.
    pub seen: usize,
    /// Those that are served differently now.
    pub changed: usize,
    /// Where the next step begins; `None` at the end.
    pub next: Option<EntityKey>,
}

impl App {
    /// One step of the walk over a tenant's entities that were resolved under rules of a lower revision.
    ///
    /// It may be ended and begun anew at any time: what changed is not met again, and what didn't costs a read.
    ///
    /// # Errors
    /// The store's.
    pub async fn reresolve(
        &self,
        tenant: &TenantId,
        after: Option<&EntityKey>,
        deadline: Deadline,
    ) -> Result<Reresolved, StoreError> {
        let keys = self.store.outdated(tenant, self.policy.rules.revision, after, STEP, deadline).await?;
        let (seen, next) = (keys.len(), keys.last().cloned().filter(|_| keys.len() == STEP));
        if seen == 0 {
            return Ok(Reresolved::default());
        }
        // Facts are neither added nor taken away; under newer rules that alone is a change where another fact wins.
        let write = |key| EntityWrite { key, intent: Intent::Merge(Vec::new()), expect: Expect::Present, required: false };
        let writes = keys.into_iter().map(write).collect();
        let changeset = Changeset::of((self.environment.now)(), writes);
        let receipt = self.store.commit(tenant, changeset, deadline).await.map_err(|error| match error {
            CommitError::Store(error) => error,
            error => StoreError::Unavailable(error.into()),
        })?;
        self.changed(tenant, &receipt).await;
        let changed = receipt.outcomes.iter().filter(|item| matches!(item.outcome, ItemOutcome::Updated(_))).count();
        Ok(Reresolved { seen, changed, next })
    }
}
