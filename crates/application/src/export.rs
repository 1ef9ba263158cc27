//! `GET /api/v1/profiles/export`, `profile-service export` and `import --restore`: everything about every profile, out and in.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use profile_domain::{
    Changeset, EntityKey, EntityType, EntityWrite, Expect, Intent, Reference, TenantId, changeset::Refusal, json, line,
    profile::reserved_email, text::EmailKey,
};
use profile_ports::{CommitError, Deadline, StoreError};
use thiserror::Error;

use crate::{App, import::LineProblem};

/// Profiles in one changeset of a restore.
const BATCH: usize = 2_000;

/// Why a restore stopped.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The tenant has, or had, profiles.
    #[error("the tenant is not empty: a restore would mix two histories")]
    NotEmpty,
    /// A line is no line of an export. Nothing of it was written.
    #[error("line {line}: {}", .problem.message)]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// A profile couldn't be written. The lines of earlier changesets were.
    #[error("line {line}: {refusal}")]
    Refused {
        /// Counted from 1.
        line: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A restore in progress.
pub struct Restore {
    app: App,
    tenant: TenantId,
    writes: Vec<(u64, EntityWrite)>,
}

impl App {
    /// Every profile of a tenant as of one moment, as lines of NDJSON, tombstones included. The order is that of creation.
    ///
    /// # Errors
    /// The store's, also within the stream.
    pub async fn export_profiles(
        &self,
        tenant: &TenantId,
        deadline: Deadline,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let entities = self.store.export(tenant, &EntityType::profile(), deadline).await?;
        let lines = entities.map(|entity| {
            let (key, entity) = entity?;
            let mut line = line::export(&key, &entity);
            line.push('\n');
            Ok(Bytes::from(line))
        });
        Ok(lines.boxed())
    }

    /// Begins to take an export back, into a tenant that never had a profile. What was made from the feed before, caches say, is not
    /// believed any more: who knows what was there before the tenant was empty.
    ///
    /// # Errors
    /// [`RestoreError::NotEmpty`], or the store's.
    pub async fn restore(&self, tenant: &TenantId, deadline: Deadline) -> Result<Restore, RestoreError> {
        if !self.store.is_empty(tenant, deadline).await? {
            return Err(RestoreError::NotEmpty);
        }
        self.store.renew_feed(deadline).await?;
        Ok(Restore { app: self.clone(), tenant: tenant.clone(), writes: Vec::new() })
    }

    /// Every tenant that has or had an entity.
    ///
    /// # Errors
    /// The store's.
    pub async fn tenants(&self, deadline: Deadline) -> Result<Vec<TenantId>, StoreError> {
        self.store.tenants(deadline).await
    }
}

/// Reads a line of an export.
fn check_line(text: &[u8]) -> Result<EntityWrite, LineProblem> {
    let value = json::parse(text).map_err(crate::import::unreadable)?;
    let (id, entity) = line::parse_export(&value).map_err(|problem| LineProblem {
        code: "VALIDATION_FAILED",
        message: format!("{} {}", problem.field, problem.message),
        fields: vec![problem],
    })?;
    let intent = Intent::Restore(Box::new(entity));
    Ok(EntityWrite { key: EntityKey::profile(id), intent, expect: Expect::Absent, required: true })
}

/// Checks the lines of an export of one tenant before the first is taken: each by itself, and that no two are of one profile or
/// hold one e-mail address.
#[derive(Default)]
pub struct RestoreCheck {
    ids: HashSet<Reference>,
    emails: HashSet<EmailKey>,
}

impl RestoreCheck {
    /// Checks one line.
    ///
    /// # Errors
    /// [`RestoreError::Line`].
    pub fn line(&mut self, line: u64, text: &[u8]) -> Result<(), RestoreError> {
        let problem = |problem| RestoreError::Line { line, problem };
        let write = check_line(text).map_err(problem)?;
        if let Intent::Restore(entity) = &write.intent
            && let Some(email) = reserved_email(&write.key, entity.living.as_ref())
            && !self.emails.insert(email)
        {
            return Err(problem(repeated("reserved_email", "is held by an earlier profile, too")));
        }
        if !self.ids.insert(write.key.reference) {
            return Err(problem(repeated("id", "is that of an earlier line, too")));
        }
        Ok(())
    }
}

fn repeated(field: &str, message: &str) -> LineProblem {
    let message = format!("{field} {message}");
    LineProblem { code: "VALIDATION_FAILED", message, fields: Vec::new() }
}

impl Restore {
    /// Takes one line of an export.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn take(&mut self, line: u64, text: &[u8], deadline: Deadline) -> Result<(), RestoreError> {
        let write = check_line(text).map_err(|problem| RestoreError::Line { line, problem })?;
        self.writes.push((line, write));
        if self.writes.len() >= BATCH { self.commit(deadline).await } else { Ok(()) }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn end(mut self, deadline: Deadline) -> Result<(), RestoreError> {
        self.commit(deadline).await
    }

    async fn commit(&mut self, deadline: Deadline) -> Result<(), RestoreError> {
        let (lines, writes): (Vec<u64>, Vec<EntityWrite>) = std::mem::take(&mut self.writes).into_iter().unzip();
        if writes.is_empty() {
            return Ok(());
        }
        let changeset = Changeset::of((self.app.environment.now)(), writes);
        match self.app.store.commit(&self.tenant, changeset, deadline).await {
            Ok(_) => Ok(()),
            Err(CommitError::Refused(refusal)) => {
                let line = lines.get(refusal.index).copied().unwrap_or_default();
                Err(RestoreError::Refused { line, refusal })
            }
            Err(CommitError::Store(error)) => Err(error.into()),
            Err(error) => Err(StoreError::Unavailable(error.into()).into()),
        }
    }
}
