//! The use cases: one file each, as methods of a concrete [`App`] over the ports.
//!
//! This crate orchestrates; what is allowed is decided in `domain`, what is kept is decided by the store. It owns the one
//! serialised form of a profile ([`profile_body`]) and what clients carry for us ([`cursor`]). It deliberately knows no HTTP
//! status, no SQL, and reads neither clock nor randomness but through [`Environment`].

#![warn(missing_docs)]

mod aggregate;
mod cancel_task;
mod create_profile;
mod cursor;
mod delete_profile;
mod export;
mod import;
mod keyring;
mod list_profiles;
mod list_tasks;
mod patch_profile;
mod profile_body;
mod read_export;
mod read_profile;
mod read_task;
mod reads;
mod replace_profile;
mod reresolve;
mod retry_task;
mod submit_task;
mod tasks;
mod token;
mod trim_feed;
mod write_error;

use std::sync::Arc;

use profile_domain::{Changeset, EntityKey, Moment, Policy, ProfileId, Receipt, TenantId, Version};
use profile_ports::{CommitError, Store, cache::Change};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::{aggregate::Views, reads::Reads, tasks::Work};

pub use aggregate::{Question, RETRY_AFTER, ViewAnswer, ViewError, ViewOrigin};
pub use cancel_task::CancelError;
pub use create_profile::{Created, OnceKey};
pub use export::{Restore, RestoreCheck, RestoreError};
pub use import::{ImportError, ImportOptions, LineOutcome, LineProblem, LineResult, Tally};
pub use keyring::Keyring;
pub use list_profiles::{ListError, ListRequest, MAX_LIMIT, Page, Sort};
pub use list_tasks::{TaskListRequest, TaskPage};
pub use profile_body::{ProfileBody, SCHEMA};
pub use profile_ports::{CacheError, Deadline, Servers, StoreError, causes};
pub use read_export::{ExportError, ExportLink};
pub use read_profile::ReadError;
pub use read_task::TaskError;
pub use reads::{Forwarded, Freshness, MAX_STALENESS, NamedCache, Origin, ReadSettings, SPANS};
pub use replace_profile::Written;
pub use reresolve::Reresolved;
pub use retry_task::RetryError;
pub use submit_task::{SubmitError, Submitted};
pub use tasks::{TaskKind, WorkSettings, WorkTools, task_kinds, task_types};
pub use token::ConsistencyToken;
pub use write_error::WriteError;

/// Time and randomness, injected.
#[derive(Clone, Copy)]
pub struct Environment {
    /// The current time.
    pub now: fn() -> Moment,
    /// A new UUID of version 7.
    pub new_id: fn() -> Uuid,
    /// 32 random bytes from the operating system.
    pub new_secret: fn() -> [u8; 32],
}

/// The service without its edges: what can be done with profiles. Cheap to clone.
#[derive(Clone)]
pub struct App {
    store: Arc<dyn Store>,
    reads: Arc<Reads>,
    views: Arc<Views>,
    environment: Environment,
    keyring: Arc<Keyring>,
    policy: Arc<Policy>,
    work: Arc<Work>,
}

impl App {
    /// Over a store. With a configured keyring the store's own secrets are not used. The policy is the one that the store was
    /// given; here it only explains and refuses searches that can't find anything.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, environment: Environment, keyring: Option<Keyring>, policy: Policy) -> Self {
        let reads = Arc::new(Reads::uncached(Arc::clone(&store), environment.now));
        let (keyring, policy) = (Arc::new(keyring.unwrap_or_default()), Arc::new(policy));
        let views = Arc::new(Views::stored_only(policy.rules.clone()));
        let work = Work::new(WorkSettings::default(), WorkTools::default());
        Self { store, reads, views, environment, keyring, policy, work }
    }

    /// With other settings for its work on tasks, which is measured.
    ///
    /// # Errors
    /// The registry has such metrics already.
    pub fn with_work(
        self,
        settings: WorkSettings,
        tools: WorkTools,
        registry: &prometheus::Registry,
    ) -> prometheus::Result<Self> {
        let work = Work::new(settings, tools);
        work.measures.register(registry)?;
        Ok(Self { work, ..self })
    }

    /// With tiers of caches before the store, the nearest first, which believe nothing until [`Self::follow_feed`] runs. What
    /// goes on behind a reader's back does so on the runtime.
    ///
    /// # Errors
    /// The registry has such metrics already.
    pub fn with_caches(
        self,
        caches: Vec<NamedCache>,
        settings: ReadSettings,
        runtime: Handle,
        registry: &prometheus::Registry,
    ) -> prometheus::Result<Self> {
        let reads = Reads::new(Arc::clone(&self.store), self.environment.now, caches, settings, Some(runtime));
        reads.register(registry)?;
        Ok(Self { reads: Arc::new(reads), ..self })
    }

    /// Keeps the caches true by the feed, until it is dropped.
    pub async fn follow_feed(&self) {
        self.reads.follow_feed().await;
    }

    /// The tiers of caches, the nearest first, and whether each is believed now.
    #[must_use]
    pub fn caches(&self) -> Vec<(&'static str, bool)> {
        self.reads.tiers()
    }

    /// How the servers of the store stand, if it has any.
    #[must_use]
    pub fn servers(&self) -> Option<Servers> {
        self.store.servers()
    }

    /// Drops what caches keep: what is shared, and what is in this process. Other processes keep what is in theirs.
    ///
    /// # Errors
    /// A cache failed; then some may have been dropped.
    pub async fn clear_caches(&self) -> Result<(), CacheError> {
        self.reads.clear().await
    }

    /// Drops what caches keep of one profile, as [`Self::clear_caches`].
    ///
    /// # Errors
    /// As [`Self::clear_caches`].
    pub async fn forget_profile(&self, tenant: &TenantId, id: ProfileId) -> Result<(), CacheError> {
        self.reads.forget(tenant, &EntityKey::profile(id)).await
    }

    /// Whether the store answers, and the secrets are known: what readiness is made of.
    ///
    /// # Errors
    /// [`StoreError`] with the reason.
    pub async fn check(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.store.ping(deadline).await?;
        self.keyring.load(&*self.store, self.environment.new_secret, deadline).await
    }

    /// Commits a changeset about one profile. Where it isn't known whether that worked, the profile is read anew.
    async fn commit_one(
        &self,
        tenant: &TenantId,
        key: &EntityKey,
        changeset: Changeset,
        deadline: Deadline,
    ) -> Result<Receipt, CommitError> {
        let committed = self.store.commit(tenant, changeset, deadline).await;
        if let Err(CommitError::Store(StoreError::OutcomeUnknown(_))) = &committed {
            self.reads.unsure(tenant, key).await;
        }
        committed
    }

    /// A commit changed many: caches know before its caller does.
    async fn changed(&self, tenant: &TenantId, receipt: &Receipt) {
        let change = |(key, version): (&EntityKey, Version)| Change { tenant: tenant.clone(), key: key.clone(), version };
        let changes: Vec<Change> = receipt.changed_versions().map(change).collect();
        self.reads.changed(&changes).await;
    }
}
